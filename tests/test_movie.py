"""GIFs and MP4s as a viewer takes them apart."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxgan import movie
from jaxgan.errors import UserError


def moving(count=4, height=12, width=10, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), np.uint8)


def smooth(count=5, size=32):
    """Colours that change slowly in space and time, far more than 256 of them."""
    y, x, t = np.mgrid[:size, :size, :count] / np.array([size, size, count]).reshape(3, 1, 1, 1)
    colours = np.stack([x, y, (x + t) / 2], -1).transpose(2, 0, 1, 3)
    return (255 * colours).astype(np.uint8)


def decode(data):
    """(frames as RGB, milliseconds of each) of a GIF."""
    frames, durations = [], []
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["loop"] == 0
        for i in range(image.n_frames):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGB")))
            durations.append(image.info["duration"])
    return np.stack(frames), durations


def local_palettes(data):
    """How many frames of a GIF have a palette of their own."""
    place, count = 13 + 3 * 2 ** ((data[10] & 7) + 1), 0
    while data[place] != 0x3B:
        if data[place] == 0x21:
            place += 2
        else:
            assert data[place] == 0x2C
            flags = data[place + 9]
            count += flags >> 7
            place += 11 + (3 * 2 ** ((flags & 7) + 1) if flags >> 7 else 0)
        while data[place]:
            place += data[place] + 1
        place += 1
    return count


def test_grey_frames_are_exact_and_go_back():
    frames = moving()
    found, durations = decode(movie.encode_gif(frames, 50))
    np.testing.assert_array_equal(found, np.repeat(frames[[0, 1, 2, 3, 2, 1]], 3, -1))
    assert set(durations) == {50}
    found, durations = decode(movie.encode_gif(frames, 80, ping_pong=False, scale=3))
    np.testing.assert_array_equal(found, np.repeat(frames.repeat(3, 1).repeat(3, 2), 3, -1))
    assert set(durations) == {80}


def test_few_colours_are_exact_too():
    colours = moving(1, 1, 200, 3)[0, 0]
    frames = colours[np.random.default_rng(1).integers(0, 200, (3, 16, 16))]
    data = movie.encode_gif(frames, ping_pong=False)
    np.testing.assert_array_equal(decode(data)[0], frames)
    assert not local_palettes(data)


def test_many_colours_share_one_palette():
    frames = smooth()
    data = movie.encode_gif(frames, ping_pong=False)
    found, _ = decode(data)
    assert not local_palettes(data)
    assert len(np.unique(found.reshape(-1, 3), axis=0)) <= 256
    assert np.abs(found.astype(int) - frames).mean() < 10
    still = np.concatenate([frames[:1], frames[:1], frames])  # what does not change does not flicker
    found, durations = decode(movie.encode_gif(still, ping_pong=False))
    assert sum(durations) == 50 * len(still)


def test_alpha_is_seen_on_white():
    frames = np.zeros((2, 4, 4, 4), np.uint8)
    frames[..., 0], frames[1, ..., 3] = 255, 255
    np.testing.assert_array_equal(decode(movie.encode_gif(frames))[0][:, 0, 0], [[255, 255, 255], [255, 0, 0]])


def test_one_frame_is_a_picture():
    with Image.open(io.BytesIO(movie.encode_gif(moving(1)))) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("L")), moving(1)[0, ..., 0])


@pytest.mark.parametrize("encode", [movie.encode_gif, movie.encode_mp4])
def test_what_is_no_movie_is_refused(encode):
    for frames in (moving()[0], moving().astype(np.float32), moving(channels=2), moving(0)):
        with pytest.raises(UserError, match=r"uint8 frames \[N, H, W, C\]"):
            encode(frames)
    with pytest.raises(UserError, match="scale"):
        encode(moving(), scale=0)


def test_speeds_that_are_refused():
    with pytest.raises(UserError, match="20 or more"):
        movie.encode_gif(moving(), 10)
    for fps in (0, -1, float("nan")):
        with pytest.raises(UserError, match="above 0"):
            movie.encode_mp4(moving(), fps)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_mp4_shows_the_frames(tmp_path, channels):
    frames = np.repeat(smooth(6, 31)[..., :1], channels, -1)
    frames[..., 3:] = 255
    path = tmp_path / "movie.mp4"
    path.write_bytes(movie.encode_mp4(frames, fps=10, scale=3))  # 93 pixels, 94 with the added one
    command = [movie.find_ffmpeg(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    about = done.stderr.decode()
    for said in ("h264", "yuv420p", "94x94", "10 fps"):
        assert said in about
    found = np.frombuffer(done.stdout, np.uint8).reshape(6, 94, 94)[:, :93, :93]
    assert np.abs(found.astype(int) - frames[..., 0].repeat(3, 1).repeat(3, 2)).mean() < 4


def test_an_ffmpeg_that_fails_says_why(tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho no such codec >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(movie, "find_ffmpeg", lambda: str(program))
    with pytest.raises(UserError, match=r"could not make the MP4 \(no such codec\); use GIF"):
        movie.encode_mp4(smooth(3, 512))


def test_an_mp4_without_the_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError, match=r'pip install "jaxgan\[video\]"'):
        movie.encode_mp4(moving())


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_shrink_takes_means_of_blocks(channels):
    images = moving(2, 9, 8, channels)
    images[..., 3:] = 255
    assert movie.shrink(images, 9) is images
    found = movie.shrink(images, 4)
    assert found.shape == (2, 3, 3, channels)
    np.testing.assert_allclose(found[1, 2, 1], images[1, 6:9, 3:6].mean((0, 1)), atol=1)
