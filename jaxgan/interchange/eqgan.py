"""EqGAN-SA's pickles (genforce): StyleGAN2-ADA-PyTorch's layout, its generator led by heatmaps.

The network does not exist here yet. What its file adds to StyleGAN2's names is written down in `ADDED`, so that a file
is known for what it is.
"""

import re
from pathlib import Path
from typing import Any, NoReturn

from jaxgan.errors import UserError
from jaxgan.interchange import nvidia

NAME = "eqgan"
# Two convolutions of the heatmaps at each of three levels; and before each modulated convolution a spatial encoding
# layer: features of the heatmaps (shared), their scale and shift (sigma, mu), the convolution of the result (output).
ADDED = {
    "heatmap convolution": r"synthesis\.hm_conv[01]_b(8|16|32)\.(weight|bias)",
    "spatial encoding": r"synthesis\.b\d+\.(conv0|conv1|torgb)\.sel\.(shared\.0|sigma|mu|output\.1)\.(weight|bias)",
}


def recognises(tree: Any) -> bool:
    """Whether what a file holds is a snapshot whose generator takes heatmaps."""
    return nvidia.recognises(tree) and bool(added(tree)["heatmap convolution"])


def added(tree: Any) -> dict[str, list[str]]:
    """Names of the generator's tensors that StyleGAN2 does not have, by what they are of."""
    found = nvidia.networks(tree)
    names = nvidia.tensors(found["G_ema"] if "G_ema" in found else found["G"])
    return {what: [name for name in names if re.fullmatch(pattern, name)] for what, pattern in ADDED.items()}


def read(tree: Any, path: str | Path) -> NoReturn:
    """Raises UserError: the network is not here yet, and without its added layers the rest draws other pictures."""
    counts = " and ".join(f"{len(names)} {what}" for what, names in added(tree).items())
    raise UserError(
        f"{path} is an EqGAN-SA generator ({counts} tensors), a network that this version does not have; its StyleGAN2 "
        "part alone would draw other pictures, so give a StyleGAN2 file"
    )
