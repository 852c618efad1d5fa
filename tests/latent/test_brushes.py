"""Brushes: what is drawn arrives at the generator's size with its own colours, and mistakes are said in one line."""

import numpy as np
import pytest
from PIL import Image

from jaxgan.errors import UserError
from jaxgan.latent.brushes import Strokes, Warp, apply_warps, parse_warp, read_scribble, read_sketch, unite

RED = (200, 40, 60)


def drawing(size=32, box=(8, 8, 24, 24), colour=RED, background=(0, 255, 0, 0)):
    """A square stroke; the transparent pixels have a loud colour."""
    picture = Image.new("RGBA", (size, size), background)
    picture.paste((*colour, 255), box)
    return picture


def save(folder, picture, name="drawing.png"):
    picture.save(folder / name)
    return folder / name


def unit(*colour):
    return np.array(colour) / 127.5 - 1


def check_error(error):
    assert "\n" not in str(error.value)


def test_a_drawing_of_the_right_size_is_read_as_it_is(tmp_path):
    colours, mask = read_scribble(save(tmp_path, drawing()), (32, 32, 3))
    assert colours.dtype == mask.dtype == np.float32
    assert (colours.shape, mask.shape) == ((32, 32, 3), (32, 32, 1))
    wanted = np.zeros((32, 32, 1))
    wanted[8:24, 8:24] = 1
    np.testing.assert_array_equal(mask, wanted)
    np.testing.assert_allclose(colours[8:24, 8:24], np.broadcast_to(unit(*RED), (16, 16, 3)), atol=1e-6)
    assert not colours[:8].any()


