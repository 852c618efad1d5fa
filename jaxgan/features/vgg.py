"""torchvision's VGG16, VGG19 and AlexNet, and the LPIPS distance on their layers.

Input of the networks: RGB in [0, 255], normalised inside as torchvision's weights want it.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.features.layers import Frozen, max_pool

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Channels of the convolutions; "M" is a max pool.
VGG = {
    "vgg16": (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"),
    "vgg19": (64, 64, "M", 128, 128, "M", *(256,) * 4, "M", *(512,) * 4, "M", *(512,) * 4, "M"),
}
# AlexNet's convolutions: index, channels, kernel, stride, padding, whether a max pool comes before.
_ALEX = ((0, 64, 11, 4, 2, False), (3, 192, 5, 1, 2, True), (6, 384, 3, 1, 1, True), (8, 256, 3, 1, 1, False))
_ALEX += ((10, 256, 3, 1, 1, False),)


class Vgg(Frozen):
    """[B, H, W, 3] in [0, 255] -> {"relu1": ..., ..., "relu5": [B, h, w, 512]} and, with the classifier, at 224 px
    {"fc7": [B, 4096], "logits": [B, 1000]}.

    Attributes:
        variant: "vgg16" or "vgg19".
        classifier: whether the dense layers are there too.
    """

    variant: str = "vgg16"
    classifier: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        out = vgg_taps(self, x, self.variant)
        return (out | _classified(self, max_pool(out["relu5"], 2, 2), (0, 3, 6))) if self.classifier else out


class AlexNet(Frozen):
    """[B, H, W, 3] in [0, 255] -> {"relu1": ..., ..., "relu5": [B, h, w, 256]} and, with the classifier, at 224 px
    {"fc7": [B, 4096], "logits": [B, 1000]}.
    """

    classifier: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        out = alex_taps(self, x)
        return (out | _classified(self, max_pool(out["relu5"], 3, 2), (1, 4, 6))) if self.classifier else out


def vgg_taps(net: Frozen, x: jax.Array, variant: str) -> dict[str, jax.Array]:
    """Activations before each max pool, of convolutions that `net` holds."""
    x = normalised(x)
    out, index = {}, 0
    for width in VGG[variant]:
        if width == "M":
            out[f"relu{len(out) + 1}"] = x
            x, index = max_pool(x, 2, 2), index + 1
        else:
            x, index = nn.relu(net.conv(x, f"features.{index}", width, 3, padding=1)), index + 2
    return out


def alex_taps(net: Frozen, x: jax.Array) -> dict[str, jax.Array]:
    """Activations after each convolution, of convolutions that `net` holds."""
    x = normalised(x)
    out = {}
    for index, width, kernel, stride, padding, pool in _ALEX:
        x = max_pool(x, 3, 2) if pool else x
        x = nn.relu(net.conv(x, f"features.{index}", width, kernel, stride, padding))
        out[f"relu{len(out) + 1}"] = x
    return out


def normalised(x: jax.Array) -> jax.Array:
    """[0, 255] as torchvision's weights want it."""
    return (x / 255.0 - jnp.asarray(_MEAN)) / jnp.asarray(_STD)


def _classified(net: Frozen, x: jax.Array, indices: tuple[int, int, int]) -> dict[str, jax.Array]:
    """torchvision's classifier, on features flattened channel first."""
    x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
    first, second, last = indices
    x = nn.relu(net.dense(x, f"classifier.{first}", 4096))
    x = nn.relu(net.dense(x, f"classifier.{second}", 4096))
    return {"fc7": x, "logits": net.dense(x, f"classifier.{last}", 1000)}
