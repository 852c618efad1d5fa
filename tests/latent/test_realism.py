"""The realism direction: geometry, stages against one another, every architecture, what has no direction."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import config as configs
from jaxgan.errors import UserError
from jaxgan.latent import grid
from jaxgan.latent.critic import make_critic, nearest, variables_of
from jaxgan.latent.direction import Angle, Prototype, Recover, Share, forward_derivative
from jaxgan.latent.optimise import Program, Settings, optimise
from jaxgan.latent.optimisers import Adam
from jaxgan.latent.realism import Search, at_share, mean_prototype
from jaxgan.latent.space import has_mapping
from jaxgan.networks.build import ARCHITECTURES
from jaxgan.networks.gan import DOut, Gan
from jaxgan.ops.sphere import across, angle_between, to_sphere
from tests.networks.test_contracts import networks

QUICK = ("candidates=20", "batch=4", "chunk=10", "recover.steps=20", "recover.change=0.0", "prototype.points=9")
QUICK += ("select.points=9",)
# The tests do not depend on which of its settings the default config has been tuned to.
QUICK += ("select.low=0.5", "select.start=0.6", "select.high=0.75", "prototype.largest=175.0")


def config(*overrides, name="realism"):
    c = configs.load(name)
    configs.override(c, [*QUICK, *overrides])
    return c.to_dict()


def z_of(gan, count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, gan.generator.z_dim)).astype(np.float32)


@functools.cache
def pair(architecture, classes=0):
    """A tiny pair whose discriminator's biases do not drown what it says of an image."""
    gan, generator, discriminator = networks(architecture, classes)
    louder = jax.tree.map(lambda x: 3.0 * x if x.ndim > 1 else x, discriminator["params"])
    return gan, generator, discriminator | {"params": louder}


def dcgan():
    return networks("dcgan")


@functools.cache
def found(*overrides):
    """A search on a tiny DCGAN and what it found of six codes."""
    gan, generator, discriminator = dcgan()
    search = Search(gan, generator, discriminator, config(*overrides))
    return search, search.find(z_of(gan, 6))


def plane_residual(points, x, y):
    """How far points lie off the plane of x and y, as a share of their length."""
    basis = np.linalg.qr(np.stack([x, y]).T.astype(np.float64))[0]
    return np.linalg.norm(points - (points @ basis) @ basis.T) / np.linalg.norm(points)


def test_codes_lie_on_the_sphere_and_the_arc_joins_them():
    search, result = found()
    dim = search.critic.dim
    for codes in (result.x, result.y, result.p, result.code):
        np.testing.assert_allclose(np.linalg.norm(codes, axis=1), np.sqrt(dim), rtol=1e-5)
    np.testing.assert_array_equal(at_share(result.x, result.p, 0.0), result.x)
    np.testing.assert_array_equal(at_share(result.x, result.p, 1.0), result.p)
    for share, end in ((1e-4, result.x), (1 - 1e-4, result.p)):  # what is exact at the ends comes near to them before
        np.testing.assert_allclose(at_share(result.x, result.p, share), end, atol=2e-3)
    for i in range(6):
        for point in (result.p, result.code):
            assert plane_residual(point[i], result.x[i], result.y[i]) < 1e-4
    assert np.all((result.share >= 0.5) & (result.share <= 0.75))
    np.testing.assert_allclose(result.theta, np.degrees(angle_between(result.x, result.y)), rtol=1e-4)
    assert np.all(result.whole >= result.theta - 1e-2)
    assert not result.degenerate.any()


def test_the_selection_is_the_best_of_its_box():
    """At no other share of the grid is the score nearer to the target."""
    search, result = found()
    target = {"x": jnp.asarray(result.x), "p": jnp.asarray(result.p), "labels": None}
    objective = Share(search.critic)
    loss = jax.jit(lambda v, s: objective.at(v, s, target))
    chosen = loss(search.variables, jnp.asarray(result.share))
    for share in np.linspace(0.5, 0.75, 9):
        assert np.all(chosen <= loss(search.variables, jnp.full(6, share, jnp.float32)) + 1e-5)