@pytest.mark.parametrize("filter", ["box", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [8, 20, 50])
def test_transparent_colours_do_not_bleed_into_the_strokes(tmp_path, size, filter):
    colours, mask = read_scribble(save(tmp_path, drawing(box=(9, 9, 23, 23))), (size, size, 3), filter=filter)
    soft = (mask > 0) & (mask < 1)
    assert soft.any() or (filter, size) == ("box", 50)  # which repeats pixels
    assert 0 <= mask.min() < mask.max() <= 1
    drawn = colours[(mask > 1e-3)[..., 0]]
    np.testing.assert_allclose(drawn, np.broadcast_to(unit(*RED), drawn.shape), atol=1e-3)


def test_a_faint_stroke_keeps_its_colour(tmp_path):
    picture = Image.new("RGBA", (64, 64), (0, 255, 0, 0))
    picture.paste((*RED, 3), (0, 0, 64, 64))
    colours, mask = read_scribble(save(tmp_path, picture), (16, 16, 3))
    np.testing.assert_allclose(mask, 3 / 255, atol=1e-6)
    np.testing.assert_allclose(colours, np.broadcast_to(unit(*RED), colours.shape), atol=1e-5)


def test_two_strokes_are_mixed_by_their_opacity(tmp_path):
    picture = Image.new("RGBA", (2, 1))
    picture.putpixel((0, 0), (255, 0, 0, 255))
    picture.putpixel((1, 0), (0, 0, 255, 51))
    colours, mask = read_scribble(save(tmp_path, picture), (1, 1, 3), filter="box", fit="pad")
    # The picture's two pixels become one: pad keeps the proportions, so its height is the rounded half, at least 1.
    np.testing.assert_allclose(mask.ravel(), [0.6], atol=1e-6)
    np.testing.assert_allclose(colours.ravel(), unit(255 / 1.2, 0, 255 * 0.2 / 1.2), atol=1e-6)


def test_grey_by_pillows_rule_and_four_channels(tmp_path):
    path = save(tmp_path, drawing())
    colours, _ = read_scribble(path, (32, 32, 1))
    grey = Image.new("RGB", (1, 1), RED).convert("L").getpixel((0, 0))
    np.testing.assert_allclose(colours[10, 10], unit(grey), atol=1e-6)
    colours, mask = read_scribble(path, (32, 32, 4))
    assert colours.shape == (32, 32, 4)
    np.testing.assert_allclose(colours[10, 10], [*unit(*RED), 1], atol=1e-6)
    assert not (colours * (1 - mask)).any()


@pytest.mark.parametrize("mode", ["LA", "P", "RGB"])
def test_modes(tmp_path, mode):
    if mode == "RGB":
        picture, options = Image.new("RGB", (32, 32), (0, 255, 0)), {"transparency": (0, 255, 0)}
        picture.paste(RED, (8, 8, 24, 24))
    elif mode == "P":
        picture, options = Image.new("P", (32, 32), 0), {"transparency": 0}
        picture.putpalette([0, 255, 0, *RED])
        picture.paste(1, (8, 8, 24, 24))
    else:
        picture, options = drawing().convert("LA"), {}
    path = tmp_path / "drawing.png"
    picture.save(path, **options)
    colours, mask = read_scribble(path, (32, 32, 3))
    assert mask.sum() == 16 * 16
    grey = Image.new("RGB", (1, 1), RED).convert("L").getpixel((0, 0))
    wanted = unit(grey, grey, grey) if mode == "LA" else unit(*RED)
    np.testing.assert_allclose(colours[16, 16], wanted, atol=1e-6)


def test_fit(tmp_path):
    picture = Image.new("RGBA", (48, 32))
    picture.paste((*RED, 255), (16, 0, 32, 32))
    path = save(tmp_path, picture)
    _, cropped = read_scribble(path, (32, 32, 3))  # columns 8 to 39
    assert cropped[0, :, 0].nonzero()[0].tolist() == list(range(8, 24))
    _, padded = read_scribble(path, (48, 48, 3), fit="pad")
    assert padded[:, 20, 0].nonzero()[0].tolist() == list(range(8, 40))
    assert padded[20, :, 0].nonzero()[0].tolist() == list(range(16, 32))


def test_binarise(tmp_path):
    path = save(tmp_path, drawing(box=(9, 9, 23, 23)))
    soft = read_scribble(path, (8, 8, 3))
    hard = read_scribble(path, (8, 8, 3), binarise=True)
    assert len(np.unique(soft.mask)) > 2
    np.testing.assert_array_equal(hard.mask, soft.mask >= 0.5)
    np.testing.assert_array_equal(hard.colours, soft.colours * hard.mask)


def test_a_mask_of_its_own(tmp_path):
    opaque = save(tmp_path, Image.new("RGB", (16, 16), RED), "opaque.jpg")
    where = Image.new("L", (16, 16), 0)
    where.paste(255, (0, 0, 8, 16))
    colours, mask = read_scribble(opaque, (16, 16, 3), mask_path=save(tmp_path, where, "mask.png"))
    assert mask[:, :8].all()
    assert not mask[:, 8:].any()
    np.testing.assert_allclose(colours[0, 0], unit(*RED), atol=0.03)
    with pytest.raises(UserError, match=r"mask.png: 16x16 pixels, but .* has 32x32") as error:
        read_scribble(save(tmp_path, drawing()), (16, 16, 3), mask_path=tmp_path / "mask.png")
    check_error(error)


def test_mistakes_in_drawings(tmp_path):
    shape = (16, 16, 3)
    opaque = save(tmp_path, Image.new("RGB", (16, 16), RED), "opaque.png")
    empty = save(tmp_path, Image.new("RGBA", (16, 16)), "empty.png")
    outside = save(tmp_path, drawing(size=16, box=(0, 0, 2, 16)).resize((48, 16), Image.Resampling.BOX), "outside.png")
    thin = save(tmp_path, drawing(size=64, box=(10, 0, 11, 64)), "thin.png")
    (tmp_path / "broken.png").write_bytes(empty.read_bytes()[:40])
    (tmp_path / "text.png").write_text("no picture")
    save(tmp_path, Image.fromarray(np.ones((4, 4), np.float32)), "float.tiff")
    for name, options, message in (
        (opaque, {}, "opaque.png: .*draw on a transparent background, or give --mask"),
        (empty, {}, "empty.png: nothing is drawn"),
        (outside, {}, "outside.png: nothing is drawn inside the centre .*pad"),
        (thin, {"binarise": True}, "thin.png: nothing covers half a pixel"),
        (tmp_path / "broken.png", {}, "broken.png: not a picture that Pillow reads"),
        (tmp_path / "text.png", {}, "text.png: not a picture that Pillow reads"),
        (tmp_path / "float.tiff", {}, "float.tiff: not a picture that Pillow reads"),
        (tmp_path / "none.png", {}, "none.png: cannot be read .*No such file"),
        (tmp_path, {}, "cannot be read"),
        (empty, {"fit": "stretch"}, "fit='stretch'; choose one of crop, pad"),
        (empty, {"filter": "nearest"}, "filter='nearest'; choose one of box, "),
    ):
        for read in (read_scribble, read_sketch):
            with pytest.raises(UserError, match=message) as error:
                read(name, shape, **options)
            check_error(error)
    assert read_scribble(outside, shape, fit="pad").mask.any()
    with pytest.raises(UserError, match="C one of 1, 3, 4"):
        read_scribble(opaque, (16, 16, 2))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_sketch_is_its_strokes_alone(tmp_path, channels):
    one = read_sketch(save(tmp_path, drawing()), (16, 16, channels))
    other = read_sketch(save(tmp_path, drawing(colour=(0, 0, 0))), (16, 16, channels))
    for a, b in zip(one, other):
        np.testing.assert_array_equal(a, b)
    assert one.colours.shape == (16, 16, channels)
    assert (one.colours[8, 8, 0], one.colours[0, 0, 0]) == (-1, 1)
    assert (one.mask[8, 8, 0], one.mask[0, 0, 0]) == (1, 0)


def test_warps_copy_patches_to_where_they_are_dragged():
    image = np.random.default_rng(0).uniform(-1, 1, (16, 20, 3)).astype(np.float32)
    colours, mask = apply_warps(image, [parse_warp("5, 4, 10,-1,3"), Warp(10, 10, -6, 2, 4)])
    np.testing.assert_array_equal(colours[2:5, 14:17], image[3:6, 4:7])
    np.testing.assert_array_equal(colours[10:14, 2:6], image[8:12, 8:12])
    wanted = np.zeros((16, 20, 1))
    wanted[2:5, 14:17] = wanted[10:14, 2:6] = 1
    np.testing.assert_array_equal(mask, wanted)
    assert not (colours * (1 - mask)).any()

    # All are taken from the image as given, also from where another was put; the last one covers.
    colours, mask = apply_warps(image, [Warp(5, 5, 4, 0, 3), Warp(9, 5, -4, 0, 3), Warp(2, 2, 7, 4, 3)])
    np.testing.assert_array_equal(colours[4:7, 4:7], image[4:7, 8:11])
    np.testing.assert_array_equal(colours[5:8, 8:11], image[1:4, 1:4])
    np.testing.assert_array_equal(colours[4, 8:11], image[4, 4:7])
    assert not apply_warps(image, []).mask.any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3,4", "give x,y,dx,dy,size in pixels"),
        ("1,2,3,4,5,6", "give x,y,dx,dy,size in pixels"),
        ("1,2,3,four,5", "not five whole numbers"),
        ("1.5,2,3,4,5", "not five whole numbers"),
        ("", "not five whole numbers"),
        ("1,2,3,4,0", "warp 1,2,3,4,0: a patch of size 0; give 1 or more"),
        ("1,8,0,0,3", None),
        ("0,8,0,0,3", "taken at columns -1 to 1, outside of the image's 0 to 19"),
        ("8,15,0,0,3", "taken at rows 14 to 16, outside of the image's 0 to 15"),
        ("8,8,11,0,3", "put at columns 18 to 20, outside"),
        ("8,8,0,-8,3", "put at rows -1 to 1, outside"),
        ("8,8,0,0,17", "warp 8,8,0,0,17: .*move it or make it smaller"),
    ],
)
def test_warps_that_are_refused(text, message):
    image = np.zeros((16, 20, 1))
    if message is None:
        apply_warps(image, [parse_warp(text)])
        return
    with pytest.raises(UserError, match=message) as error:
        apply_warps(image, [parse_warp(text)])
    check_error(error)


