"""Benchmarks from a shell."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "words", "code", "said"),
    [
        ("realism", ["--help"], 0, "sets of codes"),
        ("realism", ["--nothing"], 2, "benchmarks/realism.py: error: Unknown command line flag 'nothing'"),
        ("compare", ["--help"], 0, "another revision"),
        ("scaling", ["--help"], 0, "numbers of simulated devices"),
    ],
)
def test_help_and_wrong_words_are_answered_without_a_traceback(name, words, code, said):
    command = [sys.executable, f"benchmarks/{name}.py", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