@pytest.mark.parametrize("stage", ["prototype", "select"])
def test_steps_in_forward_mode_agree_with_the_grid(stage):
    """Where steps end, the grid is not worse."""
    gan, generator, discriminator = dcgan()
    fine = ("prototype.points=65", "select.points=65")
    _, by_grid = found(*fine)
    c = config(*fine, f"{stage}.method=forward", f"{stage}.steps=150", f"{stage}.change=0.0", f"{stage}.lr=0.02")
    search = Search(gan, generator, discriminator, c)
    by_steps = search.find(z_of(gan, 6))
    assert by_steps.steps[stage].min() == 150
    assert by_grid.evaluations[stage].min() > 0
    if stage == "prototype":
        assert np.all(by_grid.objective <= by_steps.objective + 1e-3)
    else:
        np.testing.assert_allclose(by_steps.p, by_grid.p)
        target = search.calibration["target"] * search.calibration["scale"] + search.calibration["offset"]
        nearer = np.abs(by_grid.logits["chosen"] - target) <= np.abs(by_steps.logits["chosen"] - target) + 1e-2
        assert nearer.all()


def test_steps_that_begin_near_the_grid_s_angle_come_to_it():
    """Steps end in the first valley that they meet; in that of the grid they find the same bottom, for every code."""
    critic, variables, x, y = problem(6)
    angle = Angle(critic)
    circle = {"x": x, "across": across(x, y), "labels": None}
    low, high = jnp.full(6, -np.pi), jnp.full(6, np.pi)
    number, least = grid.search(angle, (400, 9, 9), variables, circle, low, high)
    program = Program(angle, Adam(schedule="staircase"), chunk=100)
    start = {"number": number + 0.02, "low": low, "high": high}
    keys = jax.random.split(jax.random.key(0), 6)
    carry, losses = optimise(program, variables, start, circle, keys, Settings(200, 0.002))
    np.testing.assert_allclose(carry.latent["number"], number, atol=1e-2)
    np.testing.assert_allclose(losses[-1], least, atol=1e-3)


def problem(count=4):
    """A critic of a tiny DCGAN with codes x and y."""
    gan, generator, discriminator = dcgan()
    critic = make_critic(gan, "z", (), discriminator)
    weights = {"pixels": 2.0, "radius": 1.0, "away": 3.0, "sign": 1.0, "target": 0.5}
    variables = variables_of(critic, generator, discriminator, None, weights)
    x, y = (to_sphere(jnp.asarray(z_of(gan, count, seed))) for seed in (1, 2))
    return critic, variables, x, y


