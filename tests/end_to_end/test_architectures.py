"""Every architecture by the same commands: train, go on, sample, load."""

import jax
import numpy as np
import pytest

from jaxgan.experiment import load
from jaxgan.training.watch import read_metrics

SMALL = {
    "fashion_dcgan": ("model.channel_base=64", "model.channel_max=8"),
    "fashion_wgan_gp": ("model.channel_base=64", "model.channel_max=8", "loss.critic_steps=2"),
    "wgan_gp_resnet": ("model.channel_base=64", "model.channel_max=8"),
    "fashion_pggan": ("model.channel_base=64", "model.channel_max=8", "growth.stable_kimg=0.016"),
    "fashion_stylegan": ("model.channel_base=64", "model.channel_max=8", "model.w_dim=8"),
    "fashion_stylegan2": ("model.channel_base=64", "model.channel_max=8", "model.w_dim=8", "augment.kind=ada"),
    "fashion_spatial": ("model.channel_base=64", "model.channel_max=8", "model.w_dim=8", "loss.pl_weight=2.0"),
    "fashion_biggan": ("model.width=2", "model.attention=()", "data.use_labels=True", "data.source=fashion"),
}
SHARED = ("batch_size=8", "model.z_dim=8", "tick_kimg=0.016", "checkpoint.every_ticks=1", "grid.images=4")
DEFAULT = ("fashion_dcgan",)  # batch moments; the others are slow tests, but for those that other tests train


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in DEFAULT else pytest.mark.slow) for n in SMALL])
def test_trains_continues_samples_and_loads(name, tiny_data, jaxgan, tmp_path):
    run = tmp_path / "run"
    fields = [*SHARED, f"data.source={tiny_data}", *SMALL[name]]
    flags = [f"--config.{field}" for field in fields]
    for images in (32, 64):
        done = jaxgan("train", f"--config={name}", f"--workdir={run}", *flags, f"--config.total_kimg={images / 1000}")
        assert done.returncode == 0, done.stderr
    rows = read_metrics(run)
    assert rows[-1]["images_seen"] >= 64
    assert all(np.isfinite(row["G_loss"]) and np.isfinite(row["D_loss"]) for row in rows)
    assert not any(value for key, value in rows[-1].items() if key.endswith("nonfinite"))
    done = jaxgan("sample", f"--run={run}", "--seeds=0-3", f"--out={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("seed*.png"))) == 4
    model = load(run)
    images = model.sample(jax.random.key(0), 3)
    assert images.shape == (3, *model.gan.generator.image_shape)
    assert np.isfinite(images).all()
    assert model.discriminate(images, None if not model.gan.generator.num_classes else np.arange(3)).shape == (3,)
    file = tmp_path / "model.npz"
    done = jaxgan("export", f"--run={run}", f"--out={file}", "--data=elsewhere")
    assert done.returncode == 0, done.stderr
    same = load(file)
    assert (same.level, same.images_seen, same.config.data.source) == (model.level, model.images_seen, "elsewhere")
    jax.tree.map(np.testing.assert_array_equal, same.variables, model.variables)
    np.testing.assert_array_equal(same.sample(jax.random.key(0), 3), images)
    assert jaxgan("sample", f"--run={file}", "--seeds=0-1", f"--out={tmp_path / 'of_file'}").returncode == 0
