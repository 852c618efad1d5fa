"""What is read out of a program's HLO."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.collectives import Collective, collectives, totals

ROOT = Path(__file__).parents[2]

HLO = """
  %add.1 = f32[8]{0} add(f32[8]{0} %a, f32[8]{0} %b)
  %all-reduce.3 = (f32[512,512]{1,0:T(8,128)S(1)}, bf16[3]{0}) all-reduce(%x, %y), replica_groups={{0,1}}
  %all-gather-start.1 = (f32[4,16]{1,0}, f32[8,16]{1,0}) all-gather-start(f32[4,16]{1,0} %z), dimensions={0}
  %all-gather-done.1 = f32[8,16]{1,0} all-gather-done(%all-gather-start.1)
  ROOT %collective-permute.2 = u8[7]{0} collective-permute(%w), source_target_pairs={{0,1}}
  %fusion.9 = f32[2]{0} fusion(%all-reduce.3), calls=%all-reduce-scatter.1
"""


def test_kinds_shapes_and_bytes():
    found = collectives(HLO)
    assert found == [
        Collective("all-reduce", (("f32[512,512]", 512 * 512 * 4), ("bf16[3]", 6))),
        Collective("all-gather", (("f32[8,16]", 512),)),
        Collective("collective-permute", (("u8[7]", 7),)),
    ]
    assert totals(found)["all-reduce"] == {"count": 1, "bytes": 512 * 512 * 4 + 6, "largest": 512 * 512 * 4 + 6}


PROGRAM = """
import jax, jax.numpy as jnp
from benchmarks.collectives import collectives
from jaxgan import parallel
mesh = parallel.make_mesh()
x = jax.ShapeDtypeStruct((64, 5), jnp.float32, sharding=parallel.by_batch(mesh))
total = jax.jit(lambda x: jnp.sum(x, 0), out_shardings=parallel.replicated(mesh))
print([tuple(found) for found in collectives(total.lower(x).compile())])
"""


def test_of_a_compiled_program():
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[('all-reduce', (('f32[5]', 20),))]", done.stderr
