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

from ptdit_jax import files
from ptdit_jax import config as rules
from ptdit_jax.diffusion import caching

FILE = "magcache.json"
"""In a run's folder: what `save` wrote."""


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
        raise ValueError(
            f"sampling.cache='magcache' needs {FILE} in the run's folder, which `python -m ptdit_jax.sample.calibrate "
            "--checkpoint DIR` measures"
        )
    for field in ("sampler", "time_grid"):
        if sampling[field] != getattr(calibration, field):
            raise ValueError(
                f"sampling.cache='magcache': {FILE} was measured with sampling.{field}={getattr(calibration, field)!r}, "
                f"not {sampling[field]!r}; measure it again with `python -m ptdit_jax.sample.calibrate`"
            )
    ratios = caching.resampled(np.array(calibration.ratios), evaluations)
    options = {"threshold": sampling.cache_threshold, "skips": sampling.cache_skips}
    return Plan("blocks", caching.magcache(ratios, **options, first=sampling.cache_first))


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
