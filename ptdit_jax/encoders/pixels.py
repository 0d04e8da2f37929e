"""Pixels on both sides of the network that is trained, and what they are as moments where there is no autoencoder."""

import numpy as np

LOG_VARIANCE = -30.0  # of what has none: the least that is drawn from


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Pixels as pictures hold them: [-1, 1] to 0..255, rounded, what is outside cut; in float32.

    In bfloat16 the same would make every value above 128 even.

    Args:
      pixels: any shape and floating-point dtype.
    """
    values = (np.clip(np.asarray(pixels, np.float32), -1, 1) + 1) / 2
    return np.clip(values * 255 + 0.5, 0, 255).astype(np.uint8)


def from_uint8(pixels: np.ndarray) -> np.ndarray:
    """0..255 to [-1, 1], float32."""
    return np.asarray(pixels, np.float32) / 127.5 - 1