def test_the_recursion_is_the_release_s():
    """Against the recursion written out with vectors and reverse mode, for one image, as section 5 has it."""
    critic, variables, x, y = problem(3)
    objective = Prototype(critic)
    keys = jax.random.split(jax.random.key(0), 3)
    program = Program(objective, Adam(schedule="constant"), objective.after_step, chunk=12)
    start = {"push": jnp.ones_like(x), "previous": x, "current": y}
    target = {"x": x, "labels": None}
    carry, losses = optimise(program, variables, start, target, keys, Settings(12, 0.1))

    def value(a, previous, current):
        direction = (current - previous) / jnp.linalg.norm(current - previous)
        new = to_sphere(current + (a @ direction) * direction)
        logits = critic.see(variables, new[None], None).logits[0]
        return logits + 3.0 * (new @ x[0]) / jnp.linalg.norm(new) / jnp.linalg.norm(x[0]), new

    step = jax.jit(jax.value_and_grad(value, has_aux=True))
    a, previous, current, m, v, by_hand = np.ones(x.shape[1]), x[0], y[0], 0.0, 0.0, []
    for t in range(1, 13):
        (loss, new), gradient = step(jnp.asarray(a, jnp.float32), previous, current)
        m, v = 0.9 * m + 0.1 * np.asarray(gradient), 0.999 * v + 0.001 * np.square(np.asarray(gradient))
        a = a - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        previous, current = current, new
        by_hand.append(float(loss))
    np.testing.assert_allclose(losses[:, 0], by_hand, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(carry.latent["current"][0], current, atol=2e-2)
    for i in range(3):
        assert plane_residual(np.asarray(carry.latent["current"][i]), x[i], y[i]) < 1e-4


def test_the_recursion_and_the_search_agree():
    """Settled, the recursion is at a stationary angle of its circle, and the grid's is no worse."""
    critic, variables, x, y = problem(6)
    objective, keys = Prototype(critic), jax.random.split(jax.random.key(0), 6)
    program = Program(objective, Adam(schedule="staircase"), objective.after_step, chunk=100)
    start = {"push": jnp.ones_like(x), "previous": x, "current": y}
    target = {"x": x, "labels": None}
    carry, losses = optimise(program, variables, start, target, keys, Settings(400, 0.1))
    angle = Angle(critic)
    circle = {"x": x, "across": across(x, y), "labels": None}
    low, high = jnp.full(6, -np.pi), jnp.full(6, np.pi)
    _, least = grid.search(angle, (200, 9, 9), variables, circle, low, high)
    assert np.all(least <= losses[-1] + 1e-3)
    # Stepping on from where the recursion ended stays within its valley, where the search finds the same bottom.
    p = carry.latent["current"]
    signed = np.arctan2((p * circle["across"]).sum(1) / np.sqrt(p.shape[1]), (p * x).sum(1) / p.shape[1])
    near = grid.search(angle, (41, 9), variables, circle, jnp.asarray(signed) - 0.2, jnp.asarray(signed) + 0.2)
    np.testing.assert_allclose(near[1], losses[-1], atol=5e-2)
    assert (np.abs(np.asarray(least) - losses[-1]) < 1e-2).sum() >= 3  # for half it is the best of the whole circle


def test_what_the_recursion_finds_on_the_other_side_of_x_the_search_finds_too():
    gan, generator, discriminator = dcgan()
    fine = "prototype.points=65"
    _, beyond = found(fine)
    both = Search(gan, generator, discriminator, config(fine, "prototype.both_sides=True")).find(z_of(gan, 6))
    np.testing.assert_array_equal(both.y, beyond.y)
    np.testing.assert_array_equal(both.evaluations["prototype"], 2 * beyond.evaluations["prototype"])
    assert np.all(both.objective <= beyond.objective + 1e-5)
    assert np.any(both.objective < beyond.objective - 1e-3)
    settled = config("prototype.method=recursion", "prototype.steps=400", "prototype.change=0.0", "chunk=100")
    recursion = Search(gan, generator, discriminator, settled).find(z_of(gan, 6))
    np.testing.assert_allclose(recursion.y, both.y, atol=1e-5)
    assert np.all(both.objective <= recursion.objective + 1e-2)


@pytest.mark.parametrize("kind", ["angle", "share", "push"])
def test_forward_derivatives_are_finite_differences(kind):
    critic, variables, x, y = problem()
    if kind == "push":
        objective, target = Prototype(critic), {"x": x, "labels": None}
        latent = {"push": jnp.ones_like(x), "previous": x, "current": y}
        along = jax.tree.map(jnp.zeros_like, latent) | {"push": across(x, y)}
    else:
        objective = Angle(critic) if kind == "angle" else Share(critic)
        more = {"across": across(x, y)} if kind == "angle" else {"p": y}
        target = {"x": x, "labels": None} | more
        zeros = jnp.zeros(4)
        latent = {"number": jnp.full(4, 0.6), "low": zeros, "high": zeros + 2}
        along = {"number": zeros + 1, "low": zeros, "high": zeros}

    def losses(latent):
        return objective(variables, latent, target, None, jnp.float32(0))[0]

    value, pullback = jax.vjp(jax.jit(losses), latent)
    (gradient,) = pullback(jnp.ones_like(value))
    found = sum((g * d).reshape(4, -1).sum(1) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(along)))
    step = 2e-3
    ahead, behind = (losses(jax.tree.map(lambda x, d, s=s: x + s * step * d, latent, along)) for s in (1, -1))
    np.testing.assert_allclose(found, (ahead - behind) / (2 * step), rtol=5e-2, atol=2e-2)
    np.testing.assert_allclose(value, losses(latent), rtol=1e-5)


