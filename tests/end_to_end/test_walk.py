"""`jaxgan walk` on generators with and without a W space, on inverted latents, and what it refuses."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

import jaxgan
from jaxgan import cli, memory
from jaxgan.cli.walk import Walks, frames_ws
from jaxgan.latent.keys import Keys
from tests.end_to_end.test_bad_input import fails
from tests.page import Page

SMALL = ("--seeds=0-2", "--frames=5")


@pytest.fixture
def walk(tmp_path, capsys):
    """Runs the verb in this process, so that a warning is an error; (the folder, what it printed, walks.json)."""

    def run(*arguments):
        out = tmp_path / "walk"
        with pytest.raises(SystemExit) as stop:
            cli.main(["jaxgan", "walk", *arguments, f"--out={out}"])
        said = capsys.readouterr()
        assert stop.value.code == 0, said.err
        return out, said.out, json.loads((out / "walks.json").read_text())

    return run


def frames_of(path):
    with Image.open(path) as image:
        assert image.is_animated
        found = []
        for i in range(image.n_frames):
            image.seek(i)
            found.append(np.asarray(image.convert("L")))
        return np.stack(found)


@pytest.mark.parametrize(
    ("name", "kind", "side"), [("fashion-stylegan2", "linear", 32), ("fashion-dcgan", "slerp", 32)]
)
def test_seeds_of_the_zoo(walk, name, kind, side):
    out, said, found = walk(f"--run=zoo:{name}", *SMALL, "--truncation_psi=0.8", "--format=gif,mp4", "--batch=4")
    names = {"0-1.gif", "0-1.mp4", "1-2.gif", "1-2.mp4", "walks.png", "walks.json", "report.html"}
    assert {p.name for p in out.iterdir()} == names
    rows = found["walks"]
    assert [(r["from"], r["to"], r["kind"], r["frames"]) for r in rows] == [("0", "1", kind, 5), ("1", "2", kind, 5)]
    for row in rows:
        assert 0 < row["ST-LPIPS Alex mean"] <= row["ST-LPIPS Alex max"]
        assert row["frames/s"] > 0
        assert row["resolution"] == f"{side}x{side}"
    assert "ST-LPIPS Alex mean" in said
    first, second = (frames_of(out / f"{stem}.gif") for stem in ("0-1", "1-2"))
    assert first.shape[1:] == (128, 128)
    np.testing.assert_array_equal(first[4], second[0])  # the next walk begins where this one ends
    model = jaxgan.load(f"zoo:{name}")
    z = np.random.RandomState(1).randn(1, model.gan.generator.z_dim).astype(np.float32)
    image = np.asarray(model.synthesize(model.map(z, truncation_psi=0.8)))[0, ..., 0]
    seen = second[0, ::4, ::4].astype(int)
    assert np.abs(seen - np.clip(image * 127.5 + 128, 0, 255)).max() <= 2
    with Image.open(out / "walks.png") as sheet:
        assert sheet.size == ((5 * (side + 2) - 2) * 4, (2 * (side + 2) - 2) * 4)
    page = Page((out / "report.html").read_text())
    assert sum(image["src"].startswith("data:image/gif") for image in page.all("img")) == 2


def test_one_closed_curve_through_all(walk):
    out, _, found = walk("--run=zoo:fashion-stylegan2", *SMALL, "--kind=spline", "--closed", "--noise=random")
    assert [row["frames"] for row in found["walks"]] == [12]
    assert found["kind"] == "spline, closed"
    assert frames_of(out / "0-0.gif").shape[0] == 12  # a loop does not go back


def test_style_mixing_has_its_tables(walk):
    out, said, _ = walk("--run=zoo:fashion-stylegan2", *SMALL, "--kind=mixing", "--pairs=2:0", "--noise=none")
    assert {"2-0.gif", "mixing-coarse.png", "mixing-middle.png", "mixing-fine.png"} <= {p.name for p in out.iterdir()}
    caption = (
        "mixing-middle: layers 2 to 3 of 0 to 7 from the column's latent, the others from the row's; both are 0, 1, 2"
    )
    assert caption in said.splitlines()
    assert any(image["alt"] == caption for image in Page((out / "report.html").read_text()).all("img"))


def test_inverted_latents(walk, tmp_path):
    model = jaxgan.load("zoo:fashion-stylegan2")
    generator = model.gan.generator
    rng = np.random.default_rng(0)
    ws = rng.standard_normal((3, generator.num_ws, generator.w_dim)).astype(np.float32)
    noise = {f"noise{i}": rng.standard_normal((3, *s, 1)) for i, s in enumerate(generator.noise_shapes)}
    names, loss = ["a cat", "../dog", "../dog"], np.array([0.1, np.nan, 0.3])
    np.savez(tmp_path / "latents.npz", ws=ws, names=names, loss=loss, **noise)
    out, _, found = walk(
        "--run=zoo:fashion-stylegan2", f"--latents={tmp_path / 'latents.npz'}", "--frames=3", "--closed"
    )
    assert [row["file"] for row in found["walks"]] == ["a_cat-dog.gif", "dog-dog.gif", "dog-a_cat.gif"]
    assert [row["loss"] for row in found["walks"]] == [[0.1, None], [None, 0.3], [0.3, 0.1]]
    assert found["noise"].startswith("found with the first end point")
    maps = tuple(m[1:2].astype(np.float32) for m in noise.values())
    image = np.asarray(model.synthesize(ws[2:], maps))[0, ..., 0]
    seen = frames_of(out / "dog-dog.gif")[2, ::4, ::4].astype(int)
    assert np.abs(seen - np.clip(image * 127.5 + 128, 0, 255)).max() <= 2


def inverted_in_z(path, run, shift=0.0):
    """(z, ws) of a file as an inversion in z leaves it; its ws are those of z moved by a shift."""
    model = jaxgan.load(run)
    z = np.random.default_rng(0).standard_normal((3, model.gan.generator.z_dim)).astype(np.float32)
    ws = np.asarray(model.map(z + np.float32(shift)))
    np.savez(path, ws=ws, names=["cat", "dog", "cow"], space="z", code=z)
    return z, ws


def test_pictures_inverted_in_z_are_walked_along_the_sphere(walk, tmp_path, monkeypatch):
    path = tmp_path / "latents.npz"
    z, ws = inverted_in_z(path, "zoo:fashion-dcgan")
    given = []
    monkeypatch.setattr("jaxgan.cli.walk.measuring_network", lambda: None)
    monkeypatch.setattr("jaxgan.cli.walk.frames_ws", lambda *args: given.append(frames_ws(*args)) or given[-1])
    _, said, found = walk("--run=zoo:fashion-dcgan", f"--latents={path}", "--frames=5")
    assert "2 walks of 5 frames, 32x32: 0.01 MiB of memory" in said
    assert [row["kind"] for row in found["walks"]] == ["slerp", "slerp"]
    np.testing.assert_array_equal(given[0][:, 0], ws[:-1])
    np.testing.assert_array_equal(given[0][:, -1], ws[1:])
    middle = np.linalg.norm(given[0][0, 2])
    assert middle == pytest.approx((np.linalg.norm(z[0]) + np.linalg.norm(z[1])) / 2, rel=1e-5)
    _, _, found = walk("--run=zoo:fashion-dcgan", f"--latents={path}", "--frames=2", "--kind=linear")
    assert found["kind"] == "linear"


def test_z_of_a_mapping_network_is_walked_where_asked(walk, capsys, tmp_path, monkeypatch):
    path, run = tmp_path / "latents.npz", "zoo:fashion-stylegan2"
    monkeypatch.setattr("jaxgan.cli.walk.measuring_network", lambda: None)
    z, ws = inverted_in_z(path, run)
    _, _, found = walk(f"--run={run}", f"--latents={path}", "--frames=2")
    assert found["kind"] == "linear"
    _, _, found = walk(f"--run={run}", f"--latents={path}", "--frames=2", "--kind=slerp", "--truncation_psi=0.7")
    assert found["kind"] == "slerp"
    model = jaxgan.load(run)
    frames = frames_ws(Walks("slerp", [(0, 1)], 3), Keys(["a", "b"], ws[:2], z[:2]), None, model, 0.7)
    np.testing.assert_allclose(frames[0, [0, 2]], model.map(z[:2], truncation_psi=0.7), rtol=1e-4, atol=1e-4)
    inverted_in_z(path, run, shift=1.0)
    line = fails(capsys, "walk", f"--run={run}", f"--latents={path}", "--kind=slerp", f"--out={tmp_path / 'no'}")
    assert "this generator does not map its z to its ws" in line
    assert not (tmp_path / "no").exists()


def test_walks_that_do_not_fit_the_memory(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "free_on_host", lambda: 2**30)
    arguments = ("--run=zoo:fashion-dcgan", "--seeds=0-2", "--frames=400000", f"--out={tmp_path / 'walk'}")
    assert (
        "2 walks of 400000 frames, 32x32, need 1.1 GiB of memory and 1.0 GiB are free; lower --frames or give fewer"
        in fails(capsys, "walk", *arguments)
    )
    assert not (tmp_path / "walk").exists()
    assert Walks("spline", [(0, 1, 2)], 5).length == 9
    assert Walks("spline", [(0, 1, 2)], 5, closed=True).length == 12


def test_without_the_measuring_package_the_column_is_left_out(walk, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    _, said, found = walk("--run=zoo:fashion-dcgan", "--seeds=0,1", "--frames=2")
    assert "no smoothness is reported: package stlpips-pytorch is not installed" in said
    assert list(found["walks"][0]) == ["from", "to", "kind", "frames", "frames/s", "resolution", "file"]


def test_a_truncation_that_changes_nothing(capsys, tmp_path):
    arguments = ("walk", "--run=zoo:fashion-pggan", "--truncation_psi=0.5", f"--out={tmp_path / 'walk'}")
    assert "truncation changes nothing" in fails(capsys, *arguments)
    assert not (tmp_path / "walk").exists()


@pytest.fixture
def latents(tmp_path):
    """Files of latents: a good one of another generator, and one of one picture."""
    for name, count in (("other", 2), ("one", 1)):
        np.savez(tmp_path / f"{name}.npz", ws=np.zeros((count, 3, 5), np.float32), names=["cat", "dog"][:count])
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--seeds=3"], "--seeds=3 has 1 latent; a walk needs two or more"),
        (["--latents=one.npz"], "has 1 latent; a walk needs two or more"),
        (["--latents=other.npz"], "(2, 3, 5) do not fit this generator, which takes floats [N, 1, "),
        (["--latents=nowhere.npz"], "nowhere.npz cannot be read (No such file or directory)"),
        (["--latents=other.npz", "--kind=slerp"], "--kind=slerp needs z"),
        (["--latents=other.npz", "--pairs=cat:cow"], "there is no cow among the latents cat, dog"),
        (["--latents=other.npz", "--label=0"], "--label goes with --seeds"),
        (["--latents=other.npz", "--seeds=0-3"], "exclude each other"),
        (["--pairs=0:9"], "there is no 9 among the latents 0, 1, 2"),
        (["--pairs=0"], "not FROM:TO"),
        (["--pairs=0:1", "--kind=spline"], "does not go with --kind=spline"),
        (["--pairs=0:1", "--closed"], "does not go with --pairs"),
        (["--kind=mixing"], "needs layers, and this generator takes one latent for all; use --kind=slerp"),
        (["--label=0"], "this model has no classes"),
        (["--frames=1"], "frames"),
        (["--fps=0"], "--fps=0 must lie between 0.1 and 50"),
        (["--fps=60"], "--fps=60 must lie between 0.1 and 50 for --format=gif"),
        (["--format=avi"], "use gif, mp4 or gif,mp4"),
        (["--truncation_psi=nan"], "is no number"),
    ],
)
def test_what_is_refused_before_any_work(capsys, monkeypatch, latents, arguments, text):
    monkeypatch.chdir(latents)
    assert text in fails(capsys, "walk", "--run=zoo:fashion-dcgan", *arguments, "--out=walk")
    assert not (latents / "walk").exists()


def test_mp4_without_its_package(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    arguments = ("walk", "--run=zoo:fashion-dcgan", "--format=mp4", f"--out={tmp_path / 'walk'}")
    assert 'pip install "jaxgan[video]"' in fails(capsys, *arguments)
    (tmp_path / "file").write_text("")
    assert "cannot be written" in fails(capsys, *arguments[:2], f"--out={tmp_path / 'file' / 'walk'}")
