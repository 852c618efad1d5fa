"""Pictures of any size: as good as those of the training size, seamless, without a hidden period? And how fast?

python benchmarks/any_size.py --run=runs/land_spatial [--data=data/land5k] [--num=2000] [--size=512x512] --out=DIR
    [--versus=runs/land_stylegan2] [--pictures=data/land256]
python benchmarks/any_size.py --forward=zoo:fashion-stylegan2 --out=DIR
python benchmarks/any_size.py --config=paper256 --side=256 --out=DIR      # of random weights
python benchmarks/any_size.py --config=paper256 --topology=v5e:2x4 --out=DIR   # what a TPU's compiler says, without one

Printed: FD and KD, on EfficientNet-Lite0 features, of generated images of the training size, and of as many random
crops of pictures of --size; the same of --versus, a generator of vectors; the largest difference between a tile and the
whole picture; how much of the power along x and along y stands at periods of a base cell and its halves, against the
neighbouring frequencies (1: no period), mean and range over eight pictures of 512x512, and of real --pictures as they
are; megapixels a second for several sizes. With --forward=RUN or --config: seconds of a forward pass of a StyleGAN2 on
vectors, and on maps of its ws, in alternating rounds. With --topology too nothing runs: FLOPs and bytes of the program
for a chip of it, and the time that the longer of them takes at the chip's peaks (needs `pip install -e '.[tpu]'`).
"""

import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from ml_collections import ConfigDict

from benchmarks import chips, command
from benchmarks.aot_tpu import ENVIRONMENT
from benchmarks.chips import CHIPS
from benchmarks.train_step import spread
from benchmarks.untrained import untrained
from jaxgan import compiler
from jaxgan import config as configs
from jaxgan.cli import DEFINE_config, enable_compilation_cache, parse
from jaxgan.cli.evaluate import open_reals
from jaxgan.cli.sample import parse_size
from jaxgan.data.progress import progress_bar
from jaxgan.errors import UserError
from jaxgan.experiment import Model, load, seeds_to_keys
from jaxgan.features.extract import features
from jaxgan.features.networks import load as load_network
from jaxgan.latent import canvas, maps
from jaxgan.metrics.fakes import quantised
from jaxgan.metrics.frechet import distance, moments
from jaxgan.metrics.kernel import kernel_distance
from jaxgan.metrics.reals import Reals
from jaxgan.networks.build import build, init
from jaxgan.networks.gan import call, draw_z
from jaxgan.report import image_grid, save_png, write_atomic

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", "", "a run directory or zoo:NAME of a generator of maps", flag_values=FLAGS)
flags.DEFINE_string("versus", "", "a generator of vectors, to compare with", flag_values=FLAGS)
flags.DEFINE_string("forward", "", "a StyleGAN2 whose forward pass is timed on vectors and on maps", flag_values=FLAGS)
DEFINE_config(FLAGS, "instead of --forward: whose generator, of random weights")
flags.DEFINE_integer("side", 256, "of the images of --config", flag_values=FLAGS)
flags.DEFINE_string("topology", "", "compile for a chip of this TPU slice, which need not be here", flag_values=FLAGS)
flags.DEFINE_string("data", "", "the real images; by default those of training", flag_values=FLAGS)
flags.DEFINE_string("pictures", "", "larger real ones, whose spectrum is looked at too", flag_values=FLAGS)
flags.DEFINE_integer("num", 2000, "images measured", flag_values=FLAGS)
flags.DEFINE_string("size", "512x512", "of the pictures that crops are taken from", flag_values=FLAGS)
flags.DEFINE_list("sizes", ["256x256", "1024x256", "1024x1024"], "that are timed", flag_values=FLAGS)
flags.DEFINE_string("out", None, "a folder for JSON and pictures", required=True, flag_values=FLAGS)

_BATCH = 64
_ROUNDS = 5
_FORWARD = 16  # images of a forward pass that is timed
_GRID = (8, 8)  # cells of its maps
_LEAST = {"exec_time_optimization_effort": -1.0, "memory_fitting_effort": -1.0}  # seconds instead of minutes
_PICTURES = 8  # whose spectrum is looked at


class Meter:
    """FD and KD against the reals."""

    def __init__(self, source: str):
        self.network = load_network("lite0")
        with progress_bar("features of reals") as bar:
            self.reals = Reals(open_reals(source, "train"), self.network, _BATCH, progress=lambda _, a, b: bar(a, b))
            self.moments, self.features = self.reals.moments, self.reals.features

    def __call__(self, images: np.ndarray) -> dict[str, float]:
        """Of uint8 images."""
        shown = features(self.network, images)[self.network.pooled]
        return {
            "FD-lite0": distance(moments(shown), self.moments),
            "KD-lite0": kernel_distance(shown, self.features, subsets=20)[0],
        }


