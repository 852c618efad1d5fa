"""The package as others get it: import contracts, versions, licences, what the wheel holds, and a clean install."""

import json
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import jaxgan

ROOT = Path(__file__).parents[1]
EMBEDDED = ROOT / "jaxgan" / "data" / "embedded"


def run(*command, cwd=ROOT, env=None):
    """Runs a command to its end and returns its standard output; its whole output is the message where it fails."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_imports_point_one_way():
    run(sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache")


def test_versions_agree():
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    released = re.search(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", jaxgan.__version__)
    assert citation[1] == jaxgan.__version__
    assert released[1] == jaxgan.__version__


def test_everything_that_others_made_has_its_licence():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    sets = sorted(EMBEDDED.glob("*.npz"))
    assert sets
    for path in sets:
        licences = list(EMBEDDED.glob(f"LICENSE.{path.stem}*"))
        assert licences, path.name
        for named in (path, *licences):
            assert named.relative_to(ROOT).as_posix() in notice, named.name
    assert "tests/data/parity/*.npz" in notice
    assert "jaxgan/zoo/*.npz" in notice


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """The wheel built from the checkout, and the one built from the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    build = (sys.executable, "-m", "build", "--no-isolation")
    run(*build, "--wheel", "--outdir", folder / "checkout", ROOT)
    run(*build, "--outdir", folder / "archive", ROOT)
    return [next((folder / kind).glob("*.whl")) for kind in ("checkout", "archive")]


def test_wheel_carries_configs_data_and_licences_and_nothing_else(wheels):
    contents = []
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as file:
            contents.append({name: file.read(name) for name in file.namelist()})
    from_checkout, from_archive = contents
    assert from_checkout == from_archive
    info = f"jaxgan-{jaxgan.__version__}.dist-info"
    wanted = {f"jaxgan/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    wanted |= {path.relative_to(ROOT).as_posix() for path in EMBEDDED.iterdir() if path.is_file()}
    wanted |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "jaxgan" / "zoo").glob("*.npz")}
    wanted |= {f"{info}/licenses/{name}" for name in ("LICENSE", "NOTICE")}
    assert {"jaxgan/configs/fashion.py", "jaxgan/zoo/fashion-dcgan.npz"} <= wanted
    assert wanted <= from_checkout.keys()
    assert {name.partition("/")[0] for name in from_checkout} == {"jaxgan", info}
    assert not [name for name in from_checkout if "__pycache__" in name]


def test_source_archive_carries_the_tests(wheels):
    with tarfile.open(next(wheels[1].parent.glob("*.tar.gz"))) as file:
        names = [name.partition("/")[2] for name in file.getnames()]
    assert len(names) == len(set(names))
    assert {"configs/fashion.py", "tests/test_packaging.py", "README.md", "LICENSE"} <= set(names)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_wheel_trains_and_samples_from_an_empty_directory(wheels, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    binaries = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    run(binaries / "python", "-m", "pip", "install", "--quiet", wheels[0], cwd=tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    # A stranger's environment: no path to the checkout, no cache from earlier.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "JAX_COMPILATION", "JAX_PERSISTENT"))}
    env |= {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home" / ".cache")}

    assert jaxgan.__version__ in run(binaries / "jaxgan", "--version", cwd=empty, env=env)
    run(
        binaries / "jaxgan",
        "train",
        "--config=fashion",
        "--workdir=run",
        "--config.total_kimg=0.256",
        "--config.batch_size=32",
        "--config.model.channel_base=256",
        "--config.model.channel_max=16",
        "--config.tick_kimg=0.128",
        cwd=empty,
        env=env,
    )
    rows = [json.loads(line) for line in (empty / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["images_seen"] == 256
    assert (empty / "run" / "config.json").is_file()
    assert "<html" in (empty / "run" / "report.html").read_text(encoding="utf-8")
    run(binaries / "jaxgan", "sample", "--run=run", "--seeds=0-3", "--out=out", cwd=empty, env=env)
    assert len(list((empty / "out").rglob("*.png"))) == 5  # one a seed, and the grid
