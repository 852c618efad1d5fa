"""EfficientNet-Lite0, Google's ImageNet classifier for small devices, in the layout of its torch port.

Input: RGB in [0, 255] at 224 px. Facts: docs/metrics.md names the package and what was checked.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.features.layers import Frozen

_STAGES = (  # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_EPS = 1e-3


class Lite0(Frozen):
    """[B, 224, 224, 3] in [0, 255] -> {"pool": [B, 1280], "logits": [B, 1000]}."""

    cpu_group = 2

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        x = (x - 127.0) / 128.0
        x = self._normed(self.conv(x, "_conv_stem", 32, 3, 2, "tf", bias=False), "_bn0")
        block = 0
        for repeats, kernel, stride, expansion, channels in _STAGES:
            for i in range(repeats):
                x = self._block(x, f"_blocks.{block}", kernel, stride if i == 0 else 1, expansion, channels, i > 0)
                block += 1
        x = self._normed(self.conv(x, "_conv_head", 1280, 1, bias=False), "_bn1")
        pool = x.mean((1, 2))
        return {"pool": pool, "logits": self.dense(pool, "_fc", 1000)}

    def _normed(self, x: jax.Array, name: str) -> jax.Array:
        return jnp.clip(self.batch_norm(x, name, _EPS), 0.0, 6.0)

    def _block(self, x, name, kernel, stride, expansion, channels, residual):
        y = x
        if expansion > 1:
            y = self.conv(y, f"{name}._expand_conv", expansion * x.shape[-1], 1, bias=False)
            y = self._normed(y, f"{name}._bn0")
        y = self._normed(self.depthwise(y, f"{name}._depthwise_conv", kernel, stride), f"{name}._bn1")
        y = self.batch_norm(self.conv(y, f"{name}._project_conv", channels, 1, bias=False), f"{name}._bn2", _EPS)
        return x + y if residual else y
