"""SqueezeNet 1.1 with the weights that came from Caffe by way of Keras: BGR minus the mean of ImageNet.

Input: RGB in [0, 255] at 227 px.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.features.layers import Frozen, max_pool

_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))  # squeeze, expand
_BGR_MEAN = (103.939, 116.779, 123.68)


class SqueezeNet(Frozen):
    """[B, 227, 227, 3] in [0, 255] -> {"pool": [B, 512], "logits": [B, 1000], "fire9": ...}, every tap by its name."""

    cpu_group = 2

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        x = x[..., ::-1] - jnp.asarray(_BGR_MEAN)
        x = nn.relu(self.conv(x, "conv1", 64, 3, 2))
        taps = {"conv1": x}
        for number, (squeeze, expand) in enumerate(_FIRES, start=2):
            if number in (2, 4, 6):
                x = max_pool(x, 3, 2)
            s = nn.relu(self.conv(x, f"fire{number}/squeeze1x1", squeeze, 1))
            one = self.conv(s, f"fire{number}/expand1x1", expand, 1)
            three = self.conv(s, f"fire{number}/expand3x3", expand, 3, padding=1)
            x = nn.relu(jnp.concatenate([one, three], -1))
            if number in (3, 5, 6, 7, 8, 9):
                taps[f"fire{number}"] = x
        logits = nn.relu(self.conv(x, "conv10", 1000, 1)).mean((1, 2))
        return {"pool": x.mean((1, 2)), "logits": logits, **taps}
