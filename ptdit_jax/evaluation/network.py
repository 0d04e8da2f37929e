"""Inception over images: all devices, of all processes, look at a part of them each, in the order of the images.

Shapes: N images, n of a part, H rows, W columns.
"""

from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from ptdit_jax.evaluation import pictures, statistics
from ptdit_jax.evaluation.statistics import Statistics
from ptdit_jax.features import inception
from ptdit_jax.metrics.classes import SPLIT
from ptdit_jax.parallel.rules import batch_sharding, replicated
from ptdit_jax.progress import Bar

TOGETHER = 64  # images that a device looks at


class Network:
    """Inception, one program for all images.

    What a device computes and the order of the sums do not depend on how many devices or processes there are, so the
    figures do not either.

    Attributes:
      digest: sha256 of the weights' file, hex.
      rows: images that all devices look at together.
    """

    def __init__(self, path: Path, mesh: Mesh, together: int = TOGETHER):
        """Read the weights.

        Args:
          path: see `inception.load`.
          mesh: the devices, of all processes of the run or of this one alone.
          together: images of a device.

        Raises:
          ValueError: see `inception.load`.
          OSError: likewise.
        """
        params, self.digest = inception.load(path)
        self._mesh, self._together = mesh, together
        self._params = jax.tree.map(self._everywhere, params)
        self.rows = together * mesh.size
        self._apply = jax.jit(inception.apply, out_shardings=replicated(mesh))

    def _everywhere(self, array: jax.Array) -> jax.Array:
        host = np.asarray(array)
        return jax.make_array_from_callback(host.shape, replicated(self._mesh), lambda index: host[index])

    @property
    def share(self) -> slice:
        """The rows of a part that this process looks at."""
        whose = [device.process_index for device in self._mesh.devices.flat]
        mine = [place for place, process in enumerate(whose) if process == jax.process_index()]
        return slice(mine[0] * self._together, (mine[-1] + 1) * self._together)

    def __call__(self, mine: np.ndarray) -> inception.Features:
        """Features of all `rows` images of a part, on the host of every process.

        Args:
          mine: uint8 (`share`, H, W, 3); what a part lacks is filled up.
        """
        place = batch_sharding(self._mesh)
        images = jax.make_array_from_process_local_data(place, mine, (self.rows, *mine.shape[1:]))
        return inception.Features(*(np.asarray(each) for each in self._apply(self._params, images)))

    def of(
        self,
        images: pictures.Pictures,
        wanted: set[str],
        *,
        name: str | None,
        count: int | None = None,
        split: int = SPLIT,
        biased: bool = False,
    ) -> Statistics:
        """Look at the first images of a set.

        Args:
          images: the set.
          wanted: see `statistics.of_features`, as the rest.
          name: of the bar; None for no bar.
          count: of images; None: all.
          split: see there.
          biased: see there.

        Raises:
          ValueError: an image cannot be read, or a feature is not finite.
          OSError: a file cannot be read.
        """
        count = images.count if count is None else count

        def parts() -> Iterator[inception.Features]:
            silent = name is None or jax.process_index() != 0
            with Bar(count, name or "", "image", silent=silent) as bar:
                for first in range(0, count, self.rows):
                    whole = np.arange(first, first + self.rows).clip(max=count - 1)
                    found = self(images.read(whole[self.share]))
                    there = min(self.rows, count - first)
                    for start in range(0, there, self._together):  # the same pieces on any number of devices
                        piece = slice(start, min(start + self._together, there))
                        yield inception.Features(*(each[piece] for each in found))
                    bar.update(there)

        return statistics.of_features(parts(), wanted, split=split, biased=biased)