def samples(model: Model, count: int) -> np.ndarray:
    """uint8 images of random latents and noise, as training makes them."""
    generator, variables = model.gan.generator, model.variables["generator"]

    @jax.jit
    def make(key: jax.Array) -> jax.Array:
        z_key, noise_key = jax.random.split(key)
        ws = call(generator, variables, draw_z(generator, z_key, _BATCH), method="map")
        return quantised(call(generator, variables, ws, noise_key, method="synthesize"))

    keys = jax.random.split(jax.random.key(0), -(-count // _BATCH))
    return np.concatenate([np.asarray(make(key)) for key in keys])[:count]


def picture(model: Model, seed: int, size: tuple[int, int], **more: Any) -> np.ndarray:
    """A picture of a size."""
    key = seeds_to_keys([seed])[0]
    return canvas.paint(model.gan.generator, model.variables["generator"], key, size, w_avg=model.w_avg, **more)


def crops(model: Model, size: tuple[int, int], count: int) -> np.ndarray:
    """Random crops of the training size, sixteen a picture."""
    height, width, _ = model.gan.generator.image_shape
    rng, found = np.random.default_rng(0), []
    for seed in range(-(-count // 16)):
        whole = picture(model, 100 + seed, size)
        for _ in range(16):
            top, left = rng.integers(0, size[0] - height + 1), rng.integers(0, size[1] - width + 1)
            found.append(whole[top : top + height, left : left + width])
    return np.stack(found)[:count]


def seam(model: Model, size: tuple[int, int]) -> float:
    """The largest difference, in [-1, 1], between tiles and the whole."""
    generator, variables = model.gan.generator, model.variables["generator"]
    cell = generator.resolution // 4
    rows, columns = size[0] // cell, size[1] // cell
    key = seeds_to_keys([0])[0]
    origin = jnp.zeros((1, 2), jnp.int32)
    whole = np.asarray(canvas.tiles(generator.clone(base_shape=(rows, columns)), variables, key, origin))[0]
    half = generator.clone(base_shape=(rows // 2, columns // 2))
    places = jnp.asarray([[r, c] for r in (0, rows // 2) for c in (0, columns // 2)], jnp.int32)
    parts = np.asarray(canvas.tiles(half, variables, key, places)).reshape(2, 2, *half.image_shape)
    joined = np.concatenate([np.concatenate(list(row), axis=1) for row in parts])
    return float(np.abs(joined - whole).max())


def periods(images: Sequence[np.ndarray], cell: int) -> dict[str, dict[str, float]]:
    """Power at the frequency of a period over that of its neighbours, over images, by axis and period."""
    found: dict[str, list[float]] = {}
    for image in images:
        grey = image.astype(np.float64).mean(-1)
        grey -= grey.mean()
        for axis in (0, 1):
            window = np.hanning(grey.shape[axis]).reshape(-1, *(1,) * (1 - axis))
            power = np.square(np.abs(np.fft.rfft(grey * window, axis=axis)))
            line = power.mean(1 - axis)
            period = cell
            while period >= 2:
                at = round(grey.shape[axis] / period)
                near = np.r_[line[max(at - 6, 1) : at - 1], line[at + 2 : at + 7]]
                found.setdefault(f"{period} px along {'yx'[axis]}", []).append(float(line[at] / near.mean()))
                period //= 2
    return {name: {"mean": float(np.mean(v)), "min": min(v), "max": max(v)} for name, v in found.items()}


def speed(model: Model, size: tuple[int, int]) -> dict[str, float]:
    """Megapixels a second, after a first run that compiles."""
    picture(model, 0, size)
    spent = []
    for _ in range(3):
        began = time.perf_counter()
        picture(model, 1, size)
        spent.append(time.perf_counter() - began)
    pixels = size[0] * size[1] / 1e6
    return {
        "megapixels/s": pixels / statistics.median(spent),
        "slowest": pixels / max(spent),
        "fastest": pixels / min(spent),
    }


def forward_programs(generator: Any, variables: Any, vectors: Any, maps_of: Any) -> dict[str, tuple[Any, Any]]:
    """{kind of ws: (lowered forward pass, the ws it was lowered for)}; arrays, or shapes on devices."""
    rules = {
        "vectors": (generator, vectors),
        "maps": (generator, maps_of),
        "maps, window": (generator.clone(demodulation="window"), maps_of),
    }
    return {
        name: (jax.jit(lambda v, ws, g=g: call(g, v, ws, method="synthesize")).lower(variables, given), given)
        for name, (g, given) in rules.items()
    }


def ahead_of_time(config: ConfigDict, side: int, topology: str) -> dict[str, dict[str, float]]:
    """What a TPU's compiler says of a forward pass by kind of ws: TFLOP, GB, and milliseconds at a chip's peaks."""
    jax.config.update("jax_platforms", "cpu")
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    (device, *_) = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    place, chip = SingleDeviceSharding(device), CHIPS[device.device_kind]
    config = configs.resolve(config, num_images=1, image_shape=(side, side, 3), num_classes=0, devices=1, backend="tpu")
    gan = build(config.model.to_dict())
    generator, found = gan.generator, {}

    def there(tree: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)

    variables = there(jax.eval_shape(lambda: init(gan, jax.random.key(0))[0]))
    shape = (_FORWARD, generator.num_ws)
    vectors, of_maps = (
        jax.ShapeDtypeStruct((*shape, *grid, generator.w_dim), jnp.float32, sharding=place) for grid in ((), _GRID)
    )
    with compiler.compiling_for("tpu"):
        for name, (program, _) in forward_programs(generator, variables, vectors, of_maps).items():
            cost = program.compile(compiler_options=_LEAST).cost_analysis()
            seconds = max(cost["flops"] / chip.bf16, cost["bytes accessed"] / chip.bandwidth)
            row = {"TFLOP": cost["flops"] / 1e12, "GB": cost["bytes accessed"] / 1e9, "ms at the peaks": 1e3 * seconds}
            found[name] = row
            print(name, row, flush=True)
    return found


def forward(model: Model) -> dict[str, Any]:
    """Seconds of a batch of images by kind of ws, in alternating rounds."""
    generator, variables = model.gan.generator, model.variables["generator"]
    z = jax.random.normal(jax.random.key(0), (_FORWARD, generator.z_dim))
    ws = call(generator, variables, z, method="map")
    lowered = forward_programs(generator, variables, ws, maps.resized(ws, _GRID) + 0.0)
    programs = {name: program.compile() for name, (program, _) in lowered.items()}
    kinds = {name: given for name, (_, given) in lowered.items()}
    spent: dict[str, list[float]] = {name: [] for name in kinds}
    for round_ in range(_ROUNDS + 1):
        for name, program in programs.items():
            began = time.perf_counter()
            jax.block_until_ready(program(variables, kinds[name]))
            if round_:
                spent[name].append(time.perf_counter() - began)
    return {name: spread(times) for name, times in spent.items()}


def open_forward(values: flags.FlagValues) -> Model:
    """The model of --forward, or of --config with random weights."""
    if values.forward:
        return load(values.forward)
    return untrained(config_of(values), (values.side, values.side, 3))


def config_of(values: flags.FlagValues) -> ConfigDict:
    """--config, with what the flags change."""
    config = configs.load(values.config)
    configs.override(config, values.overrides)
    return config


def main(argv: list[str]) -> None:
    """Measures, prints, writes."""
    values = parse(FLAGS, argv)
    if values.topology and not values.config:
        raise UserError("--topology compiles a generator of random weights; give its --config, such as paper256")
    enable_compilation_cache()
    out = Path(values.out)
    result: dict[str, Any] = {} if values.topology else {"device": chips.device()}
    if values.forward or values.config:
        what = f"forward of {values.forward or f'{values.config} at {values.side} px'}, {_FORWARD} images"
        if values.topology:
            result["compiled for"] = f"a chip of {values.topology}"
            result[what] = ahead_of_time(config_of(values), values.side, values.topology)
        else:
            result[f"{what}, s"] = forward(open_forward(values))
        print(json.dumps(result, indent=1))
    if values.run:
        model, size = load(values.run), parse_size(values.size)
        canvas.check(model.gan.generator, size)
        meter = Meter(values.data or model.config.data.source)
        result |= {"run": values.run, "images seen": model.images_seen, "num": values.num, "size": values.size}
        result["training size"] = meter(samples(model, values.num))
        print(result["training size"])
        result[f"crops of {values.size}"] = meter(crops(model, size, values.num))
        print(result[f"crops of {values.size}"])
        if values.versus:
            other = load(values.versus)
            result["vectors"] = meter(samples(other, values.num)) | {"images seen": other.images_seen}
            print(result["vectors"])
        result["largest difference between tiles and whole"] = seam(model, (256, 256))
        large = [picture(model, seed, (512, 512)) for seed in range(_PICTURES)]
        cell = model.gan.generator.resolution // 4
        result["power at a period over its neighbours"] = periods(large, cell)
        if values.pictures:
            real = open_reals(values.pictures, "train")
            result["of real pictures"] = periods(real.gather(np.arange(min(_PICTURES, len(real)))), cell)
        result["speed"] = {text: speed(model, parse_size(text)) for text in values.sizes}
        save_png(out / "pictures.png", image_grid(np.stack(large[:4]), columns=2))
        print(json.dumps(result, indent=1))
    write_atomic(out / "any_size.json", (json.dumps(result, indent=1) + "\n").encode())


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
