"""Files that the real projects write, against those projects' outputs; and files of ours in their code's hands.

Runs where JAXGAN_TORCH_PYTHON names a Python with torch, and for each project where its variable names a checkout:
JAXGAN_STYLEGAN2_ADA, JAXGAN_STYLEGAN3, JAXGAN_ROSINALITY. Both run in processes of their own; nothing of them is kept.
"""

import os
import subprocess
from pathlib import Path

import pytest

from jaxgan.experiment import model_of
from jaxgan.interchange import nvidia, reference, rosinality
from jaxgan.interchange.read import open_file
from tests.interchange import stylegan2_peer

TOLERANCE = 1e-4  # relative to the largest number
PYTHON = os.environ.get("JAXGAN_TORCH_PYTHON", "")
CHECKOUTS = {
    "stylegan2-ada": ("nvidia", os.environ.get("JAXGAN_STYLEGAN2_ADA", "")),
    "stylegan3": ("nvidia", os.environ.get("JAXGAN_STYLEGAN3", "")),
    "rosinality": ("rosinality", os.environ.get("JAXGAN_ROSINALITY", "")),
}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON, reason="JAXGAN_TORCH_PYTHON names no Python with torch")]


@pytest.mark.parametrize("resolution", [32, 64, 256])
@pytest.mark.parametrize(
    ("name", "classes"),
    [("stylegan2-ada", 0), ("stylegan2-ada", 4), ("stylegan3", 0), ("stylegan3", 4), ("rosinality", 0)],
)
def test_there_and_back(tmp_path, name, classes, resolution):
    project, checkout = CHECKOUTS[name]
    if not checkout:
        pytest.skip(f"no checkout of {name} is named")
    theirs, ours = tmp_path / "theirs.pkl", tmp_path / "ours.pkl"
    script = Path(stylegan2_peer.__file__)
    subprocess.run([PYTHON, script, project, checkout, theirs, str(resolution), str(classes)], check=True, timeout=600)
    imported = open_file(theirs)
    assert imported.raw is not None
    assert imported.config.model.num_classes == classes
    assert_close(reference.compare(imported, theirs, checkout, PYTHON))
    {"nvidia": nvidia, "rosinality": rosinality}[project].write(model_of(imported, theirs), ours)
    assert_close(reference.compare(open_file(ours), ours, checkout, PYTHON))


def assert_close(differences):
    assert {d.output for d in differences} == {"ws", "images", "logits"}
    for difference in differences:
        print(difference)
        assert difference.relative < TOLERANCE, difference
