"""The command line itself: verbs, help, version, exit status and the compilation cache."""

import subprocess
import sys

import pytest

import jaxgan
from jaxgan import cli
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
