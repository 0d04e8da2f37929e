"""The Fréchet video distance (arXiv 1812.01717): of the logits of Inception-3D, over clips as a protocol has them.

Shapes: n films of a part, F frames, H rows, W columns.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ptdit_jax.evaluate.clips import Clips, network_sees
from ptdit_jax.evaluate.films import Films
from ptdit_jax.features import i3d
from ptdit_jax.metrics import Moments, frechet_distance
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.parallel.rules import batch_sharding, replicated
from ptdit_jax.processes import environment

Extract = Callable[[np.ndarray], np.ndarray]
"""uint8 (n, F, H, W, 3) -> logits (n, 400)."""


class Network:
    """Inception-3D on all devices of this process: frames that are seen in, logits of the host out."""

    def __init__(self, path: Path, clips: Clips, batch: int):
        """Read the weights; `batch` films go to each device together.

        Raises:
          ValueError: see `i3d.load`.
          OSError: there is no such file.
        """
        self.mesh = make_mesh({"data": -1}, environment.devices())
        params, self.digest = i3d.load(path)
        self._params = jax.device_put(params, replicated(self.mesh))
        self.rows = batch * self.mesh.size

        def logits(params: i3d.Params, films: jax.Array) -> jax.Array:
            return i3d.apply(params, network_sees(films, clips.resize)).logits

        self._apply = jax.jit(logits, out_shardings=replicated(self.mesh))

    def __call__(self, part: np.ndarray) -> np.ndarray:
        """Logits (n, 400) of films; the last part is filled up, so that there is one program for a size of frames."""
        filled = part[np.arange(self.rows).clip(max=len(part) - 1)]
        found = self._apply(self._params, jax.device_put(filled, batch_sharding(self.mesh)))
        return np.asarray(found)[: len(part)]


def films_statistics(
    films: Films,
    clips: Clips,
    extract: Extract,
    *,
    rows: int,
    reference: bool = False,
    seen: Callable[[int], Any] = lambda _: None,
) -> Moments:
    """Look at films, a part at a time, in memory that their number does not change.

    Args:
      films: of a folder or a file.
      clips: the protocol.
      extract: the network.
      rows: films of a part; `Network.rows`.
      reference: the films are those that others are compared with.
      seen: told after each part how many films it had.

    Raises:
      ValueError: films are not as `Films.parts` wants them, or a logit is not finite.
      OSError: a file cannot be read.
    """
    moments = Moments.none(i3d.CLASSES)
    for part in films.parts(clips.side(reference=reference), rows):
        moments += Moments.of(extract(part))
        seen(len(part))
    return moments


def fvd(reference: Moments, samples: Moments, clips: Clips) -> float:
    """The distance of two sets, with the covariance of the protocol.

    Raises:
      ValueError: a set has too few films for a covariance.
    """
    is_biased = clips.covariance == "biased"
    return frechet_distance(reference.gaussian(biased=is_biased), samples.gaussian(biased=is_biased))


def told(clips: Clips, reference: Moments, samples: Moments) -> dict[str, Any]:
    """What a figure depends on beside weights and films, for evaluation.json; counts are those that were seen."""
    return dataclasses.asdict(clips) | {"count": samples.count, "reference_count": reference.count}
