"""Pictures in DINOv2's space (arXiv 2306.04675), prepared as there."""

import functools
from pathlib import Path

from jax.sharding import Mesh

from ptdit_jax.evaluation.network import TOGETHER, Network
from ptdit_jax.evaluation.pictures import Pictures
from ptdit_jax.features import dinov2
from ptdit_jax.metrics import Moments


class Dinov2:
    """The network.

    Attributes:
      digest: sha256 of weights, sizes and preparation, hex.
    """

    def __init__(self, folder: Path, mesh: Mesh, together: int = TOGETHER):
        """Read the weights.

        Args:
          folder: see `dinov2.load`.
          mesh: see `Network`.
          together: pictures that a device looks at.

        Raises:
          ValueError: see `dinov2.load`.
          OSError: likewise.
        """
        self._opened, self.digest = dinov2.load(folder, as_paper=True)
        apply = functools.partial(dinov2.apply, self._opened.arch)
        self._network = Network(apply, self._opened.params, mesh, together)

    def of(self, images: Pictures, *, name: str | None, count: int | None = None) -> Moments:
        """The moments of the first images; see `statistics.Inception.of`."""
        seen = Moments.none(self._opened.arch.blocks.width)
        count = images.count if count is None else count
        prepared = lambda numbers: self._opened.prepare(images.read(numbers))  # noqa: E731
        for part in self._network.over(prepared, count, name=name):
            seen += Moments.of(part)
        return seen
