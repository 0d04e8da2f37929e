"""Are generated digits the digits asked for, as varied as real ones, like them, and no copies?

Shapes: N images judged, R = 1,797 real scans. Distances are Euclidean between images of 64 pixels in [-1, 1].
Larger images, of runs on enlarged scans, are judged by the means of their blocks, and so are the scans then.
"""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import einops
import numpy as np
from scipy.spatial.distance import cdist, pdist
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from data_pipelines.sources import DIGIT_CLASSES, DIGIT_SIDE, digit_scans, enlarged, rolled_back
from ptdit_jax.evaluation.distribution import Comparison, compare, frechet_distance
from ptdit_jax.evaluation.interface import COMPARED, Evaluation

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

    comparison: Comparison
    """With all real scans, by what `features` sees of either."""

    frechet_real: float
    """The Fréchet distance of held-out real scans from the others: generated digits cannot be expected below it."""

    def metrics(self) -> dict[str, float]:
        """Returns the figures by name."""
        return {
            "recognition": self.recognition,
            "judge_accuracy": self.judge_accuracy,
            "variety": self.variety,
            "nearest_generated": self.nearest_generated,
            "nearest_real": self.nearest_real,
            **dataclasses.asdict(self.comparison),
            "frechet_real": self.frechet_real,
        }

    def __str__(self) -> str:
        """Returns the figures as a paragraph."""
        worst = int(np.argmin(self.recognition_by_class))
        return (
            f"{self.recognition:.1%} of {self.count} generated digits are recognised as the digit asked for "
            f"(worst: {worst}, {self.recognition_by_class[worst]:.1%}) by an SVC that recognises "
            f"{self.judge_accuracy:.1%} of held-out real ones. Variety within a class (mean distance of two "
            f"images, generated / real): {self.variety:.2f}. Distance to the nearest real scan (median): "
            f"{self.nearest_generated:.2f}, between real scans {self.nearest_real:.2f}. Fréchet distance from the "
            f"real scans: {self.comparison.frechet_distance:.2f} (held-out real ones from the others: "
            f"{self.frechet_real:.2f}); precision {self.comparison.precision:.1%}, recall "
            f"{self.comparison.recall:.1%}."
        )


def judge_digits(images: np.ndarray, labels: np.ndarray | None) -> DigitsReport:
    """Judges generated digits by real ones; deterministic.

    The judge is a support vector classifier with a Gaussian kernel, fitted on three quarters of the real
    scans and checked on the rest. Copying is measured against all scans, since a run trains on all of them.

    Args:
        images: (N, 1, 1, S, S) with S of 8, 16, 24, ..., finite; clipped to [-1, 1] first, as for display.  Or signals
            (N, 1, 1, 1, 64), rolled back.
        labels: (N,) integers in [0, 10), the digits asked for, each at least twice.

    Returns:
        Recognition, variety, distance to the real scans, and how the whole compares with them.

    Raises:
        ValueError: the shapes or values are not as above.
        RuntimeError: the judge recognises fewer than 98% of the held-out scans.
    """
    images, labels = np.asarray(images), np.asarray(() if labels is None else labels)
    if images.shape[1:] == (1, 1, 1, DIGIT_SIDE**2):
        images = rolled_back(images)
    side = images.shape[-1] if images.ndim == 5 else 0
    if not side or side % DIGIT_SIDE or images.shape[1:] != (1, 1, side, side):
        raise ValueError(
            f"images {images.shape}: evaluation.name = 'digits' judges (N, 1, 1, S, S) with S = 8, 16, 24, ..."
        )
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
    judge, accuracy = _fit_judge(side)
    x = _pixels(np.clip(images[:, 0, 0], -1, 1))
    real, real_labels = _real(side)
    right = judge.predict(x) == labels
    recognition = [right[labels == digit].mean() for digit in range(DIGIT_CLASSES)]
    variety = [
        pdist(x[labels == digit]).mean() / pdist(real[real_labels == digit]).mean()
        for digit in range(DIGIT_CLASSES)
    ]
    between_scans = cdist(real, real)
    np.fill_diagonal(between_scans, np.inf)
    fitted, held_out, *_ = split_scans(side)
    return DigitsReport(
        count=len(x),
        recognition=float(right.mean()),
        recognition_by_class=tuple(map(float, recognition)),
        judge_accuracy=accuracy,
        variety=float(np.mean(variety)),
        variety_by_class=tuple(map(float, variety)),
        nearest_generated=float(np.median(cdist(x, real).min(axis=1))),
        nearest_real=float(np.median(between_scans.min(axis=1))),
        comparison=compare(features(judge, real), features(judge, x)),
        frechet_real=frechet_distance(features(judge, fitted), features(judge, held_out)),
    )


def features(judge: SVC, x: np.ndarray) -> np.ndarray:
    """What the judge sees of images (N, 64): its decision values for each of the 45 pairs of digits, (N, 45)."""
    return judge.decision_function(x)


def _pixels(images: np.ndarray) -> np.ndarray:
    """Returns images (N, S, S) as the means of blocks, (N, 64) float64."""
    blocks = {"h": DIGIT_SIDE, "w": DIGIT_SIDE}
    return einops.reduce(images.astype(np.float64), "n (h a) (w b) -> n (h w)", "mean", **blocks)


def _real(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns all real scans (R, 64), as images of a side show them, and their labels (R,)."""
    scans, labels = digit_scans()
    return _pixels(enlarged(scans, side)), labels


def split_scans(side: int = DIGIT_SIDE) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns the scans (., 64) for fitting and those held out, a quarter of each class, then the labels."""
    x, y = _real(side)
    fit, held_out = train_test_split(np.arange(len(x)), test_size=0.25, stratify=y, random_state=0)
    return x[fit], x[held_out], y[fit], y[held_out]


@functools.cache
def _fit_judge(side: int) -> tuple[SVC, float]:
    """Returns the judge and its accuracy on the held-out scans."""
    x, x_held_out, y, y_held_out = split_scans(side)
    gamma = 0.001 * 8**2  # 0.001 on pixels counted 0..16
    judge = SVC(kernel="rbf", C=10.0, gamma=gamma, decision_function_shape="ovo").fit(x, y)
    accuracy = float(judge.score(x_held_out, y_held_out))
    if accuracy < JUDGE_ACCURACY:
        raise RuntimeError(
            f"the judge recognises {accuracy:.1%} of held-out scans, {JUDGE_ACCURACY:.0%} are needed"
        )
    return judge, accuracy


def check(config: Any) -> Iterable[str]:
    """What is wrong with a config whose digits would be judged: other data, or too few samples."""
    data, condition, count = config.data.name, config.model.condition, config.evaluation.count
    judged = {("digits", "class"), ("signal_digits", "class"), ("captioned_digits", "text")}
    if (data, condition) not in judged:
        yield (
            "evaluation.name='digits' judges data.name='digits' with model.condition='class', 'signal_digits' with "
            f"'class', or 'captioned_digits' with 'text', not {data!r} with {condition!r}"
        )
    least = 2 * (config.model.classes if condition == "class" else DIGIT_CLASSES)
    if count < least:
        yield f"evaluation.count={count} must be at least {least}, two a class"


EVALUATION = Evaluation(
    judge_digits,
    {
        "frechet_distance": COMPARED["frechet_distance"],
        "recognition": "higher",
        "precision": COMPARED["precision"],
        "recall": COMPARED["recall"],
    },
    check,
)
"""`evaluation.name` = "digits"."""
