"""A StyleGAN2's random latents, their images, and how like them others are."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import UserError
from jaxgan.experiment import load, seeds_to_z
from jaxgan.latent import attributes, equalise
from jaxgan.latent.space import has_mapping
from jaxgan.latent.spaces import kept_components, statistics, to_prior
from jaxgan.latent.walk import render
from jaxgan.networks.gan import call

_BATCH = 64


class RandomLatents:
    """Of the generator of a run.

    Attributes:
        model, generator, variables, stats: of it.
        kept: components of whitened w that vary.

    Raises:
        UserError: it has no w without classes, or takes no maps.
    """

    def __init__(self, run: str):
        self.model = load(run)
        self.generator, self.variables = self.model.gan.generator, self.model.variables["generator"]
        if not (has_mapping(self.generator) and hasattr(self.generator, "row_shapes")) or self.generator.num_classes:
            raise UserError(f"--run={run}: this measures a StyleGAN2 without classes")
        self.stats = statistics(self.generator, self.variables)
        self.kept = kept_components(self.stats)
        self._level = equalise.level(self.kept)
        self._draw = jax.jit(lambda ws: call(self.generator, self.variables, ws, "const", method="synthesize"))

    def ws(self, count: int, seed: int) -> np.ndarray:
        """So many [count, num_ws, w_dim] of one draw."""
        z = np.random.default_rng(seed).standard_normal((count, self.generator.z_dim)).astype(np.float32)
        return np.asarray(self.model.map(jnp.asarray(z)))

    def ws_of_seeds(self, seeds: list[int]) -> np.ndarray:
        """Those that `jaxgan sample` shows of seeds."""
        return np.asarray(self.model.map(seeds_to_z(seeds, self.generator)))

    def whitened(self, ws: np.ndarray) -> np.ndarray:
        """What attributes are fitted to, [N, w_dim], of vectors that are the same in all layers."""
        return attributes.whitened(self.generator, self.stats, ws[:, 0])

    def images(self, ws: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, C], with constant noise."""
        return render(self.generator, self.variables, ws[None], batch=_BATCH).frames[0]

    def unrounded(self, ws: np.ndarray) -> np.ndarray:
        """Images [N, H, W, C] as the generator gives them, in [-1, 1]."""
        count = -len(ws) % _BATCH
        filled = np.concatenate([ws, np.repeat(ws[-1:], count, 0)])
        parts = [np.asarray(self._draw(filled[i : i + _BATCH])) for i in range(0, len(filled), _BATCH)]
        return np.concatenate(parts)[: len(ws)]

    def likely(self, parts: np.ndarray | jax.Array) -> dict[str, float]:
        """How like random w the parts [N, Q, w_dim] of codes are.

        R_eq, mean over codes, and the radius of parts (1 for random w), with its deviation over all parts.
        """
        v = to_prior(self.generator, self.stats, jnp.asarray(parts))[..., : self.kept]
        radius = np.sqrt(np.square(np.asarray(v)).mean(-1))
        found = {"R_eq": float(equalise.equalise(v, self._level).mean())}
        return found | {"radius": float(radius.mean()), "its deviation": float(radius.std())}

    def likely_if_random(self, parts: int, count: int = 200) -> dict[str, float]:
        """The same of codes whose parts are random w, each its own."""
        w = self.ws(count * parts, seed=2)[:, 0]
        return self.likely(w.reshape(count, parts, -1))
