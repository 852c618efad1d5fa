"""An edit brought to a photograph: nothing for nothing, known motions and colours recovered, detail kept."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.latent.transfer import Maps, apply, estimate, transfer
from jaxgan.latent.walk import linear, render
from tests.latent.test_walk import network, some_ws

SIZE, STEPS, ENLARGED = 32, 4, 3
MIX = np.array([[0.7, 0.2, 0.0], [0.0, 0.6, -0.2], [0.3, 0.0, 0.8]])
OFFSET = np.array([0.15, -0.1, 0.05])

measure, photograph = jax.jit(estimate), jax.jit(apply)


@functools.cache
def waves(channels):
    """Frequencies, phases and amplitude of a texture of 12 waves a channel, 6 to 16 pixels of a frame long."""
    rng = np.random.default_rng(0)
    angles, lengths = rng.uniform(0, 2 * np.pi, (12, channels)), rng.uniform(6, 16, (12, channels))
    frequencies = 2 * np.pi / lengths * np.stack((np.cos(angles), np.sin(angles)))
    return frequencies, rng.uniform(0, 2 * np.pi, (12, channels)), 0.1


def texture(size, dx=0.0, dy=0.0, channels=3, enlarged=1):
    """A smooth texture without borders, moved by dx to the right and dy down, in pixels of a frame."""
    (fx, fy), phases, amplitude = waves(channels)
    height, width = size if isinstance(size, tuple) else (size, size)
    x = (np.arange(width * enlarged) + 0.5) / enlarged - 0.5 - dx
    y = (np.arange(height * enlarged) + 0.5) / enlarged - 0.5 - dy
    angle = x[None, :, None, None] * fx + y[:, None, None, None] * fy + phases
    return np.clip(amplitude * np.sin(angle).sum(2), -0.8, 0.8).astype(np.float32)


def detail(size, channels=3):
    """What only the photograph has."""
    return 0.1 * np.sign(np.random.default_rng(1).standard_normal((size, size, channels))).astype(np.float32)


def recoloured(image, share=1.0):
    return (image + share * (image @ (MIX - np.eye(3)).T + OFFSET)).astype(np.float32)


def moving(dx, dy, channels=3, size=SIZE):
    return np.stack([texture(size, dx * t, dy * t, channels) for t in np.linspace(0, 1, STEPS + 1)])


def inner(image, margin):
    return np.asarray(image)[..., margin:-margin, margin:-margin, :]


def rms(x):
    return float(np.sqrt(np.mean(np.square(x))))


@pytest.mark.parametrize(("channels", "every_frame"), [(1, True), (3, False)])
def test_frames_that_are_equal_leave_the_photo_as_it_is(channels, every_frame):
    frames = np.stack([texture(SIZE, channels=channels)] * (STEPS + 1))
    photo = texture(SIZE, channels=channels, enlarged=ENLARGED) + detail(SIZE * ENLARGED, channels)
    result = transfer(frames, photo, every_frame=every_frame)
    np.testing.assert_array_equal(result, np.stack([photo] * (STEPS + 1)) if every_frame else photo)


def test_an_edit_that_moves_no_latent_leaves_the_photo_as_it_is():
    """Through the generator: two latents that are equal, the frames between them, the photograph."""
    generator, variables = network()
    pair = np.repeat(some_ws(generator, 1, 1), 2, 1)
    frames = render(generator, variables, np.asarray(linear(pair, STEPS + 1))).frames[0]
    frames = frames.repeat(SIZE // 8, 1).repeat(SIZE // 8, 2).astype(np.float32) / 127.5 - 1
    photo = texture(SIZE, enlarged=ENLARGED) + detail(SIZE * ENLARGED)
    np.testing.assert_array_equal(transfer(frames, photo), photo)


def test_a_change_of_colour_is_recovered_and_detail_is_recoloured_with_it():
    base = texture(SIZE)
    frames = np.stack([recoloured(base, t) for t in np.linspace(0, 1, STEPS + 1)])
    photo = texture(SIZE, enlarged=ENLARGED) + detail(SIZE * ENLARGED)
    wanted = recoloured(photo)
    assert rms(photo - wanted) > 0.14
    assert rms(transfer(frames, photo) - wanted) < 0.01
    assert rms(measure(frames).flow) < 0.05


@pytest.mark.parametrize("channels", [1, 3])
def test_a_translation_is_recovered_and_detail_moves_with_it(channels):
    dx, dy = 3.0, -2.0
    frames = moving(dx, dy, channels)
    flow = inner(measure(frames).flow[-1], 8)
    np.testing.assert_allclose(flow.mean((0, 1)), [-dx, -dy], atol=0.1)  # backward: where a pixel comes from
    assert rms(flow - [-dx, -dy]) < 0.15

    photo, wanted = (texture(SIZE, *by, channels, ENLARGED) for by in ((0, 0), (dx, dy)))
    assert rms(inner(photo - wanted, 20)) > 0.25
    assert rms(inner(transfer(frames, photo) - wanted, 20)) < 0.02

    # Noise a pixel of the photo fine. Left where it was, it would be off by 1.4 times its size.
    noise = detail(SIZE * ENLARGED, channels)
    moved = np.roll(noise, (int(dy * ENLARGED), int(dx * ENLARGED)), (0, 1))
    errors = inner(transfer(frames, photo + noise) - wanted - moved, 20)
    assert rms(errors) < (0.2 if channels == 3 else 0.7) * rms(noise)


def test_motion_and_colour_together():
    dx, dy = -2.0, 2.0
    frames = np.stack([recoloured(texture(SIZE, dx * t, dy * t), t) for t in np.linspace(0, 1, STEPS + 1)])
    photo, wanted = texture(SIZE, enlarged=ENLARGED), recoloured(texture(SIZE, dx, dy, enlarged=ENLARGED))
    assert rms(inner(photo - wanted, 20)) > 0.25
    assert rms(inner(transfer(frames, photo) - wanted, 20)) < 0.02


def test_every_frame_is_the_movie_of_the_last():
    frames = moving(2.0, 0.0)
    photo = texture(SIZE, enlarged=ENLARGED)
    movie = np.asarray(transfer(frames, photo, every_frame=True))
    assert movie.shape == (STEPS + 1, *photo.shape)
    np.testing.assert_array_equal(movie[0], photo)
    np.testing.assert_allclose(movie[-1], transfer(frames, photo), atol=1e-5)
    errors = [rms(inner(movie[t] - texture(SIZE, 2 * t / STEPS, 0, enlarged=ENLARGED), 20)) for t in range(STEPS + 1)]
    assert max(errors) < 0.03


def test_many_images_at_once_are_as_one_by_one():
    frames = np.stack([moving(2.0, 0.0), moving(0.0, -1.0)])
    photo = texture(SIZE, enlarged=ENLARGED)
    photos = np.stack([photo, photo + detail(SIZE * ENLARGED)])
    together = jax.vmap(transfer)(jnp.asarray(frames), jnp.asarray(photos))
    for i in range(2):
        np.testing.assert_allclose(together[i], transfer(frames[i], photos[i]), atol=1e-4)


def test_flow_is_read_backward_and_scaled_to_the_photo():
    size = (6, 8)
    photo = np.random.default_rng(0).uniform(-1, 1, (12, 16, 1)).astype(np.float32)
    maps = Maps(np.broadcast_to(np.float32([1, 0]), (*size, 2)), np.zeros((*size, 1, 2), np.float32))
    result = photograph(maps, photo)
    np.testing.assert_allclose(result[:, :-2], photo[:, 2:], atol=1e-5)  # a pixel of a frame is two of the photo
    np.testing.assert_allclose(result[:, -2:], photo[:, [-2, -3]], atol=1e-5)  # beyond the border, the reflection


def test_colours_are_an_affine_map_less_the_identity():
    size = (4, 4)
    photo = np.random.default_rng(0).uniform(-0.3, 0.3, (8, 8, 3)).astype(np.float32)
    colour = np.concatenate((MIX - np.eye(3), OFFSET[:, None]), axis=1).astype(np.float32)
    maps = Maps(np.zeros((*size, 2), np.float32), np.broadcast_to(colour, (*size, 3, 4)))
    np.testing.assert_allclose(photograph(maps, photo), recoloured(photo), atol=1e-5)


def test_an_edge_of_the_edit_lies_where_the_photo_has_its_edge():
    """The frames know it to a pixel; in the photo, four times as large, it is sharp."""
    side, column = 16, 35  # not at a border of the frames' pixels
    photo = np.full((64, 64, 1), -0.5, np.float32)
    photo[:, column:] = 0.5
    share = np.asarray([np.mean(np.arange(4 * i, 4 * i + 4) >= column) for i in range(side)], np.float32)
    colour = np.zeros((side, side, 1, 2), np.float32)
    colour[..., 0, 1] = 0.4 * share  # the right part becomes lighter
    result = np.asarray(photograph(Maps(np.zeros((side, side, 2), np.float32), colour), photo))[:, :, 0]
    change = result - photo[:, :, 0]
    assert change[:, column - 2 : column].max() < 0.1 < 0.3 < change[:, column : column + 2].min()


def test_sizes_that_are_no_squares_and_a_photo_smaller_than_the_frames():
    size = (20, 33)
    maps = measure(moving(1.5, 0.0, size=size))
    last = Maps(maps.flow[-1], maps.colour[-1])
    wanted = texture(size, 1.5, 0.0)
    assert rms(inner(texture(size) - wanted, 5)) > 0.15
    assert rms(inner(photograph(last, texture(size)) - wanted, 5)) < 0.03
    small = texture((10, 17))
    assert jax.eval_shape(apply, last, small).shape == small.shape


@pytest.mark.parametrize(
    ("frames", "photo", "message"),
    [
        ((3, 8, 8, 3), (16, 20, 3), "proportions.*crop the photo to 8:8"),
        ((3, 8, 8, 3), (16, 16, 1), "1 channels and frames of 3"),
        ((1, 8, 8, 3), (16, 16, 3), "at least two frames"),
        ((8, 8, 3), (16, 16, 3), "at least two frames"),
        ((3, 8, 8, 3), (1, 16, 16, 3), r"give \[H, W, C\]"),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(frames, photo, message):
    with pytest.raises(UserError, match=message):
        transfer(np.zeros(frames, np.float32), np.zeros(photo, np.float32))


def test_integers_are_refused_and_a_side_may_be_rounded():
    with pytest.raises(UserError, match="photo of type uint8"):
        transfer(np.zeros((2, 8, 8, 3), np.float32), np.zeros((16, 16, 3), np.uint8))
    photo = np.zeros((33, 50, 1), np.float32)  # 33.33 rounded
    frames = np.zeros((2, 16, 24, 1), np.float32)
    assert jax.eval_shape(transfer, frames, photo).shape == photo.shape
