"""The same values on one device and on eight; in processes that have so many."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan.metrics import Settings, evaluate
from tests.metrics.test_evaluate import noise_images, subject_of

ROOT = Path(__file__).parents[2]
SETTINGS = Settings(
    metrics=("fd", "kid", "pr", "swd", "ms_ssim", "lpips", "ppl_wend", "di", "nearest"), num_samples=20, batch_size=8
)


def main(out: str) -> None:
    """What a process with some devices measures."""
    found = evaluate(subject_of(num_classes=3), noise_images(), SETTINGS)
    values = {c.metric: [c.value, c.fakes] for c in found.cards}
    Path(out).write_text(json.dumps({"devices": jax.device_count(), "values": values}))


@pytest.mark.slow
def test_values_do_not_depend_on_the_number_of_devices(tmp_path):
    found = []
    for devices in (1, 8):
        out = tmp_path / f"{devices}.json"
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "XDG_CACHE_HOME": str(tmp_path / f"cache{devices}"),
        }
        code = f"from tests.metrics import test_devices; test_devices.main({str(out)!r})"
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, timeout=800)
        found.append(json.loads(out.read_text()))
    one, eight = found
    assert (one["devices"], eight["devices"]) == (1, 8)
    assert one["values"].keys() == eight["values"].keys()
    for name, (value, fakes) in one["values"].items():
        assert fakes == eight["values"][name][1]
        # Path lengths divide a difference of float32 distances by 1e-8, and so its rounding.
        tolerance = 1e-2 if name.startswith("PPL") else 2e-3
        np.testing.assert_allclose(eight["values"][name][0], value, rtol=tolerance, atol=1e-4, err_msg=name)
