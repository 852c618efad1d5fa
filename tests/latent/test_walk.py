"""Walks: where they begin and end, how they move, and that a frame does not depend on what is rendered beside it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.features.networks import NETWORKS, Network, random_params
from jaxgan.latent import walk
from jaxgan.latent.keys import parse_pair, read_latents
from jaxgan.networks.gan import call
from tests import tiny
from tests.devices import call_on_devices


@functools.cache
def network(**changes):
    """(generator, variables) of 8 px."""
    gan, variables, _ = tiny.gan_and_variables(tiny.model(resolution=8, **changes))
    return gan.generator, variables


@functools.cache
def dcgan():
    """A generator without a W space, of three classes."""
    more = {"z_dim": 6, "num_classes": 3, "kernel": 4, "channel_base": 64, "channel_max": 8}
    more |= {"bn_epsilon": 1e-8, "unit_norm": True}
    gan = tiny.build(tiny.model(architecture="dcgan", **more))
    shapes = jax.eval_shape(functools.partial(tiny.init, gan), jax.random.key(0))[0]
    variables = tiny.filled(shapes, scale=0.2)
    return gan.generator, variables | {"buffers": jax.tree.map(np.ones_like, variables["buffers"])}


def some_ws(generator, *shape, seed=0):
    shape = (*shape, generator.num_ws, generator.w_dim)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_walks_begin_and_end_exactly_at_their_pairs():
    generator, _ = network()
    pairs = some_ws(generator, 3, 2)
    z = np.random.default_rng(1).standard_normal((3, 2, 8)).astype(np.float32)
    for make, given in ((walk.linear, pairs), (walk.mixing, pairs), (walk.slerp, z)):
        found = np.asarray(make(given, 7))
        assert found.shape == (3, 7, *given.shape[2:])
        np.testing.assert_array_equal(found[:, 0], given[:, 0])
        np.testing.assert_array_equal(found[:, -1], given[:, 1])
    np.testing.assert_allclose(walk.linear(pairs, 5)[:, 2], pairs.mean(1), atol=1e-6)
    steps = np.diff(walk.linear(pairs, 20), axis=1)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[:, :1], steps.shape), atol=1e-5)


def test_a_great_circle_keeps_the_length_of_z():
    z = np.random.default_rng(0).standard_normal((2, 2, 64)).astype(np.float32)
    z[0] *= 8 / np.linalg.norm(z[0], axis=-1, keepdims=True)
    lengths = np.linalg.norm(walk.slerp(z, 9), axis=-1)
    np.testing.assert_allclose(lengths[0], 8, rtol=1e-5)
    np.testing.assert_allclose(np.diff(lengths[1]), np.diff(lengths[1])[0], atol=1e-4)


@pytest.mark.parametrize("closed", [False, True])
def test_a_spline_passes_through_its_key_points(closed):
    generator, _ = network()
    for count in (2, 5):
        points = some_ws(generator, count)
        for frames in (2, 8, 20):
            found = np.asarray(walk.spline(points, frames, closed))
            assert found.shape[:2] == (1, count * (frames - 1) if closed else (count - 1) * (frames - 1) + 1)
            np.testing.assert_array_equal(found[0, :: frames - 1], points)
    line = walk.linear(points[None, :2], 11)
    np.testing.assert_allclose(walk.spline(points[:2], 11), line, atol=1e-6)


def test_mixing_goes_over_from_the_finest_layer():
    pairs = np.zeros((1, 2, 6, 1), np.float32)
    pairs[:, 1] = 1
    share = np.asarray(walk.mixing(pairs, 50))[0, :, :, 0]
    assert (np.diff(share, axis=0) >= 0).all()
    assert (np.diff(share, axis=1) >= 0).all()  # finer layers are ahead
    assert np.diff(share, axis=0).max() <= 7 / 49 / 2 + 1e-6  # none jumps
    assert ((share > 0) & (share < 1)).sum(1).max() <= 2
    assert (((share > 0) & (share < 1)).sum(1)[1:-1] > 0).all()  # and none of the frames but the ends stands still


def test_mixing_replaces_layers():
    generator, _ = network()
    rows, columns = some_ws(generator, 2), some_ws(generator, 3, seed=1)
    grid = np.asarray(walk.mixing_grid(rows, columns, 1, 3))
    assert grid.shape == (2, 3, *rows.shape[1:])
    np.testing.assert_array_equal(grid[1, 2, 1:3], columns[2, 1:3])
    np.testing.assert_array_equal(grid[1, 2, [0, *range(3, rows.shape[1])]], rows[1, [0, *range(3, rows.shape[1])]])
    assert walk.layer_ranges(18) == {"coarse": (0, 4), "middle": (4, 8), "fine": (8, 18)}
    assert walk.layer_ranges(8) == {"coarse": (0, 2), "middle": (2, 4), "fine": (4, 8)}
    assert walk.layer_ranges(2) == {"coarse": (0, 1), "middle": (1, 2)}
    for layers in range(1, 20):
        covered = [i for first, last in walk.layer_ranges(layers).values() for i in range(first, last)]
        assert covered == list(range(layers))


def test_z_is_mapped_after_interpolation():
    generator, variables = network(num_classes=3)
    z = walk.slerp(np.random.default_rng(0).standard_normal((2, 2, 8)).astype(np.float32), 5)
    labels, average = np.array([[0, 2], [1, 1]]), jnp.full((8,), 0.5)
    ws = walk.map_frames(generator, variables, z, labels)
    single = call(generator, variables, z[0, 4:], jnp.array([2]), method="map")
    np.testing.assert_allclose(ws[0, 4:], single, rtol=1e-4, atol=1e-4)
    between = call(generator, variables, z[0, 2:3], jnp.array([[0.5, 0.0, 0.5]]), method="map")
    np.testing.assert_allclose(ws[0, 2:3], between, rtol=1e-4, atol=1e-4)
    drawn = walk.map_frames(generator, variables, z, labels, average, 0.5)
    np.testing.assert_allclose(drawn, (ws + 0.5) / 2, rtol=1e-5, atol=1e-5)


def test_a_generator_without_w_is_walked_in_z():
    generator, variables = dcgan()
    pairs = np.random.default_rng(0).standard_normal((1, 2, 6)).astype(np.float32)
    z = walk.slerp(pairs, 4)
    ws = np.asarray(walk.map_frames(generator, variables, z, np.array([[0, 1]])))
    np.testing.assert_array_equal(ws[0, :, 0, :6], z[0])
    np.testing.assert_allclose(ws[0, :, 0, 6], [1, 2 / 3, 1 / 3, 0], atol=1e-6)
    frames = walk.render(generator, variables, ws).frames
    assert frames.shape == (1, 4, 16, 16, 3)
    assert len(np.unique(frames[0], axis=0)) == 4


def test_a_batch_of_walks_equals_single_walks():
    generator, variables = network()
    pairs = some_ws(generator, 3, 2)
    calls = []
    all_at_once = walk.render(generator, variables, walk.linear(pairs, 5), batch=64)
    in_parts = walk.render(
        generator, variables, walk.linear(pairs, 5), batch=4, progress=lambda *done: calls.append(done)
    )
    assert all_at_once.frames.dtype == np.uint8
    assert all_at_once.frames.shape == (3, 5, 8, 8, 3)
    assert calls[-1] == (15, 15)
    assert len(calls) == 4  # 15 frames in calls of four: the last is filled up, and is cut off again
    single = [walk.render(generator, variables, walk.linear(pairs[i : i + 1], 5)).frames[0] for i in range(3)]
    for other in (in_parts.frames, np.stack(single)):
        assert np.abs(all_at_once.frames.astype(int) - other).max() <= 1
    ends = jax.jit(functools.partial(call, generator, method="synthesize"))(variables, pairs[:, 1])
    wanted = np.clip(np.asarray(ends) * 127.5 + 128, 0, 255).astype(np.uint8)
    assert np.abs(all_at_once.frames[:, -1].astype(int) - wanted).max() <= 1


def test_noise_is_the_same_in_all_frames():
    generator, variables = network()
    still = np.repeat(some_ws(generator, 2, 1), 4, 1)
    maps = walk.held_noise(generator, jax.random.key(3))
    two = tuple(np.concatenate([m, np.zeros_like(m)]) for m in maps)
    frames = {}
    for name, noise in (("const", "const"), ("none", "none"), ("one", maps), ("two", two)):
        frames[name] = walk.render(generator, variables, still, noise, batch=3).frames.astype(int)
        assert np.abs(frames[name] - frames[name][:, :1]).max() <= 1, name
    assert np.abs(frames["two"][0] - frames["one"][0]).max() <= 1  # each walk has its own maps
    assert np.abs(frames["two"][1] - frames["none"][1]).max() <= 1
    for a, b in (("const", "none"), ("one", "none"), ("one", "const")):
        assert np.abs(frames[a][0] - frames[b][0]).max() > 5


def test_tables_of_style_mixing():
    generator, variables = network()
    ws = some_ws(generator, 2)
    tables = walk.mixing_tables(generator, variables, ws)
    assert list(tables) == ["coarse", "middle", "fine"]
    own = walk.render(generator, variables, ws[:, None]).frames[:, 0].astype(int)
    for name, table in tables.items():
        assert table.shape == (3, 3, 8, 8, 3)
        assert (table[0, 0] == 255).all()
        for cells in (table[0, 1:], table[1:, 0], np.stack([table[1, 1], table[2, 2]])):  # the diagonal is unmixed
            assert np.abs(cells.astype(int) - own).max() <= 1
        mixed = walk.mix(ws[0], ws[1], *walk.layer_ranges(generator.num_ws)[name])
        wanted = walk.render(generator, variables, mixed[None, None]).frames[0, 0]
        assert np.abs(table[1, 2].astype(int) - wanted).max() <= 1


def test_smoothness_of_neighbours():
    entry = NETWORKS["stlpips-alex"]
    params = random_params("stlpips-alex")
    found = Network(
        "stlpips-alex", entry.module, params, entry.resolution, entry.filter, entry.smallest, "random", "0" * 64
    )
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(0, 256, (2, 1, 16, 16, 1), np.uint8), 4, 1)
    frames[1, 2:] = rng.integers(0, 256, (16, 16, 1))  # a jump in the second walk
    smooth = walk.smoothness(found, frames)
    np.testing.assert_allclose([smooth.mean[0], smooth.max[0]], 0, atol=1e-6)
    assert smooth.ratio[1] == pytest.approx(3, rel=1e-3)
    assert smooth.max[1] == pytest.approx(3 * smooth.mean[1], rel=1e-3)
    assert walk.smoothness(found, frames, closed=True).ratio[1] == pytest.approx(2, rel=1e-3)
    frames[0] = 0
    assert walk.smoothness(found, frames[:1]).ratio[0] == pytest.approx(1)


def test_latents_of_another_generator_are_refused():
    generator, variables = network()
    ws = some_ws(generator, 1, 3)
    for wrong, message in (
        (ws[..., :-1], "do not fit this generator, which takes floats .*same --run"),
        (ws[:, :, :-1], "do not fit this generator"),
        (ws[0, 0], "do not fit this generator"),
        (ws.astype(int), "do not fit this generator"),
        (ws * np.inf, "NaN or infinite"),
    ):
        with pytest.raises(UserError, match=message):
            walk.render(generator, variables, wrong)
    maps = tuple(np.zeros((2, *shape, 1)) for shape in generator.noise_shapes)
    walk.check_noise(generator, maps, 2)
    for wrong, count, message in (
        (maps[:-1], 2, "2 noise maps .* takes 3; .*--noise=const"),
        (maps, 3, r"noise0 of \(2, 4, 4, 1\)"),
        ((*maps[:-1], maps[-1] * np.nan), 2, "noise2 holds NaN"),
    ):
        with pytest.raises(UserError, match=message):
            walk.check_noise(generator, wrong, count)


def test_images_that_are_not_finite():
    generator, variables = network()
    broken = jax.tree.map(lambda x: x * np.float32(np.nan), variables)
    with pytest.raises(UserError, match="not finite"):
        walk.render(generator, broken, some_ws(generator, 1, 2))


def test_a_file_of_latents(tmp_path):
    path = tmp_path / "latents.npz"
    ws, names, loss = np.zeros((2, 6, 8), np.float32), np.array(["cat", "dog"]), np.array([0.1, 0.2], np.float32)
    noise = {f"noise{i}": np.full((2, 4, 4, 1), i, np.float32) for i in range(11)}
    np.savez(path, ws=ws, names=names, loss=loss, space="w+", code=ws, **noise)
    keys = read_latents(path)
    assert keys.names == ["cat", "dog"]
    np.testing.assert_array_equal(keys.loss, loss)
    assert [m[0, 0, 0, 0] for m in keys.noise] == list(range(11))  # not in the order of their names
    assert keys.z is None
    code = np.ones((2, 5), np.float32)
    np.savez(path, ws=ws, names=names, space="z", code=code)
    np.testing.assert_array_equal(read_latents(path).z, code)
    np.savez(path, ws=ws, names=names)
    keys = read_latents(path)
    assert (keys.loss, keys.z, keys.noise) == (None, None, ())
    assert parse_pair("dog:cat", keys.names) == (1, 0)
    for text, message in (("dog", "FROM:TO"), ("cat:cat", "two different"), ("cat:cow", "no cow .* cat, dog")):
        with pytest.raises(UserError, match=message):
            parse_pair(text, keys.names)


def test_files_that_are_no_latents(tmp_path):
    ws = np.zeros((2, 6, 8), np.float32)
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "array.npy", ws)
    np.savez(tmp_path / "nameless.npz", ws=ws)
    np.savez(tmp_path / "short.npz", ws=ws, names=["one"])
    np.savez(tmp_path / "loss.npz", ws=ws, names=["one", "two"], loss=np.zeros(3))
    np.savez(tmp_path / "code.npz", ws=ws, names=["one", "two"], space="z", code=np.zeros((3, 5)))
    np.savez(tmp_path / "objects.npz", ws=ws, names=np.array(["one", None], object))
    np.savez(tmp_path / "scalar.npz", ws=ws, names="one")
    whole = (tmp_path / "short.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    for name, message in (
        ("none.npz", "cannot be read .No such file"),
        ("text.npz", "cannot be read"),
        ("empty.npz", "cannot be read"),
        ("array.npy", "cannot be read"),
        ("cut.npz", "cannot be read"),
        ("objects.npz", "cannot be read"),
        ("scalar.npz", "cannot be read"),
        ("nameless.npz", "has no names"),
        ("short.npz", r"has 1 names and ws of \(2, 6, 8\)"),
        ("loss.npz", r"has 2 names and loss of \(3,\)"),
        ("code.npz", r"has 2 names and code of \(3, 5\)"),
    ):
        with pytest.raises(UserError, match=message) as error:
            read_latents(tmp_path / name)
        assert "\n" not in str(error.value)
        assert name in str(error.value)


def render_on_devices(out):
    """What a process with some devices renders; for the test below."""
    generator, variables = network()
    maps = tuple(np.concatenate([m, -m]) for m in walk.held_noise(generator, jax.random.key(0)))
    rendered = walk.render(generator, variables, walk.linear(some_ws(generator, 2, 2), 5), maps, batch=4)
    np.save(out, rendered.frames)


def test_frames_do_not_depend_on_the_number_of_devices(tmp_path):
    out = tmp_path / "frames.npy"
    call_on_devices(3, render_on_devices, out)
    render_on_devices(tmp_path / "one.npy")
    frames, one = np.load(out), np.load(tmp_path / "one.npy")
    assert np.abs(frames.astype(int) - one).max() <= 1
