"""The command line itself: verbs, help, version, exit status and the compilation cache."""

import os
import signal
import subprocess
import sys
import time

import pytest

import jaxgan
from jaxgan import cli
from jaxgan.cli import study, train, walk
from tests.end_to_end.conftest import command


def test_usage_lists_every_verb():
    text = cli.usage()
    for verb in cli.VERBS:
        assert f"  {verb} " in text


def test_version_and_help(capsys):
    for arguments, expected in ((["--version"], f"jaxgan {jaxgan.__version__}"), (["train", "--help"], "--workdir")):
        with pytest.raises(SystemExit) as stop:
            cli.main(["jaxgan", *arguments])
        assert stop.value.code == 0
        assert expected in capsys.readouterr().out


@pytest.mark.parametrize("own", [True, False])
def test_compiled_programs_are_kept_between_runs(tmp_path, monkeypatch, own):
    """In the user's cache folder, or where JAX's own variable says."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "" if own else str(tmp_path / "theirs"))
    show = "print(jax.config.jax_compilation_cache_dir)"
    code = f"import jax; from jaxgan import cli; cli.enable_compilation_cache(); {show}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == str(tmp_path / ("jaxgan/xla" if own else "theirs"))


def test_words_that_belong_to_no_flag():
    done = subprocess.run(
        command("train", "stray", "--workdir=x"), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert "belongs to no flag" in done.stderr


@pytest.fixture
def interruptible():
    """SIGINT as a terminal's process has it: one that a script started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("verb", "number", "line"),
    [
        (study, signal.SIGTERM, "jaxgan: interrupted; the same command goes on from its last checkpoint"),
        (study, signal.SIGINT, "jaxgan: interrupted; the same command goes on from its last checkpoint"),
        (walk, signal.SIGTERM, "jaxgan: interrupted"),
    ],
)
def test_a_signal_ends_a_verb_in_order(capsys, monkeypatch, tmp_path, verb, number, line):
    """Work is put in order on the exception's way; a second SIGTERM would end the process at once."""
    before, left = signal.getsignal(signal.SIGTERM), []

    def run(values):
        try:
            os.kill(os.getpid(), number)
            for _ in range(1000):  # not signal.pause(), for which another thread may have taken the signal already
                time.sleep(0.01)
        finally:
            left.append(signal.getsignal(signal.SIGTERM))

    monkeypatch.setattr(verb, "run", run)
    name = verb.__name__.rpartition(".")[2]
    with pytest.raises(SystemExit) as stop:
        cli.main(["jaxgan", name, "--out=x", *(["--run=x"] if verb is walk else [])])
    assert stop.value.code == 128 + number
    assert capsys.readouterr().err.splitlines() == [line]
    assert signal.getsignal(signal.SIGTERM) == before
    assert (left == [signal.SIG_DFL]) == (number == signal.SIGTERM)


def test_train_answers_signals_by_itself(monkeypatch):
    found = []
    monkeypatch.setattr(train, "run", lambda values: found.append(signal.getsignal(signal.SIGTERM)))
    with pytest.raises(SystemExit):
        cli.main(["jaxgan", "train", "--workdir=x"])
    assert found == [signal.getsignal(signal.SIGTERM)]
