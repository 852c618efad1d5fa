"""The command line: `jaxgan VERB`; a verb is one file here, with FLAGS, a help line (its docstring) and run(flags)."""

import contextlib
import errno
import importlib
import keyword
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from absl import flags

import jaxgan
from jaxgan.errors import UserError

# fmt: off
VERBS = (
    "train", "sample", "evaluate", "attention", "invert", "edit", "walk", "scribble", "move", "explore", "realism",
    "study", "import", "export", "dataset",
)
# fmt: on
_CONTINUED = ("invert", "scribble", "realism", "study")  # verbs that keep their work; `train` stops of itself


def main(argv: list[str] | None = None) -> None:
    """Runs a verb and exits.

    0 done, 1 a fault of ours (with a traceback), 2 bad input (one line), 130 interrupted, 143 terminated (of `train`:
    told to stop, and saved).
    """
    argv = list(sys.argv if argv is None else argv)
    sys.exit(_main(argv[1:]))


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        print(f"jaxgan {jaxgan.__version__}")
        return 0
    verb = arguments[0]
    try:
        if verb not in VERBS:
            raise UserError(f"{verb!r} is no verb; use one of {', '.join(VERBS)}")
        module = importlib.import_module(f"jaxgan.cli.{_file(verb)}")
        if any(a in ("-h", "--help", "--helpfull") for a in arguments):
            print(f"jaxgan {verb}: {module.__doc__}\n{module.FLAGS.get_help()}")
            return 0
        run_flags = parse(module.FLAGS, [f"jaxgan {verb}", *arguments[1:]])
        enable_compilation_cache()
        with _terminable(verb):
            return module.run(run_flags) or 0
    except UserError as error:
        print(f"jaxgan: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(
            f"jaxgan: error: no space left on the disk{where}; free some and run the same command again",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt as error:
        more = "; the same command goes on from its last checkpoint" if verb in _CONTINUED else ""
        print(f"jaxgan: interrupted{more}", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(error, _Terminated) else signal.SIGINT)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which goes the way of Ctrl-C: an exception, on whose way work is put in order."""


@contextlib.contextmanager
def _terminable(verb: str) -> Iterator[None]:
    """Raises _Terminated where SIGTERM comes; a second one ends the process at once. Only in its main thread."""
    if verb == "train" or threading.current_thread() is not threading.main_thread():
        yield  # `train` saves first
        return

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise _Terminated

    old = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


def _file(verb: str) -> str:
    """The name of a verb's module; a word of Python's own cannot be one."""
    return f"{verb}_" if keyword.iskeyword(verb) else verb


def usage() -> str:
    """The verbs, a line each."""
    lines = [
        f"jaxgan {jaxgan.__version__}: train GANs and work in their latent spaces, in JAX",
        "",
        "usage: jaxgan VERB [flags]",
        "",
    ]
    for verb in VERBS:
        text = (Path(__file__).parent / f"{_file(verb)}.py").read_text().split('"""')[1]
        lines.append(f"  {verb:9s} {text.splitlines()[0]}")
    return "\n".join([*lines, "", "`jaxgan VERB --help` lists a verb's flags; `jaxgan --version` the version."])


def parse(values: flags.FlagValues, argv: list[str]) -> flags.FlagValues:
    """Parses a verb's flags.

    Raises:
        UserError: an unknown flag, a value of the wrong type, a missing one, or words that belong to no flag.
    """
    values.unparse_flags()
    if "overrides" in values:
        prefixes = ("--config.", "-config.")
        values["overrides"].value = [a.partition("config.")[2] for a in argv if a.startswith(prefixes)]
        argv = [a for a in argv if not a.startswith(prefixes)]
    try:
        rest = values(argv)
    except flags.Error as error:
        text = " ".join(str(error).split())
        missing = re.fullmatch(r"flag --(\w+)=None: Flag --\w+ must have a value other than None\.", text)
        raise UserError(f"--{missing[1]} is missing; `{argv[0]} --help` says more" if missing else text) from error
    if len(rest) > 1:
        raise UserError(f"{rest[1]!r} belongs to no flag; flags look like --name=value")
    return values


def check_writable(folder: Path, named: Path | None = None) -> None:
    """Makes a folder for --out, or for the file `named`, and tries to write there, before work is done for it.

    Raises:
        UserError: no file can be made in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"--out={named or folder} cannot be written ({error.strerror}); choose another") from error


def DEFINE_config(values: flags.FlagValues, text: str) -> None:
    """Defines --config and takes every --config.field=value into `overrides`."""
    flags.DEFINE_string("config", None, f"{text}; --config.field=value changes a field", flag_values=values)
    flags.DEFINE_multi_string("overrides", [], "what --config.field=value gave", flag_values=values)


def enable_compilation_cache() -> None:
    """Keeps compiled programs between runs, so that a second start is quick; JAX_COMPILATION_CACHE_DIR moves it."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxgan" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(cache))
