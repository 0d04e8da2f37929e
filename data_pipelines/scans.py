"""The real digits that scikit-learn ships, which every embedded source of digits shows."""

import numpy as np
from scipy import ndimage
from sklearn.datasets import load_digits

DIGIT_SIDE = 8  # rows and columns of a scan
DIGIT_CLASSES = 10


def digit_scans() -> tuple[np.ndarray, np.ndarray]:
    """Returns the 1,797 digits scikit-learn ships: x (N, 8, 8) float32 in [-1, 1], label (N,) int32.

    They are the test part of UCI's "Optical Recognition of Handwritten Digits": black-and-white scans of
    32x32, their black pixels counted, 0..16, in blocks of 4x4.
    """
    scans, labels = load_digits(return_X_y=True)
    return scans.reshape(-1, DIGIT_SIDE, DIGIT_SIDE).astype(np.float32) / 8 - 1, labels.astype(np.int32)


def enlarged(scans: np.ndarray, side: int) -> np.ndarray:
    """Scans (N, 8, 8) as (N, side, side), linear between the centres of pixels: larger, with no more detail.

    Args:
        scans: any number of them; with side 8 they are returned as they are.
        side: pixels, 8 or more.
    """
    if side == DIGIT_SIDE:
        return scans
    zoom = (1, side / DIGIT_SIDE, side / DIGIT_SIDE)
    return ndimage.zoom(scans, zoom, order=1, mode="nearest", grid_mode=True)
