"""The noise maps of StyleGAN and StyleGAN2: one map per styled layer, the same for all of its channels."""

import flax.linen as nn
import jax

Noise = str | jax.Array | tuple[jax.Array, ...]


def noise_map(module: nn.Module, noise: Noise, layer: int, shape: tuple[int, ...]) -> jax.Array | None:
    """What the generator's `noise` means at its layer number `layer`: a map [B or 1, H, W, 1], or None for no noise.

    "const" is the map in the module's buffers, a key draws one per image, a tuple holds one per layer. To be called
    inside a compact method.

    Args:
        module: the layer; its buffer `noise_const` [H, W] is drawn when the network is initialised.
        noise: "const", "none", a key or a tuple of maps [B, H, W, 1].
        layer: the layer's place among all that take noise.
        shape: of the layer's output, [B, H, W, C].

    Raises:
        ValueError: noise of an unknown name.
    """
    size = shape[1:3]
    const = module.variable("buffers", "noise_const", lambda: jax.random.normal(module.make_rng("params"), size))
    if isinstance(noise, tuple):
        return noise[layer]
    if not isinstance(noise, str):
        return jax.random.normal(jax.random.fold_in(noise, layer), (shape[0], *size, 1))
    if noise not in ("const", "none"):
        raise ValueError(f"noise {noise!r} is not 'const', 'none', a key or a tuple of maps")
    return const.value[None, :, :, None] if noise == "const" else None
