"""What an optimisation of latents minimises: weighted terms by name, each a loss per image.

The set of terms is static; weights, networks, targets and statistics are arguments. See `TERMS` for the names.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import UserError
from jaxgan.features.lpips import distance
from jaxgan.features.networks import Network, apply
from jaxgan.features.networks import load as load_network
from jaxgan.features.trunks import LABELS, Trunk, apply_trunk, load_trunk
from jaxgan.latent import equalise, losses, maps
from jaxgan.latent.maps import is_spatial
from jaxgan.latent.optimisers import latent_noise
from jaxgan.latent.space import Space, Statistics, has_mapping
from jaxgan.latent.spaces import clamp_to_prior, from_prior, kept_components, prior, to_prior
from jaxgan.networks.gan import Gan, call, extras, extras_dim
from jaxgan.ops.resize import resize

TERMS = {
    "l1": "mean absolute difference of pixels in [-1, 1]",
    "l2": "mean squared difference of pixels",
    "conv": "mean squared difference of a VGG's convolutions before the ReLU (`trunk`, `convs`)",
    "lpips": "perceptual distance (`lpips_network`)",
    "gram": "mean squared difference of the Gram matrices of conv_1 to conv_5: texture",
    "hog": "squared difference of oriented gradients in cells of `hog_cell` pixels: shape",
    "realism": "softplus(-D(image))",
    "noise": "the projector's regulariser of noise maps (`noise_maps`)",
    "delta": "length of the code's way from its start",
    "delta_squared": "mean square of that way",
    "prior": "mean squared whitened number of ws: 1 for random latents",
    "mean": "mean square of the distance of ws from their mean",
    "spread": "mean square of the distance of rows of ws from each other",
    "equalise": "how far each w's distribution is from that of random ones, and from that of the others",
    "roughness": "squared change of whitened w from a cell of a map to the next",
    "dependence": "how much less alike near cells are than those that a generator of maps was trained on",
}
PIXEL_TERMS = ("l1", "l2", "conv", "lpips", "gram", "hog")  # those that compare with the target
_GRAM_CONVS = (1, 2, 3, 4, 5)
_LARGEST_LPIPS = 256  # px, larger images are averaged down to it, as in the projector
_PRIOR_ANNEAL = 0.75  # share of the steps in which the prior's weight goes from `prior_from` to `prior`


@dataclasses.dataclass(frozen=True)
class Objective:
    """A weighted sum of terms; hashable, called as `jaxgan.latent.optimise.Objective` says.

    `latent` is {"code": [B, *space.shape]}, where noise maps are optimised "noise": maps [B, H, W, 1], and where the
    generator takes more than ws "extras": [B, D] (see `jaxgan.networks.gan`), which is found together with the code;
    `target` is what `make_target` gives; `variables` what `make_variables` gives.

    Attributes:
        space: of the codes.
        discriminator: of "realism", or None.
        terms: names out of `TERMS`.
        trunk: of "conv" and "gram", or None.
        lpips: `Network.static()` of the "lpips" term, or None.
        convs: the convolutions of "conv".
        hog_cell: pixels.
        clamp: whether `after_step` clamps to the prior.
        noise_maps: whether noise maps are part of the latent.
        perturb: whether ws are perturbed by the projector's latent noise.
        whitened: whether the code that is optimised is whitened, so that a step is in deviations of random latents;
            `code` gives the space's own.
        kept: principal components of whitened w that random latents vary in.
    """

    space: Space
    discriminator: nn.Module | None
    terms: tuple[str, ...]
    trunk: Trunk | None = None
    lpips: tuple | None = None
    convs: tuple[int, ...] = (5,)
    hog_cell: int = 4
    clamp: bool = False
    noise_maps: bool = False
    perturb: bool = False
    whitened: bool = False
    kept: int = 0

    def __call__(
        self, variables: Any, latent: Any, target: Any, keys: jax.Array, progress: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(loss [B], terms {name: [B]}, unweighted)."""
        ws = self.ws(variables, latent, target)
        if self.perturb:
            noise = self._perturbation(variables, keys, progress)
            ws = ws + noise.reshape(*noise.shape[:2], *(1,) * (ws.ndim - 3), noise.shape[2])  # the same at all cells
        images = self.render(variables, ws, latent)
        found = self._terms(variables, images, ws, latent, target)
        weights = dict(variables["weights"])
        if "prior" in found:
            share = jnp.minimum(progress / _PRIOR_ANNEAL, 1.0)
            weights["prior"] = weights["prior_from"] ** (1 - share) * weights["prior"] ** share
        return sum(weights[name] * value for name, value in found.items()), found

    def ws(self, variables: Any, latent: Any, target: Any) -> jax.Array:
        """ws of the latents, as the space gives them: [B, num_ws, w_dim], or maps."""
        return self.space.to_ws(variables["generator"], self.code(variables, latent["code"]), target.get("labels"))

    def code(self, variables: Any, coordinates: jax.Array) -> jax.Array:
        """The space's codes of what is optimised."""
        return self._by_row(from_prior, variables, coordinates) if self.whitened else coordinates

    def coordinates(self, variables: Any, code: jax.Array) -> jax.Array:
        """What is optimised of the space's codes: the inverse of `code`."""
        return self._by_row(to_prior, variables, code) if self.whitened else code

    def _by_row(self, change: Any, variables: Any, code: jax.Array) -> jax.Array:
        generator = self.space.generator
        rows = code.reshape(len(code), -1, generator.w_dim)
        return change(generator, variables["statistics"], rows).reshape(code.shape)

    def render(self, variables: Any, ws: Any, latent: Any) -> jax.Array:
        """Images [B, H, W, C] of ws, with the latent's noise maps or the constant ones; not clipped."""
        noise = tuple(latent["noise"]) if self.noise_maps else "const"
        generator = self.space.generator
        more = extras(generator, latent.get("extras")) | ({"styled": True} if self.space.styled else {})
        return call(generator, variables["generator"], ws, noise, method="synthesize", **more)

    def after_step(self, variables: Any, before: Any, latent: Any) -> Any:
        """Noise maps of mean 0 and rms 1, codes clamped to the prior, extras that training knows."""
        latent = dict(latent)
        if self.noise_maps:
            latent["noise"] = tuple(losses.normalise_noise(latent["noise"]))
        if self.clamp:
            statistics, limit = variables["statistics"], variables["clamp"]
            latent["code"] = _clamped(self.space, statistics, latent["code"], limit)
        if "extras" in latent:
            latent["extras"] = self.space.generator.clip_extras(latent["extras"])
        return latent

    @property
    def projects(self) -> bool:
        """Whether `after_step` does anything."""
        return self.noise_maps or self.clamp or extras_dim(self.space.generator) > 0

    def _perturbation(self, variables: Any, keys: jax.Array, progress: jax.Array) -> jax.Array:
        """Of ws, [B, rows, w_dim]: one vector for all rows, or one each in w+ and its maps."""
        rows = self.space.generator.num_ws if self.space.name in ("w+", "sw+") else 1
        shape = (rows, self.space.generator.w_dim)
        noise = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
        size = variables["perturbation"] * variables["statistics"].w_std * latent_noise(progress)
        return noise * size

    def _terms(self, variables: Any, images: jax.Array, ws: jax.Array, latent: Any, target: Any) -> dict:
        generator, statistics = self.space.generator, variables["statistics"]
        w = None if self.space.styled else maps.rows(self.space, ws)
        masks = target.get("masks", {})
        mask = target.get("mask")
        # What the mask hides is grey in both, so that no receptive field sees across its edge.
        features = self._features(variables, images if mask is None else images * mask)
        found = {}
        for name in self.terms:
            match name:
                case "l1":
                    found[name] = losses.l1(images, target["image"], mask)
                case "l2":
                    found[name] = losses.l2(images, target["image"], mask)
                case "conv":
                    chosen = {k: features[k] for k in target["conv"]}
                    found[name] = losses.feature_l2(chosen, target["conv"], _of(masks, chosen))
                case "gram":
                    chosen = {k: features[k] for k in target["gram"]}
                    found[name] = losses.gram_l2(chosen, target["gram"], _of(masks, chosen))
                case "lpips":
                    found[name] = distance(self._embed(variables, images), target["lpips"])
                case "hog":
                    found[name] = losses.hog_l2(images, target["hog"], _sketch(target), self.hog_cell)
                case "realism":
                    out = call(
                        self.discriminator, variables["discriminator"], images, target.get("labels"), group_size=1
                    )
                    found[name] = losses.realism(out.logits)
                case "noise":
                    found[name] = losses.noise_regulariser(latent["noise"])
                case "delta":
                    found[name] = losses.norm_distance(latent["code"], target["start"])
                case "delta_squared":
                    found[name] = losses.squared_distance(latent["code"], target["start"])
                case "prior":
                    found[name] = prior(generator, statistics, w)
                case "mean":
                    mean = statistics.w_mean if w.shape[1] == generator.num_ws else statistics.w_mean[:1]
                    found[name] = losses.squared_distance(w, mean)
                case "spread":
                    found[name] = losses.spread(w)
                case "equalise":
                    v = to_prior(generator, statistics, w)[..., : self.kept]
                    found[name] = equalise.equalise(v, variables["level"])
                case "roughness":
                    given = ws if isinstance(ws, tuple) else (maps.distinct(self.space, ws),)
                    maps_of = [m for m in given if m.ndim > 3]
                    each = [equalise.roughness(to_prior(generator, statistics, m)[..., : self.kept]) for m in maps_of]
                    found[name] = sum(each, jnp.zeros(len(images))) / max(len(each), 1)
                case "dependence":
                    found[name] = self._dependence(variables, latent, ws)
        return found

    def _dependence(self, variables: Any, latent: Any, ws: Any) -> jax.Array:
        """[B]: max(0, E - 1) of the maps, mean over layers where each has its own."""
        height, width = self.space.size
        if self.space.name == "sz":
            v = latent["code"][:, None]
        else:
            w = maps.distinct(self.space, ws)
            v = to_prior(self.space.generator, variables["statistics"], w)[..., : self.kept]
        parts = v.reshape(-1, height * width, v.shape[-1])
        beyond = jnp.maximum(equalise.dependence(parts, variables["covariance"]) - 1.0, 0.0)
        return beyond.reshape(len(v), -1).mean(1)

    def _features(self, variables: Any, images: jax.Array) -> dict[str, jax.Array]:
        return {} if self.trunk is None else apply_trunk(self.trunk, variables["trunk"], images)

    def _embed(self, variables: Any, images: jax.Array) -> list[jax.Array]:
        height, width = images.shape[1:3]
        if max(height, width) > _LARGEST_LPIPS:
            scale = max(height, width) / _LARGEST_LPIPS
            images = resize(images, (round(height / scale), round(width / scale)), "box")
        return apply(self.lpips, variables["lpips"], images * 127.5 + 127.5, clip=False)

    def make_target(self, variables: Any, image: jax.Array, start: Any, **more: jax.Array) -> dict[str, Any]:
        """What the terms compare with, computed once: pure, to be jitted.

        Args:
            variables: of `make_variables`.
            image: [B, H, W, C] in [-1, 1].
            start: the latents that the optimisation starts from.
            more: "mask" [B, H, W, 1], "sketch" [B, H, W, 1] (where shape counts; by default the mask), "labels".
        """
        target: dict[str, Any] = {"image": image, **more}
        mask = more.get("mask")
        features = self._features(variables, image if mask is None else image * mask)
        if "conv" in self.terms:
            target["conv"] = {f"conv_{k}": features[f"conv_{k}"] for k in self.convs}
        if mask is not None and features:
            target["masks"] = {k: losses.pooled_mask(mask, f.shape[1:3]) for k, f in features.items()}
        if "gram" in self.terms:
            chosen = {f"conv_{k}": features[f"conv_{k}"] for k in _GRAM_CONVS}
            target["gram"] = losses.gram(chosen, _of(target.get("masks", {}), chosen))
        if "lpips" in self.terms:
            target["lpips"] = self._embed(variables, image)
        if "hog" in self.terms:
            target["hog"] = losses.hog(image, self.hog_cell)
        if {"delta", "delta_squared"} & set(self.terms):
            target["start"] = start["code"]
        return target


