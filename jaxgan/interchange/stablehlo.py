"""A generator as one StableHLO program with its weights inside, which runs wherever JAX does, without this library.

`jax.export.deserialize(open("NAME.stablehlo", "rb").read()).call(z, ...)` runs it; what it takes and gives is written
beside it, in NAME.stablehlo.json. It is made for CPU, NVIDIA GPU and TPU at once, and for batches of any size.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from jaxgan.errors import UserError
from jaxgan.networks.gan import call, truncate, z_shape
from jaxgan.report import write_atomic

SUFFIX = ".stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")


def write(model: Any, path: str | Path) -> None:
    """Writes the generator of a `jaxgan.experiment.Model`, with constant noise.

    Its inputs, in order: z [batch, z_dim]; where there are classes labels [batch], int32; where truncation changes
    something truncation_psi, a scalar. Its output: images [batch, H, W, channels] in about [-1, 1].

    Raises:
        UserError: the package that writes such files is missing, or the files cannot be written.
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise UserError("--format=stablehlo needs the package flatbuffers; `pip install jaxgan[stablehlo]`")
    generator, variables, w_avg = model.gan.generator, model.variables["generator"], model.w_avg
    names = ["z"]
    names += ["labels"] if generator.num_classes else []
    names += ["truncation_psi"] if getattr(generator, "truncatable", True) else []

    def program(*values: jax.Array) -> jax.Array:
        given = dict(zip(names, values))
        ws = call(generator, variables, given["z"], given.get("labels"), method="map")
        if "truncation_psi" in given:
            ws = truncate(generator, w_avg, ws, given["truncation_psi"])
        return call(generator, variables, ws, "const", method="synthesize")

    (batch,) = export.symbolic_shape("batch")
    shapes = {
        "z": jax.ShapeDtypeStruct((batch, *z_shape(generator)), jnp.float32),
        "labels": jax.ShapeDtypeStruct((batch,), jnp.int32),
        "truncation_psi": jax.ShapeDtypeStruct((), jnp.float32),
    }
    exported = export.export(jax.jit(program), platforms=PLATFORMS)(*(shapes[name] for name in names))
    signature = {
        "inputs": [_described(name, aval) for name, aval in zip(names, exported.in_avals)],
        "outputs": [_described("images", exported.out_avals[0])],
        "platforms": PLATFORMS,
        "noise": "const",
        "weights": model.weights,
        "images_seen": model.images_seen,
        "model": model.config.model.to_dict(),
        "jax": jax.__version__,
    }
    path = Path(path)
    try:
        write_atomic(path, exported.serialize())
        write_atomic(path.with_name(f"{path.name}.json"), f"{json.dumps(signature, indent=2)}\n".encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another --out") from error


def _described(name: str, aval: Any) -> dict[str, Any]:
    shape = [n if isinstance(n, int) else str(n) for n in aval.shape]
    return {"name": name, "shape": shape, "dtype": aval.dtype.name}
