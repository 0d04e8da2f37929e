"""What is drawn in one colour on one ground: both colours, how much ink each pixel has, and the digit that it is.

Shapes: N samples, F frames, H rows, W columns, S = H / 2 pixels a side of a digit.  Pixels are in [-1, 1].
"""

import dataclasses
import functools

import numpy as np
from scipy import ndimage
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from data_pipelines.demos import words
from data_pipelines.demos.digits import FACTS, ColoredDigits

FULL = 0.75  # of the greatest contrast: such pixels are inside the stroke, not at its edge
FAINT = 0.25  # ink below is noise
COPIES = 2  # pictures of each scan that the judge of digits is fitted on
JUDGE_ACCURACY = 0.97  # share of held-out real digits that it must recognise to be believed


@dataclasses.dataclass(frozen=True)
class Ink:
    """What `find` saw."""

    ground: np.ndarray
    """(N, 3), the median pixel of each sample."""

    color: np.ndarray
    """(N, 3), the mean of the pixels that differ most from it."""

    amount: np.ndarray
    """(N, F, H, W) in [0, 1], how far a pixel is from the ground to the colour."""


def find(images: np.ndarray) -> Ink:
    """Separates ink and ground.

    Args:
        images: (N, 3, F, H, W), finite; clipped to [-1, 1] first, as for display.

    Raises:
        ValueError: the shape or the values are not as above.
    """
    images = np.asarray(images)
    if images.ndim != 5 or images.shape[1] != 3 or images.shape[3] != images.shape[4]:
        raise ValueError(f"images {images.shape}: must be (N, 3, F, H, H), RGB")
    if not np.isfinite(images).all():
        raise ValueError(f"{(~np.isfinite(images)).sum()} pixels of the images are not finite")
    pixels = np.clip(images, -1, 1).astype(np.float32).reshape(len(images), 3, -1)
    ground = np.median(pixels, axis=2)
    away = pixels - ground[..., None]
    contrast = np.linalg.norm(away, axis=1)  # (N, F H W)
    top = np.quantile(contrast, 0.99, axis=1, keepdims=True)
    inside = contrast >= FULL * top
    color = ground + (away * inside[:, None]).sum(2) / inside.sum(1)[:, None]
    way = color - ground
    amount = np.einsum("nc,ncp->np", way, away) / np.maximum((way**2).sum(1), 1e-3)[:, None]
    amount = np.where(amount < FAINT, 0, np.clip(amount, 0, 1))
    return Ink(ground, color, amount.reshape(len(images), *images.shape[2:]))


def nearest(colors: np.ndarray, table: dict[str, tuple[float, float, float]]) -> np.ndarray:
    """Returns for each of (N, 3) colours the number (N,) of the nearest in a table."""
    return np.linalg.norm(colors[:, None] - words.rgb(table), axis=2).argmin(1)


def centroids(amount: np.ndarray) -> np.ndarray:
    """Returns row and column (N, F, 2) of the centre of mass of ink, the middle where there is none."""
    height, width = amount.shape[-2:]
    mass = amount.sum((2, 3))
    row = np.einsum("nfhw,h->nf", amount, np.arange(height))
    column = np.einsum("nfhw,w->nf", amount, np.arange(width))
    middle = np.array([height - 1, width - 1]) / 2
    return np.where(
        mass[..., None] > 0, np.stack([row, column], 2) / np.maximum(mass, 1e-6)[..., None], middle
    )


def crops(amount: np.ndarray) -> np.ndarray:
    """Returns the ink around the centroid, (N, S * S), the mean over frames: what is seen wherever it stands."""
    side = amount.shape[-1] // 2
    shift = (amount.shape[-1] - 1) / 2 - centroids(amount)  # to the middle, linear between pixels
    low = side // 2
    moved = np.empty_like(amount)
    for sample, film in enumerate(amount):
        for frame, picture in enumerate(film):
            ndimage.shift(
                picture, shift[sample, frame], moved[sample, frame], order=1, prefilter=False, cval=0.0
            )
    return moved[:, :, low : low + side, low : low + side].mean(1).reshape(len(amount), -1)


@dataclasses.dataclass(frozen=True)
class Judge:
    """Two classifiers of crops."""

    digit: SVC
    """Which digit it is."""

    weight: SVC
    """Thin or bold."""

    accuracy: float
    """Share of held-out real digits that the first recognises."""

    weight_accuracy: float
    """The same of the second."""


@functools.lru_cache(maxsize=2)
def fit_judge(height: int) -> Judge:
    """Support vector classifiers of real digits on a canvas of `height` pixels; deterministic.

    They are fitted on the pictures of three quarters of the scans and checked on those of the others.

    Raises:
        RuntimeError: the held-out ones are not recognised.
    """
    source = ColoredDigits(height, height)
    scans = len(source) // source.COPIES
    pictures = range(COPIES * scans)
    records = np.array(pictures)
    found = crops(find(np.stack([source[picture]["x"] for picture in pictures])).amount)
    digits = np.array([source[record]["label"] for record in range(scans)])
    weights = np.array([source.drawn(picture)[FACTS.index("weight")] for picture in pictures])
    fit, held_out = train_test_split(np.arange(scans), test_size=0.25, stratify=digits, random_state=0)
    fit, held_out = np.isin(records % scans, fit), np.isin(records % scans, held_out)
    gamma = 16 / found.shape[1]
    labels = digits[records % scans]
    digit = SVC(C=10.0, gamma=gamma).fit(found[fit], labels[fit])
    weight = SVC(C=10.0, gamma=gamma).fit(found[fit], weights[fit])
    judge = Judge(
        digit,
        weight,
        float(digit.score(found[held_out], labels[held_out])),
        float(weight.score(found[held_out], weights[held_out])),
    )
    if judge.accuracy < JUDGE_ACCURACY:
        raise RuntimeError(
            f"the judge recognises {judge.accuracy:.1%} of held-out digits, {JUDGE_ACCURACY:.0%} are needed"
        )
    return judge