def _of(masks: Mapping[str, jax.Array], chosen: Mapping[str, Any]) -> dict[str, jax.Array] | None:
    return {name: masks[name] for name in chosen} if masks else None


def _sketch(target: Mapping[str, Any]) -> jax.Array | None:
    return target.get("sketch", target.get("mask"))


def _clamped(space: Space, statistics: Statistics, code: jax.Array, limit: jax.Array) -> jax.Array:
    """Codes with rows of at most `limit` mean squared whitened number; z by its own numbers."""
    if space.name in ("z", "sz"):
        squares = jnp.square(code).mean(-1, keepdims=True)
        return code * jnp.sqrt(limit / jnp.maximum(squares, limit))
    rows = code.reshape(len(code), -1, space.generator.w_dim)
    return clamp_to_prior(space.generator, statistics, rows, limit).reshape(code.shape)


def check_weights(weights: Mapping[str, float]) -> tuple[str, ...]:
    """The terms that have a weight, in the order of `TERMS`.

    Raises:
        UserError: an unknown term, a weight that is no number from 0, or nothing that compares with the target.
    """
    for name, weight in weights.items():
        if name not in TERMS:
            raise UserError(f"config.weights.{name} is no term; terms are {', '.join(TERMS)}")
        if not 0 <= weight < float("inf"):
            raise UserError(f"config.weights.{name}={weight} must be a number of 0 or more")
    terms = tuple(name for name in TERMS if weights.get(name, 0.0) > 0)
    if not set(terms) & set(PIXEL_TERMS):
        raise UserError(f"config.weights compares with nothing; give one of {', '.join(PIXEL_TERMS)} a weight")
    return terms


