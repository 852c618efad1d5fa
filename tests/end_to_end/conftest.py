"""A data set and a network so small that a whole run takes seconds."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxgan import cli
from jaxgan.data.prepare import prepare

# A run of 8 px, batch 8: an iteration with each lazy term, a tick every four iterations, a checkpoint every tick.
TINY = (
    "--config.batch_size=8",
    "--config.model.channel_base=64",
    "--config.model.channel_max=8",
    "--config.model.z_dim=8",
    "--config.model.w_dim=8",
    "--config.loss.r1_gamma=0.1",
    "--config.loss.pl_weight=2.0",
    "--config.tick_kimg=0.032",
    "--config.checkpoint.every_ticks=1",
    "--config.grid.images=4",
)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """64 pictures of 8x8, prepared."""
    pictures = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(64):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(pictures / f"{i:03d}.png")
    dest = tmp_path_factory.mktemp("data") / "tiny"
    prepare(str(pictures), str(dest), resolution=8, workers=1)
    return dest


def command(*arguments: str) -> list[str]:
    """A `jaxgan` command as a list for subprocess."""
    return [sys.executable, "-m", "jaxgan", *arguments]


def in_process(capsys, *arguments) -> str:
    """What a `jaxgan` command says, in this process; it succeeds."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["jaxgan", *map(str, arguments)])
    said = capsys.readouterr()
    assert stop.value.code == 0, said.err
    return said.out


@pytest.fixture
def jaxgan(tmp_path):
    """Runs `jaxgan ...` in an empty directory; returns the finished process, output as text."""

    def run(*arguments: str, timeout: float = 300, cwd: Path = tmp_path) -> subprocess.CompletedProcess:
        return subprocess.run(
            command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run


@pytest.fixture
def train_flags(tiny_data):
    """Flags of a tiny run in a workdir, to so many images."""

    def flags(workdir: Path, images: int, *more: str) -> list[str]:
        data = f"--config.data.source={tiny_data}"
        return [
            "train",
            "--config=fashion",
            f"--workdir={workdir}",
            data,
            f"--config.total_kimg={images / 1000}",
            *TINY,
            *more,
        ]

    return flags
