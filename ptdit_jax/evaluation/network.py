"""A frozen network over many samples: all devices, of all processes, look at a part of them each, in their order.

Shapes: N samples, n of a part.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from ptdit_jax.parallel.rules import batch_sharding, replicated
from ptdit_jax.progress import Bar

TOGETHER = 64  # pictures that a device looks at
FILMS_TOGETHER = 4

Read = Callable[[np.ndarray], np.ndarray]
"""Numbers (n,) -> the samples of these numbers (n, ...); a number may come several times."""


class Network:
    """One program for all samples of a shape.

    What a device computes and the order of what is given do not depend on how many devices or processes there are, so
    what is added up of it does not either.

    Attributes:
      rows: samples that all devices look at together.
    """

    def __init__(self, function: Callable[[Any, Any], Any], params: Any, mesh: Mesh, together: int):
        """Put the parameters on the devices.

        Args:
          function: a pure function of parameters and samples (n, ...) that gives a tree of arrays (n, ...).
          params: the parameters.
          mesh: the devices, of all processes of a run or of this one alone.
          together: samples of a device.
        """
        self._mesh, self._together = mesh, together
        self._params = jax.tree.map(self._everywhere, params)
        self.rows = together * mesh.size
        self._apply = jax.jit(function, out_shardings=replicated(mesh))

    def _everywhere(self, array: Any) -> jax.Array:
        host = np.asarray(array)
        return jax.make_array_from_callback(host.shape, replicated(self._mesh), lambda index: host[index])

    @property
    def share(self) -> slice:
        """The rows of a part that this process looks at."""
        whose = [device.process_index for device in self._mesh.devices.flat]
        mine = [place for place, process in enumerate(whose) if process == jax.process_index()]
        return slice(mine[0] * self._together, (mine[-1] + 1) * self._together)

    def __call__(self, mine: np.ndarray) -> Any:
        """What the function gives for all `rows` samples of a part, on the host of every process.

        Args:
          mine: the rows `share` of the part.
        """
        place = batch_sharding(self._mesh)
        whole = jax.make_array_from_process_local_data(place, mine, (self.rows, *mine.shape[1:]))
        return jax.tree.map(np.asarray, self._apply(self._params, whole))

    def over(self, read: Read, count: int, *, name: str | None, unit: str = "image") -> Iterator[Any]:
        """What the function gives for the samples 0 to N - 1, in pieces of as many as a device looks at.

        Args:
          read: gives samples; a process reads its own alone.
          count: N.
          name: of the bar; None for no bar.
          unit: of the bar.

        Yields:
          The tree of arrays (n, ...).
        """
        with Bar(count, name or "", unit, silent=name is None or jax.process_index() != 0) as bar:
            for first in range(0, count, self.rows):
                numbers = np.arange(first, first + self.rows).clip(max=count - 1)  # the last one fills up
                found = self(read(numbers[self.share]))
                there = min(self.rows, count - first)
                for start in range(0, there, self._together):  # the same pieces on any number of devices
                    piece = slice(start, min(start + self._together, there))
                    yield jax.tree.map(lambda array, piece=piece: array[piece], found)
                bar.update(there)
