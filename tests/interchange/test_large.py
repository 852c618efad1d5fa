"""What a 1024 px StyleGAN2 costs to open and to import: 30 million parameters a generator, two of them and a judge."""

import json
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxgan.interchange import nvidia
from jaxgan.interchange.stylegan2 import _shapes
from jaxgan.networks.build import build
from tests import tiny

# The processor's time of the process and of the system for it, which does not depend on what else the machine does;
# with two cores the clock shows no more. Not ru_maxrss for the memory: it begins at that of the parent process.
_MEASURED = """
import json, resource
{work}
used = resource.getrusage(resource.RUSAGE_SELF)
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps({{"seconds": used.ru_utime + used.ru_stime, "peak": 1024 * peak}}))
"""


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    changes = {"resolution": 1024, "z_dim": 512, "w_dim": 512, "mapping_layers": 8, "channel_base": 32768}
    model = tiny.model(channel_max=512, mbstd_group=4, **changes)
    shapes = _shapes(build(model))
    g, d = jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes)
    path = tmp_path_factory.mktemp("large") / "network.pkl"

    variables = {"generator": g, "discriminator": d}
    config = ConfigDict({"model": model})
    nvidia.write(SimpleNamespace(config=config, variables=variables, w_avg=np.zeros(512, np.float32)), path)
    return path


def measured(work: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED.format(work=work)], capture_output=True, text=True, timeout=900, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    return found


@pytest.mark.slow
def test_load(snapshot):
    found = measured(f"import jaxgan; jaxgan.load({str(snapshot)!r})")
    assert found["seconds"] < 20
    assert found["peak"] < 2e9


@pytest.mark.slow
def test_import(snapshot, tmp_path):
    """The run directory: the above, a fresh optimiser's state, all of it in a checkpoint, and the grid."""
    arguments = ["jaxgan", "import", f"--source={snapshot}", f"--workdir={tmp_path / 'run'}"]
    command = f"cli.main({arguments!r})"
    work = f"from jaxgan import cli\ntry:\n    {command}\nexcept SystemExit as end:\n    assert end.code == 0"
    found = measured(work)
    assert found["seconds"] < 20
    assert found["peak"] < 2e9