def test_a_forward_derivative_equals_the_reverse_one():
    def function(x):
        return jnp.sin(x) * x

    x = jnp.asarray([0.3, -2.0, 5.0])
    for f in (function, lambda x: forward_derivative(function, x)):
        value, pullback = jax.vjp(f, x)
        np.testing.assert_allclose(value, function(x))
        np.testing.assert_allclose(pullback(jnp.ones(3))[0], jnp.cos(x) * x + jnp.sin(x), rtol=1e-6)


def test_a_batch_is_as_good_as_single_images():
    gan, generator, discriminator = dcgan()
    z = z_of(gan, 5)
    whole = Search(gan, generator, discriminator, config()).find(z)
    single = Search(gan, generator, discriminator, config("batch=1"))
    for i in (0, 4):
        alone = single.find(z[i : i + 1])
        np.testing.assert_allclose(alone.losses[:, 0], whole.losses[:, i], rtol=1e-2, atol=1e-2)
        np.testing.assert_allclose(alone.y[0], whole.y[i], atol=5e-2)
        np.testing.assert_allclose(alone.objective[0], whole.objective[i], atol=5e-2)


@pytest.mark.parametrize(
    "architecture",
    [pytest.param(a, marks=() if a in ("stylegan2", "pggan") else pytest.mark.slow) for a in ARCHITECTURES],
)
@pytest.mark.parametrize("space", ["z", "w"])
def test_every_architecture_in_every_space(architecture, space):
    classes = 3 if architecture in ("biggan", "stylegan2") else 0
    gan, generator, discriminator = pair(architecture, classes)
    search = functools.partial(Search, gan, generator, discriminator)
    if architecture == "spatial":
        with pytest.raises(UserError, match="this generator's latents are maps"):
            search(config(f"space={space}"))
        return
    if space == "w" and not has_mapping(gan.generator):
        with pytest.raises(UserError, match=r"config.space='w': .* searched in z$"):
            search(config("space=w"))
        return
    walking = ("prototype.method=walk",) if architecture == "biggan" else ()
    search = search(config(f"space={space}", *walking))
    labels = np.arange(5) % classes if classes else None
    result = search.find(z_of(gan, 5), labels)
    for name, values in result._asdict().items():
        for array in values.values() if isinstance(values, dict) else [values]:
            assert np.isfinite(array).all(), name
    assert result.losses.shape == (20, 5)
    assert np.all(result.losses.min(0) < result.losses[0])
    pictures = np.concatenate(list(search.pictures(result.code, labels)))
    assert pictures.shape == (5, *gan.generator.image_shape)
    assert search.ws(result.code, labels).shape == (5, gan.generator.num_ws, gan.generator.w_dim)
    if classes:
        with pytest.raises(UserError, match="has 3 classes; give the class"):
            search.find(z_of(gan, 2))


def test_candidates_are_of_the_same_class():
    gan, generator, discriminator = pair("stylegan2", 3)
    search = Search(gan, generator, discriminator, config("candidates=7"))
    assert search.bank.codes.shape == (21, gan.generator.z_dim)
    rows = np.asarray([4, 11, 20])
    features = {"fc": search.bank.features[rows]}
    np.testing.assert_array_equal(nearest(search.bank, features, search.bank.labels[rows]), search.bank.codes[rows])
    other = jnp.roll(search.bank.labels[rows], 1, axis=1)
    chosen = nearest(search.bank, features, other)
    for code, label in zip(chosen, other):
        row = int(np.flatnonzero((search.bank.codes == code).all(1))[0])
        np.testing.assert_array_equal(search.bank.labels[row], label)


def test_candidates_of_the_classes_asked_for_only():
    gan, generator, discriminator = pair("stylegan2", 3)
    seen = []
    search = Search(
        gan,
        generator,
        discriminator,
        config("candidates=7"),
        classes=[2, 2, 1],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(min(4 * (i + 1), 14), 14) for i in range(4)]
    assert search.bank.codes.shape == (14, gan.generator.z_dim)
    assert set(np.asarray(search.bank.labels).argmax(1).tolist()) == {1, 2}
    with pytest.raises(UserError, match=r"candidates of the classes \[1, 2\] only"):
        search.find(z_of(gan, 2), np.asarray([0, 1]))


