"""The Fréchet video distance (arXiv 1812.01717): of the logits of Inception-3D, over clips as a protocol has them.

Shapes: n films of a part, F frames, H rows, W columns.
"""

import dataclasses
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from ptdit_jax.evaluation.clips import Clips, network_sees
from ptdit_jax.evaluation.films import Films
from ptdit_jax.evaluation.network import FILMS_TOGETHER, Network
from ptdit_jax.features import i3d
from ptdit_jax.metrics import Gaussian, Moments, frechet_distance

Over = Callable[[Callable[[np.ndarray], np.ndarray], int], Iterable[np.ndarray]]
"""What gives the samples of numbers, and how many there are -> logits (n, 400), a part at a time."""


class I3d:
    """The network, and how it is shown a protocol's clips.

    Attributes:
      digest: sha256 of the weights' file, hex.
    """

    def __init__(self, path: Path, clips: Clips, mesh: Mesh, together: int = FILMS_TOGETHER):
        """Read the weights.

        Args:
          path: see `i3d.load`.
          clips: the protocol, whose resize the program has.
          mesh: see `Network`.
          together: films that a device looks at.

        Raises:
          ValueError: see `i3d.load`.
          OSError: there is no such file.
        """
        params, self.digest = i3d.load(path)
        self.clips = clips

        def logits(params: i3d.Params, films: jax.Array) -> jax.Array:
            return i3d.apply(params, network_sees(films, clips.resize)).logits

        self._network = Network(logits, params, mesh, together)

    def of(self, films: Films, *, reference: bool, name: str | None) -> Moments:
        """`films_statistics` by this network, under a bar if it has a name."""
        return films_statistics(
            films, self.clips, partial(self._network.over, name=name, unit="film"), reference=reference
        )


def films_statistics(films: Films, clips: Clips, over: Over, *, reference: bool = False) -> Moments:
    """Look at films, a part at a time, in memory that their number does not change.

    Args:
      films: of a folder, a file or an array.
      clips: the protocol.
      over: the network, as `Network.over`.
      reference: the films are those that others are compared with.

    Raises:
      ValueError: there are too few films, one is not as `Films.clip` wants it, or a logit is not finite.
      OSError: a file cannot be read.
    """
    count, read = films.clips(clips.side(reference=reference))
    moments = Moments.none(i3d.CLASSES)
    for logits in over(read, count):
        moments += Moments.of(logits)
    return moments


def fvd(reference: Gaussian, samples: Moments, clips: Clips) -> float:
    """The distance of the samples from the films that they are compared with.

    Args:
      reference: with the covariance of the protocol.
      samples: the logits of the films that are judged.
      clips: the protocol.

    Raises:
      ValueError: there are too few films for a covariance.
    """
    return frechet_distance(reference, samples.gaussian(biased=clips.covariance == "biased"))


def told(clips: Clips, reference_count: int, count: int) -> dict[str, Any]:
    """What a figure depends on beside weights and films, for evaluation.json; counts are those that were seen."""
    return dataclasses.asdict(clips) | {"count": count, "reference_count": reference_count}
