"""A function of a test module in a process of its own, with simulated devices."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def call_on_devices(count: int, function: Callable[[Path], None], path: Path) -> None:
    """Calls function(path), of a test module, where there are `count` CPU devices; warnings are errors."""
    flags = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}
    code = (
        f"import jax, pathlib, {function.__module__} as t; assert jax.device_count() == {count}; "
        f"t.{function.__name__}(pathlib.Path({str(path)!r}))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    subprocess.run(command, cwd=Path(__file__).parents[1], env=os.environ | flags, check=True, timeout=300)
