"""How near reconstructions come to their images."""

import numpy as np

from jaxgan.features.networks import Network
from jaxgan.metrics.ms_ssim import ssim
from jaxgan.metrics.perceptual import perceptual_distance
from jaxgan.report import to_uint8


def quality(images: np.ndarray, results: np.ndarray, network: Network | None = None) -> dict[str, np.ndarray]:
    """{"MSE", "PSNR", "SSIM", and the network's distance}: [N] each.

    MSE is of numbers in [0, 1] after rounding to 8 bits, PSNR = -10 log10(MSE) in dB (infinite for equal images).

    Args:
        images, results: [N, H, W, C], uint8 or in [-1, 1].
        network: of the perceptual distance, not the one that was minimised; None leaves it out.
    """
    a, b = to_uint8(images), to_uint8(results)
    mse = np.square((a.astype(np.float64) - b) / 255.0).mean((1, 2, 3))
    with np.errstate(divide="ignore"):
        found = {"MSE": mse, "PSNR": -10.0 * np.log10(mse), "SSIM": np.asarray(ssim(a, b))}
    if network is not None:
        found[network_label(network.name)] = perceptual_distance(network, a, b)
    return found


def network_label(name: str) -> str:
    """A perceptual network's name in a table; a stand-in keeps its own."""
    kind, trunk = name.split("-")
    return f"{'ST-LPIPS' if kind == 'stlpips' else kind.upper()} {trunk.capitalize()}"
