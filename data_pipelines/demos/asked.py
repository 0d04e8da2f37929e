"""What the samples of a demonstration are asked for: captions of training, and of what it never saw."""

from typing import Any

import numpy as np

from data_pipelines.text import TextInfo

EVERY = 3  # of so many records the last is held out: digits come in turns of ten, which 3 does not divide


class WithHeldOut:
    """The records of two sources in turn, whose `facts` begin with whether the record is of the held-out one."""

    captions = True
    text: TextInfo | None = None

    def __init__(self, seen: Any, held_out: Any) -> None:
        """Takes two sources of the same shapes, with `facts`."""
        self._sources = (seen, held_out)
        self.classes, self.shape = seen.classes, seen.shape

    def __len__(self) -> int:
        """Returns the number of records."""
        return min(map(len, self._sources))

    def _is_held_out(self, record: int) -> int:
        return int(record % EVERY == EVERY - 1)

    def __getitem__(self, record: int) -> dict[str, np.ndarray]:
        """Returns record number `record`."""
        return self._sources[self._is_held_out(record)][record]

    def facts(self, record: int) -> np.ndarray:
        """Returns (1 + k,) int32."""
        held_out = self._is_held_out(record)
        return np.append(np.int32(held_out), self._sources[held_out].facts(record)).astype(np.int32)
