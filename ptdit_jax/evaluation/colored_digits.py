"""Do pictures and films of coloured digits show what their captions ask for?

Shapes: N samples, F frames, H rows and columns, k facts of a caption.

What is asked for are captions of the data, every third of a pair of colour and digit that training never saw.  A fact
that a caption leaves open is not judged.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from data_pipelines.demos import words
from data_pipelines.demos.asked import WithHeldOut
from data_pipelines.demos.digits import FACTS, MOVING_FACTS, ColoredDigits, DirectedDigits
from ptdit_jax.evaluation import ink
from ptdit_jax.evaluation.interface import Evaluation

LEAST = 30  # samples judged
STILL = 0.1  # of the canvas: what goes less far has no direction


@dataclasses.dataclass(frozen=True)
class ColoredDigitsReport:
    """What a judge found; shares are in [0, 1], of the samples whose caption says such a thing."""

    count: int
    """N, samples judged."""

    right: Mapping[str, float]
    """By fact, of the pairs of colour and digit that training had."""

    held_out: Mapping[str, float]
    """By fact, of those that it had not."""

    judge_accuracy: float
    """Share of held-out real digits that the judge recognises."""

    def metrics(self) -> dict[str, float]:
        """Returns the figures by name, those of held-out pairs as `held_out_NAME`."""
        unseen = {f"held_out_{name}": value for name, value in self.held_out.items()}
        return dict(self.right) | unseen | {"judge_accuracy": self.judge_accuracy}

    def __str__(self) -> str:
        """Returns the figures as a paragraph."""
        seen, unseen = (
            ", ".join(f"{name} {value:.1%}" for name, value in found.items())
            for found in (self.right, self.held_out)
        )
        return (
            f"Of {self.count} samples right, where the caption says it: {seen}.  Of pairs of colour and digit that "
            f"training never had: {unseen}.  The judge recognises {self.judge_accuracy:.1%} of held-out real digits."
        )


def judge_pictures(images: np.ndarray, facts: np.ndarray | None) -> ColoredDigitsReport:
    """Judges pictures; deterministic.

    The colour is the nearest of the palette to that of the stroke, the place the nearest to the centre of mass of the
    ink; digit and weight are classified by `ink.fit_judge`.

    Args:
        images: (N, 3, 1, H, H), finite.
        facts: (N, 1 + k) int32: whether the pair is held out, and `FACTS`.

    Returns:
        Shares of what is right.

    Raises:
        ValueError: the shapes or values are not as above.
        RuntimeError: the judge does not recognise real digits.
    """
    facts = _checked(images, facts, FACTS)
    found, height = ink.find(images), images.shape[-1]
    judge = ink.fit_judge(height)
    crops = ink.crops(found.amount)
    middles = (np.array(list(words.PLACES.values())) + 1) * height / 4 - 0.5
    away = np.linalg.norm(ink.centroids(found.amount)[:, :1] - middles, axis=2)  # (N, places)
    seen = {
        "digit": judge.digit.predict(crops),
        "color": ink.nearest(found.color, words.PALETTE),
        "place": away.argmin(1),
        "weight": judge.weight.predict(crops),
        "background": ink.nearest(found.ground, words.BACKGROUNDS),
    }
    return _report(seen, facts, FACTS, judge.accuracy)


def judge_films(films: np.ndarray, facts: np.ndarray | None) -> ColoredDigitsReport:
    """Judges films as `judge_pictures` does, and the direction of the motion in place of place and weight.

    The direction is that of the straight line through the centres of mass of the frames, the nearest of eight; a digit
    that goes less than a tenth of the canvas has none.

    Args:
        films: (N, 3, F, H, H), F of 2 or more, finite.
        facts: (N, 1 + k) int32: whether the pair is held out, and `MOVING_FACTS`.

    Returns:
        Shares of what is right.

    Raises:
        ValueError: the shapes or values are not as above.
        RuntimeError: the judge does not recognise real digits.
    """
    facts = _checked(films, facts, MOVING_FACTS)
    found, (frames, height) = ink.find(films), films.shape[2:4]
    if frames < 2:
        raise ValueError(f"films {films.shape}: a direction needs 2 frames or more")
    judge = ink.fit_judge(height)
    time = np.arange(frames) - (frames - 1) / 2
    slope = np.einsum("f,nfx->nx", time, ink.centroids(found.amount)) / (time**2).sum()  # pixels a frame
    ways = np.array(list(words.DIRECTIONS.values()), np.float64)
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    moves = np.linalg.norm(slope, axis=1) * (frames - 1) >= STILL * height
    seen = {
        "digit": judge.digit.predict(ink.crops(found.amount)),
        "color": ink.nearest(found.color, words.PALETTE),
        "direction": np.where(moves, (slope @ ways.T).argmax(1), words.UNSAID - 1),
        "background": ink.nearest(found.ground, words.BACKGROUNDS),
    }
    return _report(seen, facts, MOVING_FACTS, judge.accuracy)


def _checked(images: np.ndarray, facts: np.ndarray | None, names: tuple[str, ...]) -> np.ndarray:
    facts = np.asarray(() if facts is None else facts)
    if facts.shape != (len(images), 1 + len(names)):
        raise ValueError(
            f"facts {facts.shape}: must be {(len(images), 1 + len(names))}, held out, {', '.join(names)}"
        )
    if len(images) < LEAST:
        raise ValueError(f"{len(images)} samples: at least {LEAST} are judged")
    return facts


def _report(
    seen: dict[str, np.ndarray], facts: np.ndarray, names: tuple[str, ...], accuracy: float
) -> ColoredDigitsReport:
    def shares(rows: np.ndarray) -> dict[str, float]:
        asked = {name: facts[:, 1 + turn] for turn, name in enumerate(names)}
        said = {name: rows & (asked[name] != words.UNSAID) for name in names}
        return {n: float((seen[n] == asked[n])[said[n]].mean()) for n in names if said[n].any()}

    held_out = facts[:, 0] == 1
    return ColoredDigitsReport(len(facts), shares(~held_out), shares(held_out), accuracy)


def _check(name: str) -> Callable[[Any], Iterable[str]]:
    def check(config: Any) -> Iterable[str]:
        if (config.data.name, config.model.condition) != (name, "text"):
            yield (
                f"evaluation.name={name!r} judges data.name={name!r} with model.condition='text', not "
                f"{config.data.name!r} with {config.model.condition!r}"
            )
        if config.evaluation.count < LEAST:
            yield f"evaluation.count={config.evaluation.count} must be at least {LEAST}"

    return check


def _pictures(data: Any) -> WithHeldOut:
    return WithHeldOut(*(ColoredDigits(data.height, data.width, held_out=held) for held in (False, True)))


def _films(data: Any) -> WithHeldOut:
    size = (data.frames, data.height, data.width)
    return WithHeldOut(*(DirectedDigits(*size, held_out=held) for held in (False, True)))


PICTURES = Evaluation(
    judge_pictures,
    {name: "higher" for name in ("digit", "color", "place", "held_out_digit", "held_out_color")},
    _check("colored_digits"),
    _pictures,
)
"""`evaluation.name` = "colored_digits"."""

FILMS = Evaluation(
    judge_films,
    {name: "higher" for name in ("digit", "direction", "color", "held_out_digit", "held_out_color")},
    _check("directed_digits"),
    _films,
)
"""`evaluation.name` = "directed_digits"."""
