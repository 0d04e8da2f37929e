"""Raw records, decoded in threads a little ahead of who uses them."""

import collections
import dataclasses
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from data_pipelines.raw import RawRecord, Unusable, decode
from ptdit_jax.encode.shapes import Shapes
from ptdit_jax.encode.sources import Sources

ABSENT = ("no_caption", "empty_caption")  # reasons that `encode.no_caption` is about
CAPTION_REASONS = (*ABSENT, "caption_not_text", "caption_too_long")  # that do not matter where none is needed
AHEAD = 2  # decoded records that wait, for each thread


@dataclasses.dataclass(frozen=True)
class Sample:
    """A record that can be used.

    Attributes:
      place: its number.
      source: number of its source, from 1.
      key: as the source has it.
      kind: "image", "video" or "multiview".
      pixels: (F, H, W, 3) uint8 of its shape.
      size: rows and columns before.
      caption: None without one.
      label: None without one.
    """

    place: int
    source: int
    key: str
    kind: str
    pixels: np.ndarray
    size: tuple[int, int]
    caption: str | None
    label: int | None

    def rejected(self, reason: str, text: str) -> "Rejected":
        """What it is if it cannot be used after all."""
        return Rejected(self.place, self.source, self.key, reason, text)


@dataclasses.dataclass(frozen=True)
class Rejected:
    """A record that cannot be used.

    Attributes:
      place: its number.
      source: number of its source, from 1.
      key: as the source has it.
      reason: a key of `data_pipelines.raw.REASONS`, or "not_finite".
      text: what exactly is wrong.
    """

    place: int
    source: int
    key: str
    reason: str
    text: str


class Reader:
    """Decodes records to what is encoded of them."""

    def __init__(self, sources: Sources, shapes: Shapes, encode: Any, *, captions: bool):
        """Prepare.

        Args:
          sources: the records.
          shapes: what they are decoded to.
          encode: the section of the config.
          captions: whether each needs one; else they are left out.
        """
        self._sources, self._shapes, self._captions = sources, shapes, captions
        self._labels = sources.classes is not None
        self._encode = encode
        self._options = {"min_side": encode.min_side}
        film = {"frames": shapes.pixel_frames, "fps": encode.fps, "stride": encode.stride}
        if encode.clip != "start":
            film["start"] = encode.clip
        self._film = film

    def stream(self, places: Iterable[int]) -> Generator[Sample | Rejected, None, None]:
        """The records with these numbers, in this order; only so many are in memory as are decoded at once."""
        pool = ThreadPoolExecutor(self._encode.decode_threads, thread_name_prefix="decode")
        waiting: collections.deque[Future[Sample | Rejected]] = collections.deque()
        try:
            for place in places:
                waiting.append(pool.submit(self.read, place))
                if len(waiting) > AHEAD * self._encode.decode_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def read(self, place: int) -> Sample | Rejected:
        """Record number `place`.

        Raises:
          OSError: the machine failed, or the storage is gone.
        """
        number, record = self._sources[place]
        try:
            return self._decode(place, number + 1, record)
        except Unusable as error:
            return Rejected(place, number + 1, record.key, error.reason, error.text)

    def _decode(self, place: int, source: int, record: RawRecord) -> Sample:
        record = self._with_caption(record)
        if record.problem is not None:
            raise record.problem
        if self._labels and record.label is None:
            raise Unusable("no_label", "has no class label, where others have one")
        size: list[tuple[int, int]] = []

        def shape(rows: int, columns: int) -> tuple[int, int]:
            size.append((rows, columns))
            return self._shapes.target(rows, columns)

        film = self._film if record.kind == "video" else {}
        pixels = decode(record, shape=shape, **self._options, **film)
        if record.kind == "multiview" and len(pixels) != self._shapes.views:
            raise Unusable("views_missing", f"has {len(pixels)} views, not data.frames={self._shapes.views}")
        label = record.label if self._labels else None
        return Sample(place, source, record.key, record.kind, pixels, size[0], record.caption, label)

    def _with_caption(self, record: RawRecord) -> RawRecord:
        """The record with the caption that is encoded, or with why it has none; None where none is needed."""
        problem = record.problem
        about_caption = problem is not None and problem.reason in CAPTION_REASONS and bool(record.media)
        if not self._captions:
            return dataclasses.replace(record, caption=None, problem=None if about_caption else problem)
        absent = record.caption is None if problem is None else about_caption and problem.reason in ABSENT
        if not absent:
            return record
        if self._encode.no_caption == "empty":
            return dataclasses.replace(record, caption="", problem=None)
        reason = problem.reason if problem is not None else "no_caption"
        why = f"has no caption; encode.no_caption='empty' takes it as {''!r}"
        return dataclasses.replace(record, problem=Unusable(reason, why))