def stroke(value, rows, weight=1.0):
    mask = np.zeros((4, 4, 1), np.float32)
    mask[rows] = weight
    return Strokes(np.full((4, 4, 3), value, np.float32) * (mask > 0), mask)


def test_newer_strokes_cover_older_ones():
    old, new = stroke(0.5, slice(0, 2)), stroke(-0.5, slice(1, 3))
    colours, mask = unite(old, new)
    assert colours[:, 0, 0].tolist() == [0.5, -0.5, -0.5, 0]
    assert mask[:, 0, 0].tolist() == [1, 1, 1, 0]
    assert unite(new, old).colours[:, 0, 0].tolist() == [0.5, 0.5, -0.5, 0]
    for a, b in zip(unite(old), old):
        np.testing.assert_array_equal(a, b)


def test_a_soft_stroke_covers_by_its_mask():
    old, new = stroke(1.0, slice(0, 2), 0.5), stroke(-1.0, slice(1, 3), 0.5)
    colours, mask = unite(old, new)
    np.testing.assert_allclose(mask[:, 0, 0], [0.5, 0.75, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(colours[:, 0, 0], [1, (0.25 - 0.5) / 0.75, -1, 0], atol=1e-6)
    three = stroke(0.2, slice(0, 4), 0.3)
    for a, b in zip(unite(old, new, three), unite(unite(old, new), three)):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_strokes_that_cannot_be_united():
    with pytest.raises(UserError, match="at least one"):
        unite()
    other = Strokes(np.zeros((4, 5, 3), np.float32), np.zeros((4, 5, 1), np.float32))
    with pytest.raises(UserError, match=r"\(4, 4, 3\) and \(4, 5, 3\)") as error:
        unite(stroke(0, 0), other)
    check_error(error)
