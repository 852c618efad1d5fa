"""The launch files of docs/pods.md: their syntax, and that the command takes what they give it."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from jaxgan import config as configs
from jaxgan.cli import parse, train

TEXT = (Path(__file__).parents[1] / "docs" / "pods.md").read_text()
SCRIPTS = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
MANIFESTS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]


def pod(manifest):
    (group,) = manifest["spec"]["replicatedJobs"]
    return group["name"], group["template"]["spec"], group["template"]["spec"]["template"]["spec"]["containers"][0]


def commands():
    for script in SCRIPTS:
        yield script[script.index("jaxgan train") :].split("\ncode=")[0].replace("\\\n", " ")
    for manifest in MANIFESTS:
        container = pod(manifest)[2]
        yield shlex.join(container["command"]) if "args" not in container else container["args"][0]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_bash(script):
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("command", list(commands()))
def test_the_command_takes_its_flags(command):
    words = shlex.split(command.replace("$JOB_COMPLETION_INDEX", "3"))
    values = parse(train.FLAGS, words[words.index("train") :])
    config = train.read(values.config, values.overrides, values.workdir)
    config.data.source = "fashion"
    resolved = configs.resolve(
        config, num_images=70_000, image_shape=(256, 256, 3), num_classes=0, devices=32, backend="gpu"
    )
    configs.check(resolved.to_dict(), devices=32)
    assert bool(values.coordinator) == (values.process_id == 3)


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_pods_are_as_many_as_processes(manifest):
    group, job, container = pod(manifest)
    assert job["parallelism"] == job["completions"]
    said = re.search(r"--coordinator=(\S+):\d+ --num_processes=(\d+)", " ".join(container.get("args", [])))
    if said:
        assert int(said[2]) == job["completions"]
        assert said[1] == f"{manifest['metadata']['name']}-{group}-0-0.{manifest['metadata']['name']}"
        assert job["completionMode"] == "Indexed"
    else:
        height, width = map(int, pod_topology(job).split("x"))
        assert job["completions"] * container["resources"]["limits"]["google.com/tpu"] == height * width


def pod_topology(job):
    return job["template"]["spec"]["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
