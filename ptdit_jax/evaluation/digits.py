"""Are generated 8x8 digits the digits asked for, as varied as real ones, and no copies?

Shapes: N images judged, R = 1,797 real scans. Distances are Euclidean between images of 64 pixels in [-1, 1].
"""

import dataclasses
import functools

import numpy as np
from scipy.spatial.distance import cdist, pdist
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from data_pipelines.sources import DIGIT_CLASSES, DIGIT_SIDE, digit_scans

JUDGE_ACCURACY = 0.98  # share of held-out real scans the judge must recognise to be believed


@dataclasses.dataclass(frozen=True)
class DigitsReport:
    """What `judge_digits` found."""

    count: int
    """N, images judged."""

    recognition: float
    """Share of the images that the judge takes for the digit asked for, in [0, 1]."""

    recognition_by_class: tuple[float, ...]
    """The same for each digit asked for."""

    judge_accuracy: float
    """Share of the held-out real scans that the judge takes for what they are."""

    variety: float
    """Mean distance of two images of a class, generated over real, averaged over the ten classes: 1 is the
    variety of real digits, 0 one image a class. Images of the wrong digit raise it, so it says something only
    beside a high recognition."""

    variety_by_class: tuple[float, ...]
    """The same for each class."""

    nearest_generated: float
    """Median over the images of the distance to the nearest real scan: 0 is copying."""

    nearest_real: float
    """Median over the real scans of the distance to the nearest other one: how far new real digits are."""

    def metrics(self) -> dict[str, float]:
        """Returns the figures by name."""
        return {
            "recognition": self.recognition,
            "judge_accuracy": self.judge_accuracy,
            "variety": self.variety,
            "nearest_generated": self.nearest_generated,
            "nearest_real": self.nearest_real,
        }

    def __str__(self) -> str:
        """Returns the figures as a paragraph."""
        worst = int(np.argmin(self.recognition_by_class))
        return (
            f"{self.recognition:.1%} of {self.count} generated digits are recognised as the digit asked for "
            f"(worst: {worst}, {self.recognition_by_class[worst]:.1%}) by an SVC that recognises "
            f"{self.judge_accuracy:.1%} of held-out real ones. Variety within a class (mean distance of two "
            f"images, generated / real): {self.variety:.2f}. Distance to the nearest real scan (median): "
            f"{self.nearest_generated:.2f}, between real scans {self.nearest_real:.2f}."
        )


def judge_digits(images: np.ndarray, labels: np.ndarray) -> DigitsReport:
    """Judges generated digits by real ones; deterministic.

    The judge is a support vector classifier with a Gaussian kernel, fitted on three quarters of the real
    scans and checked on the rest. Copying is measured against all scans, since a run trains on all of them.

    Args:
        images: (N, 1, 1, 8, 8), finite; clipped to [-1, 1] first, as for display.
        labels: (N,) integers in [0, 10), the digits asked for, each at least twice.

    Returns:
        Recognition, variety and distance to the real scans.

    Raises:
        ValueError: the shapes or values are not as above.
        RuntimeError: the judge recognises fewer than 98% of the held-out scans.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 5 or images.shape[1:] != (1, 1, DIGIT_SIDE, DIGIT_SIDE):
        raise ValueError(f"images {images.shape}: evaluation.name = 'digits' judges (N, 1, 1, 8, 8)")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"labels {labels.shape}: must be one for each of {len(images)} images")
    if not np.isfinite(images).all():
        raise ValueError(f"{(~np.isfinite(images)).sum()} pixels of the images are not finite")
    asked, counts = np.unique(labels, return_counts=True)
    if not np.array_equal(asked, np.arange(DIGIT_CLASSES)) or counts.min() < 2:
        raise ValueError(
            f"labels {dict(zip(asked.tolist(), counts.tolist(), strict=True))}: each of the {DIGIT_CLASSES} "
            f"digits must be asked for at least twice (evaluation.count = {2 * DIGIT_CLASSES} or more)"
        )
    judge, accuracy = _fit_judge()
    x = np.clip(images.reshape(len(images), -1), -1, 1).astype(np.float64)
    real, real_labels = _real()
    right = judge.predict(x) == labels
    recognition = [right[labels == digit].mean() for digit in range(DIGIT_CLASSES)]
    variety = [
        pdist(x[labels == digit]).mean() / pdist(real[real_labels == digit]).mean()
        for digit in range(DIGIT_CLASSES)
    ]
    between_scans = cdist(real, real)
    np.fill_diagonal(between_scans, np.inf)
    return DigitsReport(
        count=len(x),
        recognition=float(right.mean()),
        recognition_by_class=tuple(map(float, recognition)),
        judge_accuracy=accuracy,
        variety=float(np.mean(variety)),
        variety_by_class=tuple(map(float, variety)),
        nearest_generated=float(np.median(cdist(x, real).min(axis=1))),
        nearest_real=float(np.median(between_scans.min(axis=1))),
    )


def _real() -> tuple[np.ndarray, np.ndarray]:
    """Returns all real scans (R, 64) and their labels (R,)."""
    scans, labels = digit_scans()
    return scans.reshape(len(scans), -1).astype(np.float64), labels


def split_scans() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns the scans (., 64) for fitting and those held out, a quarter of each class, then the labels."""
    x, y = _real()
    fit, held_out = train_test_split(np.arange(len(x)), test_size=0.25, stratify=y, random_state=0)
    return x[fit], x[held_out], y[fit], y[held_out]


@functools.cache
def _fit_judge() -> tuple[SVC, float]:
    """Returns the judge and its accuracy on the held-out scans."""
    x, x_held_out, y, y_held_out = split_scans()
    judge = SVC(kernel="rbf", C=10.0, gamma=0.001 * 8**2).fit(x, y)  # 0.001 on pixels counted 0..16
    accuracy = float(judge.score(x_held_out, y_held_out))
    if accuracy < JUDGE_ACCURACY:
        raise RuntimeError(
            f"the judge recognises {accuracy:.1%} of held-out scans, {JUDGE_ACCURACY:.0%} are needed"
        )
    return judge, accuracy
