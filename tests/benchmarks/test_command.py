"""Benchmarks from a shell."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--help"], 0, "sets of codes"),
        (["--nothing"], 2, "benchmarks/realism.py: error: Unknown command line flag 'nothing'"),
    ],
)
def test_help_and_wrong_words_are_answered_without_a_traceback(words, code, said):
    command = [sys.executable, "benchmarks/realism.py", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
