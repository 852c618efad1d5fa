"""Images of a batch, and devices of a machine, do not touch each other: shown in float64, where rounding hides nothing.

In float32 other shapes of a batch mean other orders of summation, and Adam on a loss with corners amplifies that over
some hundred steps to a hundredth. In float64 the same program leaves only what would be a fault.
"""

import functools
import shutil
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.latent.invert import invert
from jaxgan.latent.space import Statistics
from jaxgan.latent.stream import Job
from jaxgan.networks.dcgan import doubling
from jaxgan.networks.gan import Gan, call
from jaxgan.networks.layers import Conv, Dense
from jaxgan.ops.activation import leaky_relu
from tests.devices import call_on_devices
from tests.latent.test_invert import Stop, config

ATOL = 1e-9  # between sums of other orders in float64, after an optimisation


class Generator(nn.Module):
    """Two layers of w, 8 px, of the library's layers, which compute in the dtype of what they are given.

    The library's generators end in float32, as all that looks at their images expects.
    """

    z_dim: int = 8
    w_dim: int = 8
    num_ws: int = 2
    num_classes: int = 0
    image_shape: tuple[int, int, int] = (8, 8, 3)
    noise_shapes: tuple[tuple[int, int], ...] = ((8, 8),)

    @nn.compact
    def synthesize(self, ws: jax.Array, noise: Any = "const") -> jax.Array:
        """ws [B, 2, 8] -> images [B, 8, 8, 3]; noise maps are added before the last layer."""
        x = leaky_relu(Dense(4 * 4 * 6, name="fc")(ws[:, 0])).reshape(-1, 4, 4, 6)
        x = Conv(6, 4, convolution=doubling, name="conv")(x) * (1 + Dense(6, name="affine")(ws[:, 1]))[:, None, None]
        x = x if isinstance(noise, str) else x + 0.1 * noise[0]
        return jnp.tanh(Conv(3, 3, name="rgb")(leaky_relu(x)))


@functools.cache
def problem() -> tuple[Any, ...]:
    """(gan, variables, images, statistics): five images that the generator made, all in float64.

    Of images that it cannot make Adam never settles on an L1 loss: it jumps between corners, and even float64's last
    digit would be a tenth after 300 steps.
    """
    generator = Generator()
    shapes = jax.eval_shape(
        lambda key: generator.init(key, jnp.zeros((1, 2, 8)), method="synthesize"), jax.random.key(0)
    )
    rng = np.random.default_rng(3)
    variables = jax.tree.map(lambda x: rng.standard_normal(x.shape), shapes)
    images = call(generator, variables, rng.standard_normal((5, 2, 8)), method="synthesize")
    mean, unit = 0.3 * rng.standard_normal((2, 8)), np.eye(8)[None]
    return (
        Gan(generator, None),
        variables,
        np.asarray(images),
        Statistics(mean, np.float64(1), mean[0], mean, unit, unit),
    )


def run(
    rows: Any = slice(None), job: Job | None = None, progress: Any = lambda done, total: None, **changes: Any
) -> Any:
    """An inversion by 10 L1 in float64."""
    with jax.enable_x64(True):
        gan, variables, images, stats = problem()
        found = invert(gan, variables, None, images[rows], config(**changes), stats=stats, job=job, progress=progress)
    assert found.ws.dtype == found.losses.dtype == np.float64
    return found


def test_one_image_at_a_time_is_what_it_is_in_a_batch():
    """300 steps of an L1 loss leave 1e-11 between them; in float32 it would be up to 0.04."""
    together, alone = (run(batch=batch, steps=300, chunk=100) for batch in (5, 1))
    assert (together.loss < 0.05 * together.losses[0]).all()
    for name in ("ws", "losses", "images", "loss"):
        np.testing.assert_allclose(getattr(alone, name), getattr(together, name), rtol=0, atol=ATOL, err_msg=name)


# Everything that is drawn is drawn; two calls, of which the second is filled up.
NOISY = {"noise_maps": True, "perturbation": 0.05, "weights__noise": 1.0, "batch": 3, "steps": 60, "chunk": 20}


def invert_on_devices(folder: Path) -> None:
    """What a process with four devices does; for the test below."""
    whole = run(**NOISY)
    calls = 0

    def stop(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:  # in the second batch, which has a checkpoint
            raise Stop

    def job() -> Job:
        return Job(folder / "job", {}, every=0.0)

    with pytest.raises(Stop):
        run(job=job(), progress=stop, **NOISY)
    shutil.copytree(folder / "job", folder / "interrupted")
    resumed = run(job=job(), **NOISY)
    for name in ("ws", "losses", "images", "noise", "used"):
        for a, b in zip(jax.tree.leaves(getattr(resumed, name)), jax.tree.leaves(getattr(whole, name)), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
    np.savez(
        folder / "found.npz", ws=whole.ws, losses=whole.losses, **{f"noise{i}": m for i, m in enumerate(whole.noise)}
    )


def test_devices_share_the_images_and_change_nothing(tmp_path):
    """Five images on four devices are those of one device.

    There an interrupted run continues bit for bit, and here too where batches are of the same size.
    """
    call_on_devices(4, invert_on_devices, tmp_path)
    # There a batch had four images. Here it has three, and the second would be of other images.
    with pytest.raises(UserError, match=r"holds work in batches of 4, and .* 1 device\(s\) they are of 3"):
        run(job=Job(tmp_path / "interrupted", {}), **NOISY)
    here = NOISY | {"batch": 4}
    one, moved = run(**here), run(job=Job(tmp_path / "interrupted", {}), **here)
    with np.load(tmp_path / "found.npz") as four:
        assert four["ws"].shape == (5, 2, 8)
        for found in (one, moved):
            np.testing.assert_allclose(found.ws, four["ws"], rtol=0, atol=ATOL)
            np.testing.assert_allclose(found.losses, four["losses"], rtol=0, atol=ATOL)
            np.testing.assert_allclose(found.noise[0], four["noise0"], rtol=0, atol=ATOL)
