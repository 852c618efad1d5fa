"""Measures of a generator, as functions of features or images; `evaluate` runs them and gives each value its card."""

from jaxgan.metrics.card import Card
from jaxgan.metrics.context import Settings
from jaxgan.metrics.disequilibrium import disequilibrium
from jaxgan.metrics.evaluate import METRICS, check, evaluate
from jaxgan.metrics.fakes import Subject
from jaxgan.metrics.frechet import frechet_distance
from jaxgan.metrics.inception_score import inception_score
from jaxgan.metrics.kernel import kernel_distance
from jaxgan.metrics.ms_ssim import ms_ssim
from jaxgan.metrics.perceptual import perceptual_distance
from jaxgan.metrics.perceptual_path import perceptual_path_length
from jaxgan.metrics.precision_recall import density_coverage, nearest, precision_recall
from jaxgan.metrics.swd import images_distance as sliced_wasserstein

__all__ = [
    "METRICS",
    "Card",
    "Settings",
    "Subject",
    "check",
    "density_coverage",
    "disequilibrium",
    "evaluate",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "ms_ssim",
    "nearest",
    "perceptual_distance",
    "perceptual_path_length",
    "precision_recall",
    "sliced_wasserstein",
]