def test_codes_are_searched_as_the_z_that_they_stand_for():
    search, z = found()[0], z_of(dcgan()[0], 3)
    one, other = search.find(z), search.find(3.0 * z, coded=True)
    np.testing.assert_allclose(one.x, other.x, rtol=1e-5)
    np.testing.assert_allclose(one.code, other.code, atol=0.02)


def test_a_fixed_share_is_that_share():
    gan, generator, discriminator = dcgan()
    search = Search(gan, generator, discriminator, config("select.method=fixed"))
    found = search.find(z_of(gan, 5))
    np.testing.assert_array_equal(found.share[~found.degenerate], np.float32(0.6))  # where the config begins
    assert not np.any(found.steps.get("select", 0))


def test_a_discriminator_s_scale_changes_no_choice():
    """Its last layer a thousand times as large: scores are, and prototypes, shares and images stay."""
    gan, generator, discriminator = dcgan()
    loud = jax.tree.map(lambda x: 1000 * x if x.shape[-1:] == (1,) else x, discriminator)
    z, reals = z_of(gan, 5), np.linspace(-1, 1, 50)
    found = [
        Search(gan, generator, d, config(), real_logits=gain * reals).find(z)
        for d, gain in ((discriminator, 1), (loud, 1000))
    ]
    np.testing.assert_allclose(found[1].logits["original"], 1000 * found[0].logits["original"], rtol=1e-3)
    np.testing.assert_allclose(found[1].share, found[0].share, atol=1e-3)
    np.testing.assert_allclose(found[1].code, found[0].code, atol=1e-2)


class Linear(nn.Module):
    """G(z) = z A: 12 numbers to 8, an image of 2x4; D reads the image's numbers, its logit is their mean."""

    z_dim: int = 12
    w_dim: int = 12
    num_ws: int = 1
    num_classes: int = 0
    image_shape: tuple[int, int, int] = (2, 4, 1)
    noise_shapes: tuple = ()

    def setup(self):
        self.matrix = self.param("matrix", nn.initializers.normal(0.3), (12, 8))

    def map(self, z, labels=None):
        return z[:, None]

    def synthesize(self, ws, noise="const"):
        return (ws[:, 0] @ self.matrix).reshape(-1, 2, 4, 1)


class Mean(nn.Module):
    def setup(self):
        self.gain = self.param("gain", nn.initializers.ones, ())

    def __call__(self, images, labels=None, *, taps=None, group_size=None):
        flat = images.reshape(images.shape[0], -1)
        return DOut(self.gain * flat.mean(1), {"flat": flat})


def linear():
    generator, discriminator = Linear(), Mean()
    g = generator.init(jax.random.key(0), jnp.zeros((1, 1, 12)), method="synthesize")
    d = discriminator.init(jax.random.key(1), jnp.zeros((1, 2, 4, 1)))
    return Gan(generator, discriminator), g, d


def test_a_linear_generator_s_code_comes_back_but_for_its_null_space():
    gan, g, d = linear()
    # Without the pull to the sphere, which the image of y, drawn onto it, would not survive.
    c = config("recover.radius=0.0", "candidates=50")
    search = Search(gan, g, d, c)
    program = Program(Recover(search.critic), Adam(schedule="staircase"), chunk=500)
    z = z_of(gan, 4)
    x = to_sphere(jnp.asarray(z))
    seen = search.critic.see(search.variables, x, None)
    target = {"images": seen.images, "features": seen.features, "labels": None}
    start = {"code": search.bank.codes[:4]}
    keys = jax.random.split(jax.random.key(0), 4)
    code = optimise(program, search.variables, start, target, keys, Settings(1000, 0.1)).carry.latent["code"]
    matrix = np.asarray(g["params"]["matrix"], np.float64)
    onto = matrix @ np.linalg.pinv(matrix)  # rows of z onto what the generator sees
    np.testing.assert_allclose(np.asarray(code) @ onto, np.asarray(x) @ onto, atol=2e-2)
    assert np.abs((np.asarray(code) - np.asarray(x)) @ (np.eye(12) - onto)).max() > 0.3


