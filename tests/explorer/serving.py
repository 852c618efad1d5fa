"""A tiny model's explorer behind a real server, and a client of it."""

import contextlib
import json
import queue
import struct
import threading

import jax
import jax.numpy as jnp
from websockets.sync.client import connect

from jaxgan.experiment import Model
from jaxgan.explorer.directions import find
from jaxgan.explorer.renderer import Renderer
from jaxgan.explorer.serve import make_server
from jaxgan.explorer.server import Explorer, make_app
from tests import tiny


def make_model(**changes):
    """An untrained StyleGAN2 of 16 px."""
    config = tiny.config(*[f"model.{k}={v}" for k, v in changes.items()], image_shape=(16, 16, 3))
    gan, generator, discriminator = tiny.gan_and_variables(config.model.to_dict())
    variables = jax.tree.map(jnp.asarray, {"generator": generator, "discriminator": discriminator})
    return Model(gan, config, variables, jnp.zeros(gan.generator.w_dim), 0)


def make_explorer(model=None, renderer=None, idle=60.0):
    """Of a model, or of a renderer that there is: an explorer has one server in its life."""
    if renderer is not None:
        return Explorer(renderer, {"name": "tiny", "about": "tiny", "directions": []}, idle)
    directions = find(model)
    about = {
        "name": "tiny",
        "about": "tiny",
        "directions": [{"name": n, "about": d.about} for n, d in directions.items()],
    }
    return Explorer(Renderer(model, directions, batch=4), about, idle)


@contextlib.contextmanager
def serving(explorer, **how):
    """The port of a server in a thread."""
    ports = queue.Queue()
    server = make_server(make_app(explorer, **how), "127.0.0.1", 0, ports.put)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield ports.get(timeout=30)
    finally:
        server.should_exit = True
        thread.join(30)


def parts(data):
    """(header, bytes) of what a server sends."""
    (size,) = struct.unpack("<I", data[:4])
    return json.loads(data[4 : 4 + size]), data[4 + size :]


class Client:
    """Asks and waits."""

    def __init__(self, port, **more):
        self._opened = connect(f"ws://127.0.0.1:{port}/socket", max_size=None, **more)
        self.socket = self._opened.__enter__()
        self.hello, _ = parts(self.socket.recv(timeout=30))
        self.number = 0

    def send(self, message):
        self.number += 1
        self.socket.send(json.dumps(message | {"id": self.number}))
        return self.number

    def next(self, number, timeout=20):
        """The next answer to a message, of those that are not news."""
        while True:
            header, data = parts(self.socket.recv(timeout=timeout))
            if header.get("id") == number and header["type"] != "news":
                return header, data

    def ask(self, message, timeout=20):
        return self.next(self.send(message), timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Says farewell."""
        self._opened.__exit__(None, None, None)
