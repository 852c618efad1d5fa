"""`jaxgan realism`: samples towards realism, its variants, a killed one continued, and what it refuses."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxgan import cli
from jaxgan.cli import realism as verb
from jaxgan.data.sources import open_images
from jaxgan.latent import stages
from tests.end_to_end.test_bad_input import fails

RUN = "--run=zoo:fashion-dcgan"
QUICK = (RUN, "--batch=4", "--config.candidates=20", "--config.recover.steps=20", "--config.chunk=10")
QUICK += ("--config.prototype.points=9", "--config.select.points=9")


def realism(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(["jaxgan", "realism", *arguments])
    said = capsys.readouterr()
    assert stop.value.code == 0, said.err
    return said.out


def test_samples_towards_realism(capsys, tmp_path):
    out = tmp_path / "out"
    said = realism(capsys, *QUICK, "--num=6", f"--out={out}")
    assert "the mean of the real ones" in said
    names = {"arc.png", "config.json", "improved", "latents.npz", "original", "report.html", "sheet.png"}
    assert {p.name for p in out.iterdir()} == names | {"table.json", "walk.png"}
    assert sorted(p.name for p in (out / "improved").iterdir()) == [f"seed{i:04d}.png" for i in range(6)]
    table = json.loads((out / "table.json").read_text())
    assert [row["sample"] for row in table["images"]] == [f"seed{i:04d}" for i in range(6)]
    columns = {"s", "theta", "to prototype", "angle", "objective", "D original", "D chosen", "recover steps"}
    assert columns < table["images"][0].keys()
    assert all(0.2 <= row["s"] <= 0.5 for row in table["images"])
    assert table["mean"]["s"] == pytest.approx(np.mean([row["s"] for row in table["images"]]))
    with Image.open(out / "sheet.png") as sheet:  # six columns, four rows
        assert sheet.size[0] > sheet.size[1]
    page = (out / "report.html").read_text()
    assert "original, recovered, improved, prototype, a column a sample" in page
    with np.load(out / "latents.npz") as file:
        assert file["ws"].shape == (6, 1, 64)
        for code in ("x", "y", "p", "code"):
            np.testing.assert_allclose(np.square(file[code]).mean(1), 1, rtol=1e-4)
    # What is written is what the next verb reads, from the improved z.
    walk = ("--kind=slerp", "--pairs=seed0000:seed0001", "--frames=4", f"--out={tmp_path / 'walk'}")
    with pytest.raises(SystemExit) as stop:
        cli.main(["jaxgan", "walk", RUN, f"--latents={out / 'latents.npz'}", *walk])
    assert stop.value.code == 0, capsys.readouterr().err


def test_a_fixed_share_and_the_mean_prototype(capsys, tmp_path, monkeypatch):
    out = tmp_path / "fixed"
    monkeypatch.setattr("jaxgan.cli.realism.real_logits", None)  # whose mean nothing aims at
    said = realism(capsys, *QUICK, "--seeds=3,9", "--select=s:0.3", f"--out={out}")
    assert "no score is aimed at" in said
    monkeypatch.undo()
    table = json.loads((out / "table.json").read_text())
    assert [row["s"] for row in table["images"]] == [pytest.approx(0.3)] * 2
    assert [row["sample"] for row in table["images"]] == ["seed0003", "seed0009"]
    out = tmp_path / "mean"
    realism(capsys, *QUICK, "--num=3", "--variant=mean", "--config.mean_of=8", f"--out={out}")
    assert not (out / "walk.png").exists()  # nothing is recovered
    with np.load(out / "latents.npz") as file:
        assert np.ptp(file["p"], axis=0).max() == 0
        assert np.ptp(file["x"], axis=0).max() > 0


def test_a_killed_one_goes_on_and_gives_the_same(capsys, tmp_path, monkeypatch):
    flags = (*QUICK, "--num=6", "--config.prototype.method=recursion", "--config.prototype.steps=20")
    realism(capsys, *flags, f"--out={tmp_path / 'whole'}")
    save, saved = stages.Job.save_part, []

    def killed(self, number, arrays):
        save(self, number, arrays)
        saved.append(self.folder.name)
        if saved.count("prototype") == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(stages.Job, "save_part", killed)
    with pytest.raises(SystemExit) as stop:
        cli.main(["jaxgan", "realism", *flags, f"--out={tmp_path / 'killed'}"])
    assert stop.value.code == 130
    assert "goes on from its last checkpoint" in capsys.readouterr().err
    monkeypatch.setattr(stages.Job, "save_part", save)
    others = (*QUICK, "--num=5", f"--out={tmp_path / 'killed'}")
    assert "holds the unfinished work of another command" in fails(capsys, "realism", *others)
    began = []
    run = stages.Runner.run
    monkeypatch.setattr(stages.Runner, "run", lambda self, number, *a: began.append(number) or run(self, number, *a))
    realism(capsys, *flags, f"--out={tmp_path / 'killed'}")
    assert began == [1]  # of both batches of two stages only the last was left
    assert not (tmp_path / "killed" / ".work").exists()
    with np.load(tmp_path / "whole" / "latents.npz") as whole, np.load(tmp_path / "killed" / "latents.npz") as killed:
        for name in whole.files:
            np.testing.assert_array_equal(whole[name], killed[name], err_msg=name)


def test_without_real_images_it_says_what_is_aimed_at(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxgan.cli.realism.open_images", lambda *a, **k: open_images("nowhere"))
    said = realism(capsys, *QUICK, "--num=2", f"--out={tmp_path / 'out'}")
    assert "no real images are scored: " in said
    assert "no real images are at hand" in said


def test_a_generator_alone_is_refused_before_anything_is_written(capsys, tmp_path, monkeypatch):
    load = verb.load

    def without(*arguments):
        model = load(*arguments)
        model.variables.pop("discriminator")
        return model

    monkeypatch.setattr(verb, "load", without)
    assert "this model has no discriminator" in fails(capsys, "realism", *QUICK, f"--out={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--select=0.3", "--select=0.3 is not auto or s:SHARE"),
        ("--select=s:1.3", "--select=s:1.3 is not auto or s:SHARE"),
        ("--select=s:half", "--select=s:half is not auto or s:SHARE"),
        ("--seeds=x", "--seeds=x is no list"),
        ("--num=0", "--num"),
        ("--label=1", "--label=1: this model has no classes"),
        ("--config=invert", "is no config of the realism direction"),
        ("--config.space=w", "config.space='w'"),
        ("--config.recover.steps=0", "config.recover.steps=0"),
        ("--config.critic.target=up", "config.critic.target='up'"),
        ("--data=nowhere", "nowhere"),
        ("--data=fashion --select=s:0.3", "--data=fashion is for a selection by scores"),
    ],
)
def test_what_is_refused(capsys, tmp_path, flag, message):
    assert message in fails(capsys, "realism", *QUICK, *flag.split(), f"--out={tmp_path / 'out'}")
    assert not (tmp_path / "out" / "report.html").exists()
