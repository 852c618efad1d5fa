"""What all tests share: one compilation cache for a session.

The tests that start processes (kill and resume, several processes, the command line) compile the same steps again and
again; the cache cuts that to once. It is a new folder for every session, not one that stays, for three reasons:

* A session then compiles everything it uses itself, as a fresh machine does, so no failure to compile and no slow
  compilation hides behind an earlier run.
* JAX does not write entries atomically and never replaces one. A process killed while writing, which some tests do on
  purpose, would leave an entry that every later session fails to read.
* The library's own default, a cache in the user's folder, is neither used nor filled by tests.

It is set through the environment, before anything imports jax, so that child processes share it; a folder set by the
caller is kept. Fast compilations are not worth a file.
"""

import atexit
import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest


def _remove(folder, owner):
    if os.getpid() == owner:  # not in a forked child, which inherits this on its way out
        shutil.rmtree(folder, ignore_errors=True)


if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxgan-test-cache-")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    atexit.register(_remove, os.environ["JAX_COMPILATION_CACHE_DIR"], os.getpid())

# Most of the time of a test is compilation, and no test is about what the slow passes of XLA do
# (JAX_DISABLE_MOST_OPTIMIZATIONS=0 runs them with those).
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# Decoded images and features of real images go to a folder of the session's own too.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="jaxgan-test-home-")
atexit.register(_remove, os.environ["XDG_CACHE_HOME"], os.getpid())


def pytest_configure(config):
    # An entry cut short by a kill (above) is compiled again with a warning, which would otherwise be an error here.
    config.addinivalue_line("filterwarnings", "ignore:Error reading persistent compilation cache entry:UserWarning")


# Linux gives a process 65,530 memory maps by default, and XLA:CPU takes several for every program it keeps, so a
# process that has run a hundred files of tests would crash in the compiler. Half of them is far from that.
MOST_MAPS = 30_000


@pytest.fixture(autouse=True, scope="module")
def _no_program_is_kept_forever():
    """Forgets compiled programs between files once the process holds many."""
    yield
    maps = 0
    with contextlib.suppress(OSError):  # not on this system
        maps = Path("/proc/self/maps").read_bytes().count(b"\n")
    if maps > MOST_MAPS:
        import jax

        jax.clear_caches()
