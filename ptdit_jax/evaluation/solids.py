"""Do turntables show the solid that is asked for, from all sides in turn?

Shapes: N samples, V = 24 views, S pixels a side, 144 solids.  Pixels are in [-1, 1], on white.

The truth is known, that of pairs which training never saw too: what is asked for was rendered.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from data_pipelines.demos import solids
from data_pipelines.demos.asked import WithHeldOut
from data_pipelines.demos.solids import FACTS, SIDE, VIEWS, Solids
from ptdit_jax.evaluation.interface import Evaluation

LEAST = 30  # samples judged
COVER = 0.4  # distance of a pixel from white, of at most 2 √3, above which the solid is there
NEAR = 0.4  # RMS difference of [-1, 1] from the nearest rendering up to which a view shows one
SLACK = 0.05  # and how much farther than that is as near


@dataclasses.dataclass(frozen=True)
class SolidsReport:
    """What `judge_solids` found; shares and errors are means over samples and views."""

    count: int
    """N, turntables judged."""

    right: Mapping[str, float]
    """Share of right shapes, colours and patterns, of the pairs of shape and colour that training had."""

    held_out: Mapping[str, float]
    """The same of pairs that it had not."""

    silhouette_error: float
    """Pixels that a silhouette has too many or too few, over those that it should have, against the nearest of the 24
    rotations of that shape that training has."""

    silhouette_error_between: float
    """The same of real views between those azimuths: a true silhouette that training has not is so far off."""

    azimuth_error: float
    """As `silhouette_error`, against the one rotation that a view should show."""

    view_error: float
    """RMS difference of a view from the rendering that it should be, pixels in [-1, 1]."""

    consistent: float
    """Share of neighbouring views, the last and the first among them, of which the second shows the rotation that
    follows the one which the first is nearest to: wherever a turntable begins, it goes on in steps of 15 degrees."""

    def metrics(self) -> dict[str, float]:
        """Returns the figures by name, shares of held-out pairs as `held_out_NAME`."""
        found = dict(self.right) | {f"held_out_{name}": value for name, value in self.held_out.items()}
        names = [field.name for field in dataclasses.fields(self)[3:]]
        return found | {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        """Returns the figures as a paragraph."""
        seen, unseen = (
            ", ".join(f"{name} {value:.1%}" for name, value in found.items())
            for found in (self.right, self.held_out)
        )
        return (
            f"Of {self.count} turntables right: {seen}.  Of pairs of shape and colour that training never had: "
            f"{unseen}.  Silhouettes are {self.silhouette_error:.1%} off the nearest training rotation (real views "
            f"between those: {self.silhouette_error_between:.1%}) and {self.azimuth_error:.1%} off the rotation of "
            f"their azimuth; views differ from the true rendering by {self.view_error:.3f} (RMS); "
            f"{self.consistent:.1%} of neighbouring views are consistent."
        )


def judge_solids(films: np.ndarray, facts: np.ndarray | None) -> SolidsReport:
    """Judges turntables by the renderings; deterministic.

    The solid seen is the rendered one of the 144 that is nearest in all views together.

    Args:
        films: (N, 3, 24, 24, 24), finite; clipped to [-1, 1] first, as for display.
        facts: (N, 1 + k) int32: whether the pair is held out, and `FACTS`.

    Returns:
        What is right, and how far off views are.

    Raises:
        ValueError: the shapes or values are not as above.
    """
    films, facts = np.asarray(films), np.asarray(() if facts is None else facts)
    if films.shape[1:] != (3, VIEWS, SIDE, SIDE):
        raise ValueError(f"films {films.shape}: must be (N, 3, {VIEWS}, {SIDE}, {SIDE})")
    if facts.shape != (len(films), 1 + len(FACTS)):
        raise ValueError(
            f"facts {facts.shape}: must be {(len(films), 1 + len(FACTS))}, held out, {', '.join(FACTS)}"
        )
    if len(films) < LEAST:
        raise ValueError(f"{len(films)} samples: at least {LEAST} are judged")
    if not np.isfinite(films).all():
        raise ValueError(f"{(~np.isfinite(films)).sum()} pixels of the films are not finite")
    x = np.moveaxis(np.clip(films, -1, 1), 1, -1).astype(np.float32)  # (N, V, S, S, 3)
    real = _pixels("views")
    flat = real.reshape(len(real), -1)
    away = (flat**2).sum(1) - 2 * x.reshape(len(x), -1) @ flat.T  # squared distance less what all share
    seen = np.array([solids.facts_of(int(solid)) for solid in away.argmin(1)])
    asked = np.ravel_multi_index(tuple(facts[:, 1:].T), solids.SIZES)
    truth = real[asked]
    errors = _silhouette_errors(covered(x), covered(truth))  # (N, V, V)
    flat_truth, flat_x = (v.reshape(len(x), VIEWS, -1) for v in (truth, x))
    squares = [(v**2).sum(2) for v in (flat_x, flat_truth)]
    squared = squares[0][:, :, None] + squares[1][:, None] - 2 * flat_x @ flat_truth.transpose(0, 2, 1)
    distance = np.sqrt(np.maximum(squared, 0) / flat_x.shape[2])  # (N, V, V), RMS
    held_out = facts[:, 0] == 1
    return SolidsReport(
        count=len(x),
        right=_shares(seen, facts[:, 1:], ~held_out),
        held_out=_shares(seen, facts[:, 1:], held_out),
        silhouette_error=float(errors.min(2).mean()),
        silhouette_error_between=between_error(),
        azimuth_error=float(np.diagonal(errors, axis1=1, axis2=2).mean()),
        view_error=float(np.diagonal(distance, axis1=1, axis2=2).mean()),
        consistent=_consistent(distance),
    )


def covered(x: np.ndarray) -> np.ndarray:
    """Returns the silhouettes (.., S, S) bool of pixels (.., S, S, 3)."""
    return np.linalg.norm(1 - x, axis=-1) > COVER


def between_error() -> float:
    """Returns the silhouette error of real views between the azimuths of training, over all shapes."""
    plain = [solids.NAMES.index((shape, solids.COLORS[0], "plain")) for shape in solids.SHAPES]
    errors = _silhouette_errors(covered(_pixels("between")), covered(_pixels("views")[plain]))
    return float(errors.min(2).mean())


def _pixels(name: str) -> np.ndarray:
    return solids.rendered(name).astype(np.float32) / 127.5 - 1


def _silhouette_errors(found: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(N, V, V): views (N, V, S, S) of the first against all rotations of the second."""
    found, real = (s.reshape(len(s), VIEWS, -1).astype(np.float32) for s in (found, real))
    size, wanted = found.sum(2)[:, :, None], real.sum(2)[:, None]
    return (size + wanted - 2 * np.einsum("nvp,nwp->nvw", found, real)) / wanted


