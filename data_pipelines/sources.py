"""Where records come from: a table of random-access sources, each opened from the `data` part of a config.

Shapes: N records, C channels, F frames, H rows, W columns.

Records of a source may have several shapes; then it has `buckets`, and reads records of one together (`read`).

`source[i]` is record i, the same bytes on every call and from any thread: a dict of `x` (C, F, H, W) float32
and, when there are labels, `label` () int32, with text the stored states `text` (l, E) of its caption (see
`data_pipelines.text`), and `caption`, the bytes of that as uint8, from sources that have an attribute `captions` that
is True. Order, epochs, batches, padding and augmentation are the loader's.
"""

import copy
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data_pipelines import captions
from data_pipelines.demos.digits import ColoredDigits, DirectedDigits
from data_pipelines.demos.solids import Solids
from data_pipelines.folders import ArrayFolder
from data_pipelines.members import shapes_of
from data_pipelines.mixture import FORM, Mixture, parse
from data_pipelines.prepared import PreparedDataset
from data_pipelines.scans import DIGIT_CLASSES, DIGIT_SIDE, digit_scans, enlarged
from data_pipelines.shards.dataset import ShardedDataset
from data_pipelines.text import TextInfo


class Source(Protocol):
    """Records by number."""

    @property
    def classes(self) -> int | None:
        """Number of classes (every label is in [0, classes)), or None without labels."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, F, H, W) of every record."""
        ...

    @property
    def text(self) -> TextInfo | None:
        """What is known of the text states, or None without text."""
        ...

    def __len__(self) -> int:
        """Returns N."""
        ...

    def __getitem__(self, record: int) -> Mapping[str, np.ndarray]:
        """Returns record number `record`, in [0, N)."""
        ...


def open_source(data: Any) -> Source:
    """Opens the source that `data.name` names and checks it against the config.

    Args:
        data: the `data` part of a config.

    Returns:
        The source; its records, or those of one of its buckets, have the shape (C, data.frames, data.height,
        data.width).

    Raises:
        ValueError: the name is unknown, `data.path` cannot be read, or the records have another size, or more
            different ones than `data.max_shapes`.
    """
    if data.name not in SOURCES:
        raise ValueError(f"data.name = {data.name!r}: must be one of {', '.join(sorted(SOURCES))}")
    if data.mixture and data.name != "mixture":
        raise ValueError(
            f"data.mixture = {data.mixture}: must be () with data.name = {data.name!r}, or that 'mixture'"
        )
    source = SOURCES[data.name](data)
    sizes, wanted = [shape[1:] for shape in shapes_of(source)], (data.frames, data.height, data.width)
    if not len(source):
        raise ValueError(f"data.name = {data.name!r}: has no records")
    if wanted not in sizes:
        have = sizes[0] if len(sizes) == 1 else f"one of {', '.join(map(str, sizes))}"
        raise ValueError(
            f"data.frames, data.height, data.width = {wanted}: the records of data.name = {data.name!r} have {have}"
        )
    if len(sizes) > data.max_shapes:
        raise ValueError(
            f"data.max_shapes = {data.max_shapes}: the records of data.name = {data.name!r} have {len(sizes)} shapes, "
            "and a training step is compiled for each"
        )
    return source


def _mixture(data: Any) -> Mixture:
    """Opens the sources of `data.mixture`."""
    if not data.mixture:
        raise ValueError(f"data.mixture = (): must have entries with data.name = 'mixture', each {FORM}")
    members = []
    for text in data.mixture:
        entry = parse(text, flip=data.flip)
        if entry.name not in SOURCES or entry.name == "mixture":
            names = ", ".join(sorted(set(SOURCES) - {"mixture"}))
            raise ValueError(
                f"data.mixture: {text!r} names the source {entry.name!r}, must be one of {names}"
            )
        one = copy.deepcopy(data)
        one.name, one.path, one.flip, one.mixture = entry.name, entry.path, entry.flip, ()
        try:
            source = SOURCES[entry.name](one)
        except ValueError as error:
            raise ValueError(f"data.mixture: {text!r}: {error}") from error
        if not len(source):
            raise ValueError(f"data.mixture: {text!r} has no records")
        members.append((entry, source))
    return Mixture(members)


def rolled_back(signals: np.ndarray) -> np.ndarray:
    """Signals (N, C, 1, 1, 64) of digits, as in `SignalDigits`, as the images (N, C, 1, 8, 8) that they unroll."""
    return signals.reshape(*signals.shape[:3], DIGIT_SIDE, DIGIT_SIDE)


class Digits:
    """The scans of `digit_scans` as one-channel images (1, 1, side, side), enlarged for a side of 16, 24, ..."""

    classes = DIGIT_CLASSES
    text: TextInfo | None = None

    def __init__(self, height: int = DIGIT_SIDE, width: int = DIGIT_SIDE) -> None:
        """Loads the scans, 0.5 MB; for a size that they cannot have, as they are."""
        side = height if height == width and height > 0 and height % DIGIT_SIDE == 0 else DIGIT_SIDE
        scans, self._labels = digit_scans()
        self._scans = enlarged(scans, side)
        self.shape = (1, 1, side, side)

    def __len__(self) -> int:
        """Returns 1797."""
        return len(self._scans)

    def __getitem__(self, record: int) -> dict[str, np.ndarray]:
        """Returns scan number `record`."""
        return {"x": self._scans[record][None, None], "label": self._labels[record]}