@pytest.mark.parametrize("method", ["grid", "forward", "recursion", "walk"])
def test_a_recovered_code_that_is_the_code_itself_leaves_the_image(method):
    """An inversion that is too good: no direction, no NaN, the image stays."""
    gan, generator, discriminator = dcgan()
    search = Search(
        gan, generator, discriminator, config(f"prototype.method={method}", "prototype.steps=5", "recover.lr=0.0001")
    )
    z = z_of(gan, 3)
    x = np.asarray(to_sphere(jnp.asarray(z)))
    away = np.asarray(search.bank.codes[:1])
    result = search.find(z, start=np.concatenate([x[:2], away]))
    np.testing.assert_array_equal(result.degenerate, [True, True, False])
    np.testing.assert_array_equal(result.code[:2], result.x[:2])
    np.testing.assert_array_equal(result.share[:2], 0)
    np.testing.assert_allclose(result.angle[:2], 0, atol=1e-3)
    for values in (result.p, result.objective, *result.logits.values()):
        assert np.isfinite(values).all()
    assert result.angle[2] > 1


@pytest.mark.parametrize(("architecture", "space"), [("dcgan", "z"), ("stylegan2", "w")])
def test_the_plain_walk_stays_on_the_side_of_what_was_recovered(architecture, space):
    """Eight steps may lead around the sphere, from where the arc goes back on the other side of x."""
    gan, generator, discriminator = pair(architecture)
    c = config("prototype.method=walk", "prototype.largest=110.0", "recover.steps=3", f"space={space}")
    result = Search(gan, generator, discriminator, c).find(z_of(gan, 6))
    assert result.theta.max() * 7 > 180  # or nothing is tested
    assert np.all(result.whole <= np.maximum(110, result.theta) + 0.1)
    aside = np.asarray(across(jnp.asarray(result.x), jnp.asarray(result.y)))
    for point in (result.p, result.code):
        assert np.all((point * aside).sum(1) > 0)


def test_an_image_stops_at_a_step_of_its_own():
    """The release's early stop, but an image at a time: what it finds does not depend on what is beside it."""
    gan, generator, discriminator = dcgan()
    c = config("recover.change=0.003", "recover.steps=60", "chunk=5")
    search, z = Search(gan, generator, discriminator, c), z_of(gan, 4)
    whole = search.find(z)
    assert len(set(whole.steps["recover"])) > 1
    assert whole.steps["recover"].max() < 60
    for i in range(4):
        alone = search.find(z[i : i + 1])
        assert alone.steps["recover"] == whole.steps["recover"][i]
        np.testing.assert_allclose(alone.y[0], whole.y[i], atol=1e-4)


def test_a_second_search_compiles_nothing():
    search, _ = found()
    before = grid.search._make()._cache_size()
    search.find(z_of(dcgan()[0], 6, seed=3))
    assert grid.search._make()._cache_size() == before > 0


class _Silent:
    """An objective that is never a number."""

    def at(self, variables, number, target):
        return jnp.full_like(number, jnp.nan)


def test_a_search_without_numbers_says_so():
    low, high = jnp.zeros(3), jnp.ones(3)
    best, least = grid.search(_Silent(), (5, 3), None, None, low, high)
    np.testing.assert_array_equal(best, low)
    assert np.isinf(least).all()


def test_an_encoder_gives_the_start():
    gan, generator, discriminator = dcgan()
    search = Search(gan, generator, discriminator, config("recover.steps=1"))
    asked = []

    def encoder(images):
        asked.append(images.shape)
        return np.asarray(search.bank.codes[: len(images)])

    result = search.find(z_of(gan, 4), start=encoder)
    assert asked == [(4, *gan.generator.image_shape)]
    cosine = np.cos(np.asarray(angle_between(result.y, np.asarray(search.bank.codes[:4]))))
    assert cosine.min() > 0.95  # a step from there


def test_the_mean_prototype_is_one_for_all():
    search, result = found()
    mean = mean_prototype(result)
    np.testing.assert_allclose(np.linalg.norm(mean), np.sqrt(search.critic.dim), rtol=1e-5)
    other = search.towards(mean, z_of(dcgan()[0], 4, seed=9))
    np.testing.assert_array_equal(other.p, np.broadcast_to(mean, other.p.shape))
    np.testing.assert_array_equal(other.y, other.x)
    assert np.all((other.share >= 0.5) & (other.share <= 0.75))
