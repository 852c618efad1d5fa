"""What a run's page says of the inversion after it."""

import json

import numpy as np
import pytest

from jaxgan import config as configs
from jaxgan.cli import train
from jaxgan.movie import encode_gif
from jaxgan.report import save_png
from jaxgan.training.run_report import write_run_report
from tests.page import Page


@pytest.fixture
def workdir(tmp_path):
    """A run of one tick."""
    row = {"images_seen": 8, "seconds": 1.0, "images_per_second": 8.0, "G_loss": 1.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path


@pytest.fixture
def config():
    return configs.load("fashion")


def test_the_inversion_and_its_walks_are_in_the_report(workdir, config):
    walked = workdir / "inverted" / "walk"
    walked.mkdir(parents=True)
    save_png(workdir / "inverted" / "sheet.png", np.zeros((8, 8), np.uint8))
    mean = {"MSE": 0.0078125, "PSNR": float("inf"), "SSIM": 0.875, "prior": 1.25, "loss": 12345.0}
    (workdir / "inverted" / "table.json").write_text(json.dumps({"mean": mean, "images": [{}, {}, {}]}))
    (walked / "one-two.gif").write_bytes(encode_gif(np.zeros((2, 8, 8, 1), np.uint8)))
    row = {"from": "one", "to": "two", "ST-LPIPS Alex mean": 0.0625, "ST-LPIPS Alex max": 0.125, "max / mean": 2.0}
    (walked / "walks.json").write_text(json.dumps({"walks": [row | {"frames/s": 98765.0}]}))
    write_run_report(workdir, config.to_dict())
    page = Page((workdir / "report.html").read_text())
    assert [image["alt"] for image in page.all("img")] == ["w+", "one-two"]
    for text in ("Reconstructions", "0.0078125", "0.875", "1.25", "Smoothness", "0.0625", "max / mean"):
        assert text in page.text
    assert "12345" not in page.text
    assert "98765" not in page.text
    (walked / "walks.json").write_text(json.dumps({"walks": [{"from": "one", "to": "two"}]}))  # nothing was measured
    write_run_report(workdir, config.to_dict())
    assert "Smoothness" not in (workdir / "report.html").read_text()


def test_the_walk_does_not_overwrite_the_inversion(workdir, config, monkeypatch):
    folders = []
    for verb in (train.invert, train.walk):
        monkeypatch.setattr(verb, "run", lambda values: folders.append(values.out))
    config.data.source, config.data.split, config.invert.images = "fashion", "train", 2
    train.demonstrate(workdir, config)
    assert folders == [str(workdir / "inverted"), str(workdir / "inverted" / "walk")]
