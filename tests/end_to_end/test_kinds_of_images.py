"""Whole runs on what is not plain square RGB: oblong pictures with alpha and labels, in bfloat16."""

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgan.data.prepare import prepare
from jaxgan.experiment import load
from tests.end_to_end.conftest import TINY


@pytest.fixture
def oblong(tmp_path):
    """Three classes of 8x16 pictures with alpha, prepared."""
    rng = np.random.default_rng(0)
    for i in range(24):
        folder = tmp_path / "pictures" / f"class{i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 16, 4), dtype=np.uint8)).save(folder / f"{i}.png")
    dest = tmp_path / "oblong"
    prepare(str(tmp_path / "pictures"), str(dest), resolution=(8, 16), channels=4, labels="folders", workers=1)
    return dest


@pytest.mark.slow
def test_oblong_labelled_pictures_with_alpha_in_bfloat16(oblong, jaxgan, tmp_path):
    flags = ["--config.data.use_labels=True", "--config.model.dtype=bfloat16", "--config.model.low_precision_levels=4"]
    flags += ["--config.steps_per_dispatch=2", "--config.accumulate=2", "--config.data.x_flip=True"]
    flags += ["--config.loss.pl_weight=0.0"]  # which would only cost compilation here
    run = tmp_path / "run"
    source = f"--config.data.source={oblong.name}"  # relative: the run must not depend on the folder it began in
    done = jaxgan("train", "--config=fashion", f"--workdir={run}", source, "--config.total_kimg=0.032", *TINY, *flags)
    assert done.returncode == 0, done.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    continued = jaxgan("train", f"--workdir={run}", "--config.total_kimg=0.064", cwd=elsewhere)
    assert continued.returncode == 0, continued.stderr
    sampled = jaxgan("sample", f"--run={run}", "--seeds=0-2", "--label=1", f"--out={tmp_path / 'out'}")
    assert sampled.returncode == 0, sampled.stderr
    with Image.open(tmp_path / "out" / "seed0000.png") as picture:
        assert (picture.mode, picture.size) == ("RGBA", (16, 8))
    model = load(run)
    images = model.sample(jax.random.key(0), 3)
    assert images.shape == (3, 8, 16, 4)
    assert np.isfinite(images).all()
    assert model.discriminate(images, np.arange(3)).shape == (3,)
