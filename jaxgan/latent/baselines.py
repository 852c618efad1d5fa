"""What the realism direction is compared with: truncation, a supervised boundary, a random direction.

They turn codes x [N, D] of length sqrt(D) by given angles, so that nothing is compared at an unequal distance from x.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from jaxgan.errors import UserError
from jaxgan.ops.sphere import across, angle_between, turned

_LEAST_SCORED = 20  # codes on each side of a boundary


@jax.jit
def towards(x: jax.Array, direction: jax.Array, angle: jax.Array) -> jax.Array:
    """x turned by an angle [N] (radians) towards a direction [D], or one each [N, D]: N(x + t direction), some t."""
    x = jnp.asarray(x)
    return turned(x, across(x, jnp.broadcast_to(direction, x.shape)), angle)


def truncated_by(z: np.ndarray, angle: float, key: jax.Array) -> tuple[np.ndarray, float]:
    """(z truncated at the limit for which they turn by a mean angle (radians), that limit).

    Truncated, numbers beyond +-limit are drawn again until they are within it; codes become shorter than sqrt(D).
    Every limit redraws with the same numbers, so that the angle rises as the limit falls. An angle that no limit
    reaches (about 90 degrees and more) gives the least limit there is, 0.01: numbers drawn anew, nearly 0 all of them.
    """
    # One quantile a number, drawn once: truncated normals of different limits are functions of it.
    share = jax.random.uniform(key, z.shape, minval=1e-6, maxval=1.0 - 1e-6)

    def at(limit: float) -> np.ndarray:
        edge = jax.scipy.stats.norm.cdf(limit)
        drawn = jax.scipy.stats.norm.ppf(1.0 - edge + share * (2.0 * edge - 1.0))
        return np.asarray(jnp.where(jnp.abs(z) > limit, drawn, z))

    low, high = 0.01, 6.0
    for _ in range(30):
        middle = (low + high) / 2
        if float(angle_between(jnp.asarray(z), at(middle)).mean()) > angle:
            low = middle
        else:
            high = middle
    return at(high), high


class Boundary(NamedTuple):
    """A hyperplane between codes of low and of high scores.

    Attributes:
        normal: [D], of length 1, towards high scores.
        accuracy: share of held-out codes on their side.
        used: codes that it was fitted to.
    """

    normal: np.ndarray
    accuracy: float
    used: int


def fit_boundary(
    codes: np.ndarray, scores: np.ndarray, *, share: float = 0.02, penalty: float = 1.0, seed: int = 0
) -> Boundary:
    """The linear support vector machine of InterFaceGAN (Shen et al. 2020, arXiv 1907.10786).

    Codes are sorted by score; the `share` of highest and the one of lowest are the two classes, 70 % of them are fitted
    and 30 % held out. Squared hinge loss, `penalty` times its sum beside half the squared normal, solved exactly.

    Args:
        codes: [N, D].
        scores: [N], higher is better.
        share: of each side.
        penalty: C.
        seed: of the split.

    Raises:
        UserError: there are too few codes, or scores that are not finite or all the same.
    """
    count = int(len(codes) * share)
    if count < _LEAST_SCORED or not np.isfinite(scores).all() or np.ptp(scores) == 0:
        raise UserError(
            f"a boundary of {len(codes)} scored codes, a share of {share:g} on each side: it needs {_LEAST_SCORED} a "
            "side, and finite scores that differ; score more codes"
        )
    order = np.argsort(scores, kind="stable")
    chosen = np.concatenate([order[-count:], order[:count]])
    signs = np.repeat([1.0, -1.0], count)
    shuffled = np.random.default_rng(seed).permutation(2 * count)
    fitted, held = np.split(shuffled, [int(1.4 * count)])
    x, y = codes[chosen[fitted]].astype(np.float64), signs[fitted]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        normal, bias = parameters[:-1], parameters[-1]
        short = np.maximum(0.0, 1.0 - y * (x @ normal + bias))
        slope = -2.0 * penalty * short * y
        value = 0.5 * normal @ normal + penalty * short @ short
        return value, np.append(normal + x.T @ slope, slope.sum())

    found = optimize.minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x
    side = np.sign(codes[chosen[held]] @ found[:-1] + found[-1])
    normal = (found[:-1] / np.linalg.norm(found[:-1])).astype(np.float32)
    return Boundary(normal, float((side == signs[held]).mean()), len(fitted))