def make_objective(
    space: Space,
    gan: Gan,
    config: Mapping[str, Any],
    generator: Any,
    discriminator: Any,
    statistics: Statistics,
    *,
    masked: bool = False,
) -> tuple[Objective, dict[str, Any]]:
    """The objective of a config's `weights` and its `variables`; networks are read for the terms that need them.

    Args:
        space: of the codes.
        gan: the modules.
        config: as `configs/invert.py` describes it.
        generator, discriminator: their variables; the discriminator's may be None.
        statistics: of the generator's latents.
        masked: whether targets have masks, which "lpips" does not take.

    Raises:
        UserError: an unknown term, no positive weight, a network that is missing, a term that does not apply.
    """
    terms = check_weights(config["weights"])
    if masked and "lpips" in terms:
        raise UserError("config.weights.lpips sees whole images and a scribble is none; use conv instead")
    if "realism" in terms and discriminator is None:
        raise UserError("config.weights.realism needs a discriminator and this model has none; set it to 0")
    noise_maps = bool(config["noise_maps"]) and bool(space.generator.noise_shapes)
    terms = tuple(t for t in terms if t != "noise" or noise_maps)
    check_space(space, terms, config)
    whitened = config["coordinates"] == "whitened"
    kept = kept_components(statistics) if {"equalise", "roughness", "dependence"} & set(terms) else 0
    trunk, trunk_params = _trunk(terms, config)
    lpips = load_network(config["lpips_network"], config["lpips_weights"] or None) if "lpips" in terms else None
    clamp = config["prior_clamp"] > 0
    objective = Objective(
        space,
        gan.discriminator if "realism" in terms else None,
        terms,
        trunk,
        lpips.static() if lpips else None,
        tuple(config["convs"]),
        config["hog_cell"],
        clamp,
        noise_maps,
        config["perturbation"] > 0 and config["optimizer"]["kind"] != "lbfgs",
        whitened,
        kept,
    )
    variables = {
        "generator": generator,
        "statistics": statistics,
        "weights": {name: jnp.float32(config["weights"][name]) for name in terms},
        "perturbation": jnp.float32(config["perturbation"]),
        "clamp": jnp.float32(config["prior_clamp"] or 1.0),
    }
    if "dependence" in terms:
        variables["covariance"] = jnp.asarray(covariance(space.generator, space.size), jnp.float32)
    if "equalise" in terms:
        variables["level"] = jnp.float32(equalise.level(kept))
    if "prior" in terms:
        variables["weights"]["prior_from"] = jnp.float32(config["prior_from"] or config["weights"]["prior"])
    if "realism" in terms:
        variables["discriminator"] = discriminator
    if trunk is not None:
        variables["trunk"] = trunk_params
    if lpips is not None:
        variables["lpips"] = _params(lpips)
    return objective, variables


