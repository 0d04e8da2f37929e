"""Random transformations of single samples, seeded by the pipeline and not by themselves."""

import numpy as np


def is_mirrored(rng: np.random.Generator) -> bool:
    """Draws whether a sample is mirrored left to right, all frames of a video together: in half of the cases."""
    return rng.random() >= 0.5
