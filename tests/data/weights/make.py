"""Makes the two files beside it, with torch: one state dict in torch's zip layout and in its older stream layout.

python make.py
"""

from collections import OrderedDict
from pathlib import Path

import torch

shared = torch.arange(12, dtype=torch.float32)
STATE = OrderedDict(
    [
        ("conv.weight", torch.nn.Parameter(torch.arange(24, dtype=torch.float32).reshape(2, 3, 2, 2) / 7)),
        ("transposed", torch.arange(6, dtype=torch.float64).reshape(2, 3).T),
        ("shared.first", shared[:5]),
        ("shared.rest", shared[5:].reshape(7, 1)),
        ("half", torch.tensor([1.5, -2.25], dtype=torch.float16)),
        ("brain", torch.tensor([1.5, -2.25], dtype=torch.bfloat16)),
        ("count", torch.tensor(7)),
        ("mask", torch.tensor([True, False])),
        ("empty", torch.zeros(0, 4)),
    ]
)

if __name__ == "__main__":
    here = Path(__file__).parent
    torch.save({"state_dict": STATE, "epoch": 3}, here / "zip_layout.pth")
    torch.save({"state_dict": STATE, "epoch": 3}, here / "stream_layout.pth", _use_new_zipfile_serialization=False)