def _consistent(distance: np.ndarray) -> float:
    """Of RMS differences (N, V, V) of views from all rotations; where two look alike, either will do."""
    nearest, least = distance.argmin(2), distance.min(2)
    then = np.roll(distance, -1, axis=1)
    found = np.take_along_axis(then, (nearest[..., None] + 1) % VIEWS, axis=2)[..., 0]
    follows = found <= np.roll(least, -1, axis=1) + SLACK
    return float((follows & (least <= NEAR) & (np.roll(least, -1, axis=1) <= NEAR)).mean())


def _shares(seen: np.ndarray, asked: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    return {name: float((seen == asked)[rows, turn].mean()) for turn, name in enumerate(FACTS) if rows.any()}


def _check(config: Any) -> Iterable[str]:
    data = config.data
    if (data.name, config.model.condition, data.frames) != ("solids", "text", VIEWS):
        yield (
            f"evaluation.name='solids' judges data.name='solids' with model.condition='text' and data.frames={VIEWS}, "
            f"not {data.name!r} with {config.model.condition!r} and {data.frames}"
        )
    if config.evaluation.count < LEAST:
        yield f"evaluation.count={config.evaluation.count} must be at least {LEAST}"


def _source(data: Any) -> WithHeldOut:
    size = (data.frames, data.height, data.width)
    return WithHeldOut(*(Solids(*size, held_out=held) for held in (False, True)))


EVALUATION = Evaluation(
    judge_solids,
    {
        "silhouette_error": "lower",
        "consistent": "higher",
        **{name: "higher" for name in FACTS},
    },
    _check,
    _source,
)
"""`evaluation.name` = "solids"."""
