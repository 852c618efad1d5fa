"""Starts the explorer: a web page to browse a generator with the mouse.

jaxgan explore --run=zoo:fashion-eqgan [--port=8000]

Sample, mix and walk; drag the heatmaps of an EqGAN; bring a photograph; paint; move along directions; export. Works
without a display and without the internet. Only this machine can reach it unless --host says otherwise.
"""

import urllib.parse

import jax
from absl import flags

from jaxgan import zoo
from jaxgan.errors import UserError
from jaxgan.experiment import Model, load

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", None, "a run directory, zoo:NAME or a file", required=True, flag_values=FLAGS)
flags.DEFINE_integer("port", 8000, "of the server", lower_bound=0, upper_bound=65535, flag_values=FLAGS)
flags.DEFINE_string("host", "127.0.0.1", "0.0.0.0 for other machines too; then give --token", flag_values=FLAGS)
flags.DEFINE_list("allow_host", [], "names by which browsers call it, or * for any", flag_values=FLAGS)
flags.DEFINE_string("token", "", "that browsers must bring, as /?token=...", flag_values=FLAGS)
flags.DEFINE_list("directions", [], ".npy files of directions of w, as sliders", flag_values=FLAGS)
flags.DEFINE_integer("batch", 8, "pictures a call at most, of all users", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_float("idle", 900.0, "seconds after which a silent page is closed", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_enum("weights", None, ["ema", "raw"], "averaged (default) or raw generator", flag_values=FLAGS)

_LOCAL = ("127.0.0.1", "localhost", "::1")


def run(values: flags.FlagValues) -> None:
    """Checks, loads, compiles, serves until Ctrl-C."""
    try:
        import websockets  # noqa: F401  # what uvicorn speaks to browsers with

        from jaxgan.explorer.serve import make_server
        from jaxgan.explorer.server import make_app
    except ModuleNotFoundError as error:
        raise UserError(f"the explorer needs {error.name}; `pip install jaxgan[explorer]`") from error
    if values.batch & (values.batch - 1):
        raise UserError(f"--batch={values.batch} is no power of two; use 1, 2, 4, 8 and so on")
    if values.token and not values.token.isascii():
        raise UserError("--token has letters that no address has; use ASCII")
    explorer = make(values)
    app = make_app(explorer, token=values.token, hosts=[*values.allow_host, *_own_name(values.host)])
    server = make_server(app, values.host, values.port, lambda port: _announce(values, port))
    server.run()
    if not server.started:
        raise UserError(f"--port={values.port} on --host={values.host} cannot be used; choose another")


def _announce(values: flags.FlagValues, port: int) -> None:
    """Where the page is."""
    shown = "localhost" if values.host in (*_LOCAL, "0.0.0.0") else values.host
    shown = f"[{shown}]" if ":" in shown else shown
    query = f"?token={urllib.parse.quote(values.token, safe='')}" if values.token else ""
    print(f"{values.run} is ready: http://{shown}:{port}/{query}  (Ctrl-C ends it)", flush=True)
    if values.host in ("0.0.0.0", "::") and not values.allow_host:
        print("browsers elsewhere are refused until --allow_host says by which name they call this machine", flush=True)
    if values.host not in _LOCAL and not values.token:
        print("anybody who reaches this machine can use it: --token=... asks for a word", flush=True)


def make(values: flags.FlagValues):
    """The explorer of a model, compiled."""
    from jaxgan.explorer.directions import find
    from jaxgan.explorer.renderer import Renderer
    from jaxgan.explorer.server import Explorer

    model = load(values.run, values.weights)
    directions = find(model, values.directions)
    renderer = Renderer(model, directions, values.batch)
    print(f"{model}: {len(directions)} directions; compiling for up to {values.batch} pictures a call", flush=True)
    renderer.warm()
    about = {
        "name": values.run.removeprefix(zoo.PREFIX),
        "about": _words(model),
        "directions": [{"name": name, "about": d.about} for name, d in directions.items()],
    }
    return Explorer(renderer, about, values.idle)


def _words(model: Model) -> str:
    """What a visitor is told of a model."""
    height, width, _ = model.gan.generator.image_shape
    classes = model.gan.generator.num_classes
    what = f"{model.config.model.architecture} of {width}x{height}" + (f" and {classes} classes" if classes else "")
    devices = jax.devices()
    return f"{what}, {model.images_seen:,} images seen, on {len(devices)} x {devices[0].device_kind}"


def _own_name(host: str) -> list[str]:
    return [] if host in (*_LOCAL, "0.0.0.0", "::") else [f"[{host}]" if ":" in host else host]