def covariance(generator: nn.Module, size: tuple[int, int]) -> np.ndarray:
    """[P, P] between the cells of a map of a size, by the prior of a generator of maps."""
    places = [(np.arange(n) + 0.5) * whole / n for n, whole in zip(size, generator.grid)]
    points = np.stack(np.meshgrid(*places, indexing="ij"), -1).reshape(-1, 2)
    return generator.prior.correlation(np.sqrt(np.square(points[:, None] - points[None]).sum(-1)))


def check_space(space: Space, terms: tuple[str, ...], config: Mapping[str, Any]) -> None:
    """Raises UserError for terms and settings of a config that a space does not have."""
    whitened = config["coordinates"] == "whitened"
    of_w = {"prior", "mean", "spread", "equalise", "roughness"} & set(terms)
    if space.styled and (of_w or whitened or config["prior_clamp"] > 0):
        what = f"config.weights.{sorted(of_w)[0]}" if of_w else "config.coordinates=whitened or prior_clamp"
        raise UserError(
            f"{what} needs to know how a code is distributed, and of styles that is not known; set it to 0 "
            "(coordinates: raw), or use sw+"
        )
    if "roughness" in terms and not is_spatial(space):
        raise UserError(f"config.weights.roughness is of maps, and --space={space.name} has none; set it to 0")
    if "dependence" in terms and (space.name not in ("sz", "sw", "sw+") or not hasattr(space.generator, "prior")):
        raise UserError(
            "config.weights.dependence is of maps of one size, of a generator that was trained on maps; use roughness"
        )
    if config["coordinates"] not in ("raw", "whitened"):
        raise UserError(f"config.coordinates={config['coordinates']!r} is not known; use raw or whitened")
    if whitened and (space.name in ("z", "sz") or not has_mapping(space.generator) or config["prior_clamp"] > 0):
        raise UserError(
            "config.coordinates=whitened is for w of a mapping network, without config.prior_clamp; use raw here"
        )
    if config["perturbation"] > 0 and space.name in ("rows", "ss"):
        raise UserError("config.perturbation is for one size of maps; set it to 0 in this space")


def _trunk(terms: tuple[str, ...], config: Mapping[str, Any]) -> tuple[Trunk | None, Any]:
    convs = set(config["convs"]) if "conv" in terms else set()
    convs |= set(_GRAM_CONVS) if "gram" in terms else set()
    if not convs:
        return None, None
    return load_trunk(config["trunk"], tuple(sorted(convs)), config["trunk_weights"] or None)


def _params(network: Network) -> Any:
    return jax.tree.map(jnp.asarray, dict(network.params))


def term_label(name: str, config: Mapping[str, Any]) -> str:
    """A term's name in a report, with the network that stands behind it."""
    if name in ("conv", "gram"):
        convs = "+".join(f"conv_{k}" for k in config["convs"]) if name == "conv" else "gram"
        return f"{LABELS[config['trunk']]} {convs}"
    return config["lpips_network"] if name == "lpips" else name
