"""The figures of two sets of features, whatever network they are of: FID's distance, IS, KID, precision, recall.

Definitions are those of ADM's evaluator (arXiv 2105.05233) where it has one.  Everything is computed in float64 on the
host, in memory that does not grow with the number of samples but for the features themselves where pairs are compared.
"""

from ptdit_jax.metrics.classes import InceptionScore
from ptdit_jax.metrics.gaussian import Gaussian, Moments, frechet_distance
from ptdit_jax.metrics.kernel import kernel_distance
from ptdit_jax.metrics.manifold import precision_recall

__all__ = [
    "Gaussian",
    "InceptionScore",
    "Moments",
    "frechet_distance",
    "kernel_distance",
    "precision_recall",
]
