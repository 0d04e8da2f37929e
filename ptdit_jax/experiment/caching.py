"""Sampling with fewer computations: what each evaluation of the network reuses, and what MagCache measures for that.

Shapes: B samples made together, D width, m windows and n tokens a window of the network's residual stream.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ptdit_jax import cli, files
from ptdit_jax.diffusion import caching
from ptdit_jax.experiment.build import Experiment

FILE = "magcache.json"
"""In a run's folder: what `save` wrote."""
HOW = "`python -m ptdit_jax.sample --checkpoint DIR --calibrate-cache`"


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Magnitude ratios of the blocks' residual, measured once for a network (`diffusion.caching`).

    Attributes:
      ratios: of every evaluation, 1 for the first.
      sampler: `sampling.sampler` that they were measured with.
      time_grid: `sampling.time_grid`.
      steps: `sampling.steps`.
      guidance: `sampling.guidance`.
      samples: how many samples, their null conditions apart, the ratios are the mean of.
      checkpoint: what was sampled, in words.
    """

    ratios: tuple[float, ...]
    sampler: str
    time_grid: str
    steps: int
    guidance: float
    samples: int
    checkpoint: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is kept, one of `models.ptdit.KEEPS`, and which evaluations (evaluations,) reuse it."""

    keep: str
    reuse: np.ndarray

    def __str__(self) -> str:
        """The share of evaluations that reuse, in words."""
        skipped = int(self.reuse.sum())
        return f"{skipped} of {len(self.reuse)} evaluations reuse {WHAT[self.keep]}"


WHAT = {"nothing": "nothing", "blocks": "what all blocks added", "global": "what the proxies injected"}


def make_plan(sampling: Any, evaluations: int, calibration: Calibration | None) -> Plan:
    """What `sampling.cache` asks for.

    Args:
      sampling: the `sampling` section of a valid config.
      evaluations: of the network, see `Sampler.evaluations`.
      calibration: for cache "magcache".

    Raises:
      ValueError: "magcache" has no calibration, or one of another sampler or time grid.
    """
    if sampling.cache == "global":
        return Plan("global", caching.every(evaluations, sampling.cache_every))
    if sampling.cache != "magcache":
        return Plan("nothing", np.zeros(evaluations, bool))
    if calibration is None:
        raise ValueError(f"sampling.cache='magcache' needs {FILE} in the run's folder; {HOW} writes it")
    for field in ("sampler", "time_grid"):
        measured = getattr(calibration, field)
        if sampling[field] != measured:
            raise ValueError(
                f"sampling.cache='magcache': {FILE} was measured with sampling.{field}={measured!r}, not "
                f"{sampling[field]!r}; {HOW} measures it again"
            )
    ratios = caching.resampled(np.array(calibration.ratios), evaluations)
    options = {"threshold": sampling.cache_threshold, "skips": sampling.cache_skips}
    return Plan("blocks", caching.magcache(ratios, **options, first=sampling.cache_first))


class Meter:
    """Measures the ratios of a `Calibration` while samples are made without reuse: the `observe` of `Steps`."""

    def __init__(self, experiment: Experiment):
        """Start to measure samples of an experiment."""
        layout = experiment.layout
        self.ratios: dict[int, list[float]] = {}  # by the number of the evaluation, one of each batch
        self._valid = layout.gathered(layout.valid)  # (M, n): padding is no token
        self._before: jax.Array | None = None
        self._norms = jax.jit(lambda residual: jnp.linalg.norm(residual.astype(jnp.float32), axis=-1))

    def __call__(self, number: int, residual: jax.Array) -> None:
        """One evaluation; residual is (B, m, n, D), with guidance (2B, m, n, D)."""
        norms = self._norms(residual)  # (B, m, n)
        ratio = 1.0
        if number > 0:
            assert self._before is not None
            ratio = float(_mean_ratio(norms, self._before, self._valid))
        self.ratios.setdefault(number, []).append(ratio)
        self._before = norms

    def calibration(self, sampling: Any, *, samples: int, checkpoint: str) -> Calibration:
        """What was measured; arguments as the fields of `Calibration`.

        Raises:
          RunError: the ratios are not positive and finite.
        """
        ratios = tuple(float(np.mean(self.ratios[number])) for number in sorted(self.ratios))
        if not all(math.isfinite(ratio) and ratio > 0 for ratio in ratios):
            raise cli.RunError(
                "the blocks of this network add nothing, or what is not finite: MagCache has no ratios"
            )
        facts = {name: sampling[name] for name in ("sampler", "time_grid", "steps", "guidance")}
        return Calibration(ratios, **facts, samples=samples, checkpoint=checkpoint)


@jax.jit
def _mean_ratio(norms: jax.Array, before: jax.Array, valid: jax.Array) -> jax.Array:
    """The mean over samples and real tokens of the ratio of norms (B, m, n)."""
    return jnp.mean(norms / before, where=jnp.broadcast_to(valid, norms.shape))


def settings(sampling: Any) -> dict[str, Any]:
    """The fields that say how samples were cached; none where they were not."""
    fields = {"magcache": ("threshold", "skips", "first"), "global": ("every",)}
    if sampling.cache not in fields:
        return {}
    return {"cache": sampling.cache} | {f"cache_{f}": sampling[f"cache_{f}"] for f in fields[sampling.cache]}


def load(folder: Path) -> Calibration | None:
    """The calibration in a run's folder; None where there is none.

    Raises:
      ValueError: the file is something else.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
        found = Calibration(**found | {"ratios": tuple(float(ratio) for ratio in found["ratios"])})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no calibration of MagCache: {error}; measure it again") from error
    if not found.ratios or not all(math.isfinite(ratio) and ratio > 0 for ratio in found.ratios):
        raise ValueError(f"{path}: its ratios must be positive and finite; measure it again")
    return found


def save(calibration: Calibration, folder: Path) -> Path:
    """Write a calibration into a run's folder; returns the file."""
    path, text = folder / FILE, json.dumps(dataclasses.asdict(calibration), indent=2) + "\n"
    files.write(path, lambda draft: draft.write_text(text))
    return path
