"""Progressive GANs and DCGANs of other projects: imported into a run directory, used, trained on."""

import pickle

import numpy as np
import pytest

from jaxgan.experiment import load
from tests.interchange import test_gan_zoo, test_torch_dcgan


def zoo_in_a_fade():
    tree = test_gan_zoo.checkpoint((16, 8), alpha=0.25)
    return tree | {"config": tree["config"].state}


def tutorial():
    return {"netG": test_torch_dcgan.state((5, 12, 3), True), "netD": test_torch_dcgan.state((3, 12, 1), False)}


@pytest.mark.slow
@pytest.mark.parametrize(("make", "images"), [(zoo_in_a_fade, 450_000), (tutorial, 0)])
def test_training_goes_on(jaxgan, tiny_data, tmp_path, make, images):
    source, run = tmp_path / "a.pt", tmp_path / "run"
    source.write_bytes(pickle.dumps(make(), protocol=2))
    done = jaxgan("import", f"--source={source}", f"--workdir={run}", "--config.batch_size=8")
    assert done.returncode == 0, done.stderr
    before, of_file = load(run), load(source)
    z = np.random.default_rng(0).standard_normal((2, before.gan.generator.z_dim)).astype(np.float32)
    np.testing.assert_array_equal(before.synthesize(before.map(z)), of_file.synthesize(of_file.map(z)))
    total = f"--config.total_kimg={(images + 32) / 1000}"
    quick = ("--config.tick_kimg=0.016", "--config.grid.images=4")
    done = jaxgan("train", f"--workdir={run}", f"--config.data.source={tiny_data}", total, *quick)
    assert done.returncode == 0, done.stderr
    after = load(run)
    assert after.images_seen >= images + 32
    assert after.level == before.level
    assert np.isfinite(after.synthesize(after.map(z))).all()
    assert jaxgan("sample", f"--run={run}", "--seeds=0-3", f"--out={tmp_path / 'out'}").returncode == 0
