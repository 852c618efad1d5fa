"""What a reader of another program's file hands over: numbers under this library's names, and an account of them."""

import dataclasses
from typing import Any

import numpy as np
from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class Account:
    """What became of a file's tensors.

    Attributes:
        read: name in the file -> name here, for every tensor that was used.
        unused: names in the file that nothing here corresponds to, with the reason.
        made_up: names here that the file does not hold, with what stands there instead.
    """

    read: dict[str, str]
    unused: dict[str, str]
    made_up: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Imported:
    """A model out of another program's file.

    Attributes:
        format: such as "nvidia".
        config: a whole experiment (`jaxgan.config.complete` has filled it in) from which training goes on.
        ema: variables {"params", "buffers"} of the averaged generator, NumPy, under this library's names.
        raw: the same of the generator that was trained, or None.
        discriminator: its variables, or None.
        w_avg: [w_dim]; zeros where the architecture has none.
        level: of a growing architecture, else None.
        images_seen: by the discriminator, 0 where the file does not say.
        account: of all tensors.
    """

    format: str
    config: ConfigDict
    ema: dict[str, Any]
    raw: dict[str, Any] | None
    discriminator: dict[str, Any] | None
    w_avg: np.ndarray
    level: int | None
    images_seen: int
    account: Account
