"""What films are compared with by FVD: other films, or the statistics of those, which a file keeps.

The file is an `.npz` with `fvd_mu` (400,) and `fvd_sigma` (400, 400), float64, the covariance as the protocol has it,
and `fvd_told`, a text of JSON: "options" by which the films were seen, "count" of them, "weights_sha256" of the network
and "source", the films.
"""

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ptdit_jax.evaluation import films, npz
from ptdit_jax.evaluation.clips import Clips
from ptdit_jax.evaluation.films import Films
from ptdit_jax.evaluation.fvd import I3d
from ptdit_jax.features import i3d
from ptdit_jax.metrics import Gaussian

MEAN, COVARIANCE, TOLD = "fvd_mu", "fvd_sigma", "fvd_told"
JUDGED = ("offset", "count")  # options of the films that are judged alone


class Reference(NamedTuple):
    """What films are compared with.

    Attributes:
      gaussian: of the logits.
      count: films that were seen.
      source: which these were.
    """

    gaussian: Gaussian
    count: int
    source: str


def is_file(path: Path) -> bool:
    """Whether a path is a file of statistics, and not films."""
    return path.is_file() and npz.has_array(path, MEAN)


def find(path: Path, network: I3d, flag: str, *, name: str | None) -> Reference:
    """What a path holds: films, which are looked at, or the statistics of some.

    Args:
      path: see `films.find`, or a file of statistics.
      network: looks at films, by its protocol.
      flag: the flag or field that named the path, for messages.
      name: of the bar; None for no bar.

    Raises:
      ValueError: see `films.find` and `fvd.films_statistics`; or `read`.
      OSError: a file cannot be read.
    """
    if is_file(path):
        return read(path, network.clips, network.digest, flag)
    return seen(films.find(path, flag), network, str(path), name=name)


def seen(found: Films, network: I3d, source: str, *, name: str | None) -> Reference:
    """Look at the films that others are compared with; raises as `fvd.films_statistics`."""
    moments = network.of(found, reference=True, name=name)
    return Reference(moments.gaussian(biased=network.clips.covariance == "biased"), moments.count, source)


def write(path: Path, reference: Reference, clips: Clips, digest: str) -> None:
    """Write the statistics.

    Args:
      path: of the `.npz`.
      reference: what is written.
      clips: the protocol that the films were seen by.
      digest: sha256 of the network's weights, hex.

    Raises:
      OSError: the file cannot be written.
    """
    told = {
        "options": _options(clips),
        "count": reference.count,
        "weights_sha256": digest,
        "source": reference.source,
    }
    mean, covariance = reference.gaussian
    npz.write(path, {MEAN: mean, COVARIANCE: covariance, TOLD: np.array(json.dumps(told))})


def read(path: Path, clips: Clips, digest: str, flag: str) -> Reference:
    """Read the statistics.

    Args:
      path: of the `.npz`.
      clips: the protocol that the films must have been seen by; what is of the judged films alone does not count.
      digest: sha256 of the weights that they must have been seen by, hex.
      flag: the flag or field that named the path, for messages.

    Raises:
      ValueError: an option or the weights are others, which are named; or an array lacks or has another shape.
      OSError: the file cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            gaussian = Gaussian(arrays[MEAN].astype(np.float64), arrays[COVARIANCE].astype(np.float64))
            told: Mapping[str, Any] = json.loads(str(arrays[TOLD]))
        options, weights = told["options"], told["weights_sha256"]
        count, source = int(told["count"]), str(told["source"])
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{flag}={path} is no file of FVD's statistics ({MEAN}, {COVARIANCE}, {TOLD}): {error}"
        ) from error
    size = i3d.CLASSES
    if gaussian.mean.shape != (size,) or gaussian.covariance.shape != (size, size):
        raise ValueError(
            f"{flag}={path}: {MEAN} {gaussian.mean.shape} and {COVARIANCE} {gaussian.covariance.shape} must be of "
            f"{size} logits"
        )
    for name, value in _options(clips).items():
        if name not in options or options[name] != value:
            raise ValueError(
                f"{flag}={path} was made with {name}={_text(options.get(name, 'nothing'))}, and the protocol here has "
                f"{name}={_text(value)}"
            )
    if weights != digest:
        raise ValueError(
            f"{flag}={path} was made by weights of sha256 {weights}, and those here have {digest}"
        )
    return Reference(gaussian, count, source)


def _options(clips: Clips) -> dict[str, Any]:
    """Those that the films which others are compared with were seen by."""
    return {name: value for name, value in dataclasses.asdict(clips).items() if name not in JUDGED}


def _text(value: Any) -> str:
    """As `clips.parse` reads it."""
    return "all" if value is None else str(value)
