"""What do more devices say to each other, and do they learn the same?

python benchmarks/scaling.py [--config=quickstart --config.FIELD=...] [--devices=1,2,4,8] [--processes=2] [--steps=8]
    [--json=FILE]

On simulated devices of this machine, so that times mean nothing and are not given. For every number of devices twice:
"strong", the batch of the config split over them, and "weak", as many times that batch. With --processes also that many
processes with two devices each, on loopback. A row: losses after so many iterations, and of a plain iteration the
collectives in the compiled programs, their bytes on a device, and those bytes by image. The strong rows must have the
losses of one device: their largest difference is given.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import command
from jaxgan.cli import DEFINE_config, parse

ROOT = Path(__file__).resolve().parent.parent

FLAGS = flags.FlagValues()
DEFINE_config(FLAGS, "what to train; by default quickstart")
flags.DEFINE_list("devices", ["1", "2", "4", "8"], "numbers of simulated devices", flag_values=FLAGS)
flags.DEFINE_integer("processes", 2, "processes of two devices each, once more; 0: none", flag_values=FLAGS)
flags.DEFINE_integer("steps", 8, "iterations", flag_values=FLAGS)
flags.DEFINE_string("json", "", "a file for the result", flag_values=FLAGS)


def work(config_name: str, overrides: list[str], factor: int, steps: int, cluster: list[Any]) -> dict[str, Any]:
    """One process's part of a row."""
    from benchmarks.collectives import collectives, totals
    from jaxgan import config as configs
    from jaxgan import parallel
    from jaxgan.cli.train import complete
    from jaxgan.data.sources import open_images
    from jaxgan.training import growth
    from jaxgan.training.programs import fresh_state, schedule
    from jaxgan.training.stage import Stage, device_batches

    if cluster:
        parallel.start_processes(*cluster)

    import jax

    config = configs.load(config_name)
    configs.override(config, [*overrides, "steps_per_dispatch=1"])
    config.batch_size *= factor
    images = open_images(config.data.source, split=config.data.split)
    config = complete(config, images).to_dict()
    stage = Stage(config, images, growth.phases(config, sys.maxsize)[-1])
    stage.compile(0)
    state, losses = fresh_state(stage.gan, config, stage.place), []
    data = device_batches(config, images, stage.place)
    for step in range(steps):
        assert schedule(step, config)[2] == 1
        state, metrics = stage.programs.run(step, state, (next(data),))
        losses.append([float(metrics["G_loss"]), float(metrics["D_loss"])])
    data.close()
    found = [c for kind in "GD" for c in collectives(stage.programs.executable(kind, False))]
    return {
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "batch_size": config["batch_size"],
        "losses": losses,
        "collectives": totals(found),
        "bytes": sum(c.bytes for c in found),
    }


def run(values: Any, factor: int, devices: int, processes: int = 1) -> dict[str, Any]:
    """A row, from processes of its own."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices // processes}",
    }
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    children = []
    for i in range(processes):
        cluster = [address, processes, i] if processes > 1 else []
        asked = json.dumps([values.config or "quickstart", values.overrides, factor, values.steps, cluster])
        command = [sys.executable, str(Path(__file__).resolve()), "--worker", asked]
        children.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT))
    outputs = [child.communicate()[0] for child in children]
    if any(child.returncode for child in children):
        sys.exit(f"{processes} processes with {devices} devices failed; the error stands above")
    return json.loads(outputs[0].strip().splitlines()[-1])


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    head = ["scaling", "devices (processes)", "batch", "collectives of an iteration", "kB of them on a device"]
    head += ["kB by image", "last losses (G, D)", "largest difference from one device"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        said = ", ".join(f"{found['count']} {kind}" for kind, found in row["collectives"].items()) or "none"
        losses = ", ".join(f"{loss:.5f}" for loss in row["losses"][-1])
        kept = row["bytes"] * row["devices"] / row["batch_size"] / 1000
        lines.append(
            f"| {row['scaling']} | {row['devices']} ({row['processes']}) | {row['batch_size']} | {said} "
            f"| {row['bytes'] / 1000:.0f} | {kept:.1f} | {losses} "
            f"| {'' if row['difference'] is None else format(row['difference'], '.1e')} |"
        )
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Runs, prints, writes."""
    values = parse(FLAGS, argv)
    counts, rows = [int(n) for n in values.devices], []
    asked = [("strong", 1, n, 1) for n in counts] + [("weak", n, n, 1) for n in counts if n > 1]
    if values.processes:
        asked.append(("strong", 1, 2 * values.processes, values.processes))
    for scaling, factor, devices, processes in asked:
        row = {"scaling": scaling} | run(values, factor, devices, processes)
        reference = rows[0]["losses"] if rows else row["losses"]
        differences = [abs(a - b) for one, other in zip(row["losses"], reference) for a, b in zip(one, other)]
        row["difference"] = max(differences) if scaling == "strong" else None
        rows.append(row)
        print(table(rows[-1:]).splitlines()[-1], flush=True)
    print(table(rows))
    if values.json:
        Path(values.json).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        print(json.dumps(work(*json.loads(sys.argv[2]))))
    else:
        command.run(main, FLAGS, __doc__)
