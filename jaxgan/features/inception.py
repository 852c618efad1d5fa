"""The 2015 Inception network of the Fréchet Inception distance, as torch-fidelity and pytorch-fid publish its weights.

It differs from torchvision's Inception v3 in its pooling branches and its 1,008 classes. Input: RGB in [0, 255] at
299 px, where the graph's own resize is TensorFlow 1's.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.features.layers import Frozen, avg_pool_inside, max_pool


class Inception2015(Frozen):
    """[B, 299, 299, 3] in [0, 255] -> {"pool": [B, 2048], "logits": [B, 1008], "logits_unbiased": [B, 1008]}."""

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        x = (x - 128.0) / 128.0
        x = self._conv(x, "Conv2d_1a_3x3", 32, 3, stride=2)
        x = self._conv(x, "Conv2d_2a_3x3", 32, 3)
        x = max_pool(self._conv(x, "Conv2d_2b_3x3", 64, 3, padding=1), 3, 2)
        x = self._conv(x, "Conv2d_3b_1x1", 80, 1)
        x = max_pool(self._conv(x, "Conv2d_4a_3x3", 192, 3), 3, 2)
        for name, pooled in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = self._block_a(x, name, pooled)
        x = self._block_b(x, "Mixed_6a")
        for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
            x = self._block_c(x, name, width)
        x = self._block_d(x, "Mixed_7a")
        x = self._block_e(x, "Mixed_7b", avg_pool_inside(x))
        x = self._block_e(x, "Mixed_7c", max_pool(x, 3, 1, 1))
        pool = x.mean((1, 2))
        logits = self.dense(pool, "fc", 1008)
        return {"pool": pool, "logits": logits, "logits_unbiased": logits - self.get_variable("params", "fc.bias")}

    def _conv(self, x, name, features, kernel, stride=1, padding=0):
        x = self.conv(x, f"{name}.conv", features, kernel, stride, padding, bias=False)
        return nn.relu(self.batch_norm(x, f"{name}.bn", 1e-3))

    def _block_a(self, x, name, pooled):
        one = self._conv(x, f"{name}.branch1x1", 64, 1)
        five = self._conv(x, f"{name}.branch5x5_1", 48, 1)
        five = self._conv(five, f"{name}.branch5x5_2", 64, 5, padding=2)
        double = self._conv(x, f"{name}.branch3x3dbl_1", 64, 1)
        double = self._conv(double, f"{name}.branch3x3dbl_2", 96, 3, padding=1)
        double = self._conv(double, f"{name}.branch3x3dbl_3", 96, 3, padding=1)
        pool = self._conv(avg_pool_inside(x), f"{name}.branch_pool", pooled, 1)
        return jnp.concatenate([one, five, double, pool], -1)

    def _block_b(self, x, name):
        three = self._conv(x, f"{name}.branch3x3", 384, 3, stride=2)
        double = self._conv(x, f"{name}.branch3x3dbl_1", 64, 1)
        double = self._conv(double, f"{name}.branch3x3dbl_2", 96, 3, padding=1)
        double = self._conv(double, f"{name}.branch3x3dbl_3", 96, 3, stride=2)
        return jnp.concatenate([three, double, max_pool(x, 3, 2)], -1)

    def _block_c(self, x, name, width):
        row, column = {"kernel": (1, 7), "padding": (0, 3)}, {"kernel": (7, 1), "padding": (3, 0)}
        one = self._conv(x, f"{name}.branch1x1", 192, 1)
        seven = self._conv(x, f"{name}.branch7x7_1", width, 1)
        seven = self._conv(seven, f"{name}.branch7x7_2", width, **row)
        seven = self._conv(seven, f"{name}.branch7x7_3", 192, **column)
        double = self._conv(x, f"{name}.branch7x7dbl_1", width, 1)
        double = self._conv(double, f"{name}.branch7x7dbl_2", width, **column)
        double = self._conv(double, f"{name}.branch7x7dbl_3", width, **row)
        double = self._conv(double, f"{name}.branch7x7dbl_4", width, **column)
        double = self._conv(double, f"{name}.branch7x7dbl_5", 192, **row)
        pool = self._conv(avg_pool_inside(x), f"{name}.branch_pool", 192, 1)
        return jnp.concatenate([one, seven, double, pool], -1)

    def _block_d(self, x, name):
        three = self._conv(x, f"{name}.branch3x3_1", 192, 1)
        three = self._conv(three, f"{name}.branch3x3_2", 320, 3, stride=2)
        seven = self._conv(x, f"{name}.branch7x7x3_1", 192, 1)
        seven = self._conv(seven, f"{name}.branch7x7x3_2", 192, (1, 7), padding=(0, 3))
        seven = self._conv(seven, f"{name}.branch7x7x3_3", 192, (7, 1), padding=(3, 0))
        seven = self._conv(seven, f"{name}.branch7x7x3_4", 192, 3, stride=2)
        return jnp.concatenate([three, seven, max_pool(x, 3, 2)], -1)

    def _block_e(self, x, name, pooled):
        row, column = {"kernel": (1, 3), "padding": (0, 1)}, {"kernel": (3, 1), "padding": (1, 0)}
        one = self._conv(x, f"{name}.branch1x1", 320, 1)
        three = self._conv(x, f"{name}.branch3x3_1", 384, 1)
        three_row = self._conv(three, f"{name}.branch3x3_2a", 384, **row)
        three_column = self._conv(three, f"{name}.branch3x3_2b", 384, **column)
        double = self._conv(x, f"{name}.branch3x3dbl_1", 448, 1)
        double = self._conv(double, f"{name}.branch3x3dbl_2", 384, 3, padding=1)
        double_row = self._conv(double, f"{name}.branch3x3dbl_3a", 384, **row)
        double_column = self._conv(double, f"{name}.branch3x3dbl_3b", 384, **column)
        pool = self._conv(pooled, f"{name}.branch_pool", 192, 1)
        return jnp.concatenate([one, three_row, three_column, double_row, double_column, pool], -1)
