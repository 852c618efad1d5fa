"""Metrics during training, and the verb on what was trained."""

import json

import pytest

from jaxgan.cli import main
from jaxgan.experiment import export
from jaxgan.training.watch import read_metrics
from tests.interchange.test_stylegan2_files import tiny_model


def test_evaluated_while_training_and_afterwards(train_flags, jaxgan, tmp_path):
    run = tmp_path / "run"
    asked = ("--config.eval_every=2", "--config.eval.num_samples=12", "--config.eval.metrics=fd,ms_ssim,di")
    done = jaxgan(*train_flags(run, 96, *asked))
    assert done.returncode == 0, done.stderr
    rows = read_metrics(run)
    assert ["FD-lite0" in r for r in rows] == [False, True, True]  # every second tick, and the last
    cards = json.loads((run / "evaluations" / "00000096.json").read_text())["cards"]
    assert {c["metric"]: c["value"] for c in cards}.items() <= rows[-1].items()
    page = (run / "report.html").read_text()
    assert "FD-lite0" in page
    assert "Latest evaluation" in page
    out = jaxgan("evaluate", f"--run={run}", "--metrics=fd,nearest", "--num_samples=12", "--truncation_psi=0.9")
    assert out.returncode == 0, out.stderr
    assert "FD-lite0" in out.stdout
    assert "real against real" in out.stdout
    assert "579344248a93" in out.stdout
    written = run / "evaluations" / "00000096-0.json"
    assert json.loads(written.read_text())["cards"][0]["generator"].startswith("EMA weights, truncation_psi 0.9")
    assert written.with_name("00000096-0-nearest.png").exists()


def test_what_cannot_be_evaluated_is_said_before_training(train_flags, jaxgan, tmp_path):
    flags = train_flags(tmp_path / "run", 32, "--config.eval_every=1", "--config.eval.metrics=swd")
    done = jaxgan(*flags)
    assert done.returncode == 2
    assert "swd needs square images of a power of two from 16 px, not 8x8" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_generator_of_the_zoo_is_evaluated_from_anywhere(jaxgan, tmp_path):
    done = jaxgan("evaluate", "--run=zoo:fashion-dcgan", "--metrics=swd,di", "--num_samples=64", "--split=test")
    assert done.returncode == 0, done.stderr
    assert "SWD-16 x1000" in done.stdout
    assert "DI (EMA)" in done.stdout
    assert [p.parent.name for p in tmp_path.rglob("*.json")] == ["fashion-dcgan-evaluations"]


def test_path_lengths_need_no_data(capsys, tmp_path):
    """As of an imported file, which names none; other metrics say that they need some."""
    model = tiny_model(channels=3)
    model.config.data.source = ""
    export(model, tmp_path / "a.npz", {})
    asked = ["jaxgan", "evaluate", f"--run={tmp_path / 'a.npz'}", "--num_samples=4", "--batch=4"]
    with pytest.raises(SystemExit) as end:
        main([*asked, "--metrics=ppl,ms_ssim"])
    assert end.value.code == 2
    assert "names no data; give --data" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main([*asked, "--metrics=ppl", f"--out={tmp_path / 'cards.json'}"])
    assert end.value.code == 0
    (card,) = json.loads((tmp_path / "cards.json").read_text())["cards"]
    assert card["metric"] == "PPL-wend-stlpips-alex"
    assert card["data"] == "no real images (none, none)"
    assert card["value"] > 0


def test_a_place_that_cannot_be_written_is_said_before_measuring(jaxgan, tmp_path):
    (tmp_path / "file").write_text("")
    done = jaxgan("evaluate", "--run=zoo:fashion-dcgan", "--num_samples=64", "--out=file/cards.json")
    assert done.returncode == 2
    assert "--out=file/cards.json cannot be written" in done.stderr