class SignalDigits(Digits):
    """The scans of `Digits`, unrolled row by row into signals (1, 1, 1, 64) along one axis."""

    def __init__(self) -> None:
        """Loads the scans, 0.5 MB."""
        super().__init__()
        self._scans = self._scans.reshape(len(self._scans), 1, -1)
        self.shape = (1, 1, 1, DIGIT_SIDE**2)


class CaptionedDigits(Digits):
    """The scans of `Digits`, each in one record with every phrasing of its caption.

    Record i shows scan i mod 1797; neighbours have different phrasings.
    """

    text = TextInfo(captions.DIM, captions.PLACES, captions.encode(""))
    captions = True

    def __len__(self) -> int:
        """Returns 1797 times the number of phrasings."""
        return len(captions.PHRASES) * super().__len__()

    def __getitem__(self, record: int) -> dict[str, np.ndarray]:
        """Returns record number `record`."""
        turn, scan = divmod(record, super().__len__())
        sample = super().__getitem__(scan)
        caption = captions.digit_caption(int(sample["label"]), (scan + turn) % len(captions.PHRASES))
        return sample | {
            "text": captions.encode(caption),
            "caption": np.frombuffer(caption.encode(), np.uint8),
        }


class MovingDigits:
    """Videos (1, F, H, W) of one scan that moves with constant velocity and bounces off the borders.

    Every scan appears in `PATHS` videos. Record i shows scan i mod 1797; where it starts, its direction and
    its speed are drawn from a generator seeded by i. The digit stands on whole pixels, the background is -1.
    """

    PATHS = 8
    SPEEDS = (0.5, 1.5)  # pixels a frame, along the direction of motion

    classes = DIGIT_CLASSES
    text = None

    def __init__(self, frames: int, height: int, width: int) -> None:
        """Takes the number of frames and the size of the canvas in pixels, at least that of a scan."""
        if min(height, width) < DIGIT_SIDE or frames < 1:
            raise ValueError(
                f"data.frames, data.height, data.width = {(frames, height, width)}: 'moving_digits' needs at "
                f"least {(1, DIGIT_SIDE, DIGIT_SIDE)}"
            )
        self.shape = (1, frames, height, width)
        self._scans, self._labels = digit_scans()

    def __len__(self) -> int:
        """Returns PATHS videos for each scan."""
        return self.PATHS * len(self._scans)

    def __getitem__(self, record: int) -> dict[str, np.ndarray]:
        """Renders video number `record`."""
        _, frames, height, width = self.shape
        scan = record % len(self._scans)
        x = np.full(self.shape, -1, np.float32)
        for frame, (row, column) in enumerate(self._corners(record, frames, height, width)):
            x[0, frame, row : row + DIGIT_SIDE, column : column + DIGIT_SIDE] = self._scans[scan]
        return {"x": x, "label": self._labels[scan]}

    def _corners(self, record: int, frames: int, height: int, width: int) -> np.ndarray:
        """Returns the row and column (F, 2) of the scan's upper left corner in every frame."""
        rng = np.random.default_rng(record)
        span = np.array([height, width]) - DIGIT_SIDE  # the corner moves in [0, span]
        start = rng.uniform(0, span)
        angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(*self.SPEEDS)
        velocity = speed * np.array([np.sin(angle), np.cos(angle)])
        free = start + np.arange(frames)[:, None] * velocity
        # A reflected path is the free one folded at 0 and at span: a triangle wave of period 2 span.
        folded = span - np.abs(free % np.maximum(2 * span, 1) - span)
        return np.rint(np.maximum(folded, 0)).astype(int)


def _reused(kind: Callable[[str], Source], path: str) -> Source:
    """Returns a source that was opened lately if its files are the same: headers of many are read once a process."""
    folder = Path(path).expanduser()
    entries = os.scandir(folder) if path and folder.is_dir() else ()
    states = {entry.name: entry.stat() for entry in entries if entry.is_file()}
    files = tuple((name, s.st_ino, s.st_size, s.st_mtime_ns) for name, s in sorted(states.items()))
    return _opened(kind, path, files)


@functools.lru_cache(maxsize=8)  # of a mixture
def _opened(kind: Callable[[str], Source], path: str, files: tuple) -> Source:
    """Opens a source; `files` is what `_reused` knows of them."""
    return kind(path)


SOURCES: dict[str, Callable[[Any], Source]] = {
    "digits": lambda data: Digits(data.height, data.width),
    "captioned_digits": lambda data: CaptionedDigits(),
    "signal_digits": lambda data: SignalDigits(),
    "moving_digits": lambda data: MovingDigits(data.frames, data.height, data.width),
    "colored_digits": lambda data: ColoredDigits(data.height, data.width),
    "directed_digits": lambda data: DirectedDigits(data.frames, data.height, data.width),
    "solids": lambda data: Solids(data.frames, data.height, data.width),
    "arrays": lambda data: _reused(ArrayFolder, data.path),
    "tfds": lambda data: _reused(PreparedDataset, data.path),
    "shards": lambda data: _reused(ShardedDataset, data.path),
    "mixture": lambda data: _mixture(data),
}
"""What `data.name` can be."""
