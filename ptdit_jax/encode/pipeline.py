"""One unit of raw records through the encoders into its shards.

Records of one shape are encoded together as soon as there is a batch of them, captions of one rounded length likewise;
a record is written when both have come back and all before it of its shape are.  So the shards do not depend on how
many devices there are, and what waits in memory is a batch for each shape and length, and what stands behind it.

Shapes: F frames, H rows, W columns, all latent; l tokens of a caption, E features.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_pipelines.shards.writer import ShardWriter
from ptdit_jax.encode.folder import Unit
from ptdit_jax.encode.networks import Networks, host
from ptdit_jax.encode.reading import Rejected, Sample
from ptdit_jax.encode.statistics import Statistics

FLYING = 2  # batches that the devices have before the first of them is waited for

NOTHING = np.zeros((0, 0, 0, 3), np.uint8)

Line = tuple[bool, tuple[int, ...]]
"""What is encoded together: whether frames are views, and the shape of the pixels."""


@dataclasses.dataclass(eq=False)
class Waiting:
    """A record of which something is missing still.

    Attributes:
      sample: its pixels are dropped when they are on their way.
      shape: (F, H, W) of the pixels.
      moments: (2C, F, H, W) bfloat16.
      text: (l, E) bfloat16.
    """

    sample: Sample
    shape: tuple[int, ...]
    moments: np.ndarray | None = None
    text: np.ndarray | None = None


class Pipeline:
    """The work on one unit."""

    def __init__(
        self, folder: Path, number: int, networks: Networks, *, shard_bytes: int, beat: Callable[[], object]
    ):
        """Prepare.

        Args:
          folder: where shards go.
          number: of the unit, which begins their names.
          networks: the encoders.
          shard_bytes: after which a shard ends.
          beat: called when a batch has come back from the devices.
        """
        self._folder, self._number, self._networks = folder, number, networks
        self._limit, self._beat = shard_bytes, beat
        self._pictures: dict[Line, list[Waiting]] = collections.defaultdict(list)
        self._captions: dict[int, list[tuple[Waiting, np.ndarray, int]]] = collections.defaultdict(list)
        self._flying: collections.deque[tuple[jax.Array, Callable[[np.ndarray], None]]] = collections.deque()
        self._lines: dict[Line, collections.deque[Waiting]] = collections.defaultdict(collections.deque)
        self._shards: dict[Line, _Shards] = {}
        self._rejected: list[Rejected] = []
        self.statistics = Statistics()

    def run(self, results: Iterable[Sample | Rejected], count: Callable[[Sample | Rejected], object]) -> Unit:
        """Encode the records of the unit, and write them.

        Args:
          results: all of them, in their order.
          count: called for each.

        Raises:
          OSError: the disk is full, or fails.
        """
        records = 0
        try:
            for result in results:
                records += 1
                if isinstance(result, Rejected):
                    self._rejected.append(result)
                else:
                    self._take(result)
                count(result)
            for line in list(self._pictures):
                self._send_pictures(line)
            for length in list(self._captions):
                self._send_captions(length)
            while self._flying:
                self._land()
            entries = [entry for shards in self._shards.values() for entry in shards.close()]
        except BaseException:
            for shards in self._shards.values():
                shards.abandon()
            raise
        entries.sort(key=lambda entry: entry["file"])
        quarantine = sorted(map(dataclasses.asdict, self._rejected), key=lambda one: one["place"])
        return Unit(self._number, records, entries, quarantine, self.statistics.as_dict())

    def _take(self, sample: Sample) -> None:
        waiting = Waiting(sample, sample.pixels.shape[:3])
        line = (sample.kind == "multiview", sample.pixels.shape)
        self._lines[line].append(waiting)
        self._pictures[line].append(waiting)
        if len(self._pictures[line]) == self._networks.batch_size(sample.pixels.shape[0]):
            self._send_pictures(line)
        if self._networks.text is not None:
            assert sample.caption is not None
            ids, tokens = self._networks.tokens(sample.caption)
            group = self._captions[len(ids)]
            group.append((waiting, ids, tokens))
            if len(group) == self._networks.captions_size:
                self._send_captions(len(ids))

    def _send_pictures(self, line: Line) -> None:
        group = self._pictures.pop(line)
        flying = self._networks.moments([one.sample.pixels for one in group], views=line[0])
        for one in group:
            one.sample = dataclasses.replace(one.sample, pixels=NOTHING)

        def arrived(moments: np.ndarray) -> None:
            for one, part in zip(group, moments):
                one.moments = part
            self._write(line)

        self._fly(flying, arrived)

    def _send_captions(self, length: int) -> None:
        group = self._captions.pop(length)
        flying = self._networks.states([ids for _, ids, _ in group], [count for *_, count in group])

        def arrived(states: np.ndarray) -> None:
            for (one, _, count), part in zip(group, states):
                one.text = part[:count].copy()  # not a view of the whole batch
            for line in list(self._lines):
                self._write(line)

        self._fly(flying, arrived)

    def _fly(self, array: jax.Array, arrived: Callable[[np.ndarray], None]) -> None:
        self._flying.append((array, arrived))
        while len(self._flying) > FLYING:
            self._land()

    def _land(self) -> None:
        array, arrived = self._flying.popleft()
        arrived(host(array))
        self._beat()

    def _write(self, line: Line) -> None:
        """Write the records of a shape that are complete, up to the first that is not."""
        queue = self._lines[line]
        while queue:
            one = queue[0]
            if one.moments is None or (self._networks.text is not None and one.text is None):
                return
            queue.popleft()
            if not all(np.isfinite(part).all() for part in (one.moments, one.text) if part is not None):
                why = "the encoders give values for it that are not finite"
                self._rejected.append(one.sample.rejected("not_finite", why))
                continue
            if line not in self._shards:
                channels, *size = one.moments.shape
                name = f"{self._number:06d}-{'x'.join(map(str, size))}" + "-views" * line[0]
                self._shards[line] = _Shards(self._folder, name, (channels // 2, *size), self._limit)
            self._shards[line].write(one)
            self.statistics.add(one.sample, one.shape, 0 if one.text is None else len(one.text))


class _Shards:
    """The shards of one shape of a unit."""

    def __init__(self, folder: Path, name: str, shape: tuple[int, ...], limit: int):
        self._folder, self._name, self._shape, self._limit = folder, name, shape, limit
        self._entries: list[dict[str, Any]] = []
        self._writer: ShardWriter | None = None
        self._bytes = 0

    def write(self, record: Waiting) -> None:
        if self._writer is None:
            path = self._folder / f"{self._name}-{len(self._entries):02d}.array_record"
            channels, frames, rows, columns = self._shape
            self._writer = ShardWriter(path, shape=(channels, frames, rows, columns))
            self._bytes = 0
        fields: dict[str, Any] = {"moments": record.moments, "key": record.sample.key}
        fields["size"] = np.array(record.sample.size, np.int32)
        fields |= {"text": record.text, "caption": record.sample.caption, "label": record.sample.label}
        self._writer.write(fields)
        self._bytes += sum(part.nbytes for part in (record.moments, record.text) if part is not None)
        if self._bytes >= self._limit:
            self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._entries.append(self._writer.close())
            self._writer = None

    def close(self) -> list[dict[str, Any]]:
        self._close()
        return self._entries

    def abandon(self) -> None:
        """Leave what is not finished; shards that are in place are written again."""
        if self._writer is not None:
            self._writer.discard()
