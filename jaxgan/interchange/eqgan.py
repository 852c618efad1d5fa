"""EqGAN-SA's pickles (genforce): StyleGAN2-ADA-PyTorch's layout, its generator led by heatmaps."""

import re
from pathlib import Path
from typing import Any

from jaxgan.interchange import nvidia
from jaxgan.interchange.imported import Imported
from jaxgan.interchange.official import OFFICIAL

NAME = "eqgan"
# (ours, the file's): two convolutions of the heatmaps at each of three levels; and before each modulated convolution a
# spatial encoding layer: features of the heatmaps (shared), scale and shift (sigma, mu), what is made of that (output).
_NAMES = (
    (r"^heatmaps\.level(\d)_conv(\d)\.", lambda m: f"synthesis.hm_conv{m[2]}_b{8 << int(m[1])}."),
    (r"\.(conv0|conv1|torgb)_sel\.shared\.", r".\1.sel.shared.0."),
    (r"\.(conv0|conv1|torgb)_sel\.output\.", r".\1.sel.output.1."),
    (r"\.(conv0|conv1|torgb)_sel\.", r".\1.sel."),
)


def file_name(official: str) -> str:
    """What a file calls a tensor that is here by its path, joined by dots."""
    for ours, theirs in _NAMES:
        official = re.sub(ours, theirs, official)
    return official


LAYOUT = OFFICIAL._replace(name=file_name)


def recognises(tree: Any) -> bool:
    """Whether what a file holds is a snapshot whose generator takes heatmaps."""
    if not nvidia.recognises(tree):
        return False
    found = nvidia.networks(tree)
    return any(
        name.startswith("synthesis.hm_conv")
        for name in nvidia.tensors(found["G_ema"] if "G_ema" in found else found["G"])
    )


def read(tree: Any, path: str | Path) -> Imported:
    """The networks of a file that `recognises` accepts.

    Raises:
        UserError: a tensor is missing, left over, or of another shape.
    """
    return nvidia.read(tree, path, NAME, LAYOUT)
