"""The figures of two sets of features, whatever network they are of: FID's distance, IS, KID, precision, recall.

And of features of captions and of pictures: CLIPSIM, CLIP score.

Definitions are those of ADM's evaluator (arXiv 2105.05233) where it has one.  Everything is computed in float64 on the
host, in memory that does not grow with the number of samples but for the features themselves where pairs are compared.
"""

from ptdit_jax.metrics.classes import InceptionScore, softmax
from ptdit_jax.metrics.gaussian import Gaussian, Moments, frechet_distance
from ptdit_jax.metrics.kernel import kernel_distance
from ptdit_jax.metrics.manifold import precision_recall
from ptdit_jax.metrics.similarity import clip_score, clipsim

__all__ = [
    "Gaussian",
    "InceptionScore",
    "Moments",
    "clip_score",
    "clipsim",
    "frechet_distance",
    "kernel_distance",
    "precision_recall",
    "softmax",
]
