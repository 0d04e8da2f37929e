"""Films to be judged: an `.npz`, or a folder of videos; read a few at a time, of each the frames that are seen.

Shapes: N films, n of a part, F frames, H rows, W columns.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines.raw import films as reader
from data_pipelines.raw.media import Stored
from data_pipelines.raw.problems import Unusable
from ptdit_jax.evaluate import npz
from ptdit_jax.evaluate.clips import Side

SUFFIXES = (".mp4", ".webm", ".avi", ".mkv", ".gif", ".mov")


class Films(NamedTuple):
    """Where films are.

    Attributes:
      path: an `.npz`, or a folder.
      count: N.
      size: (H, W).
      frames: of each film of an `.npz`; None of a folder, whose films may differ.
      files: of a folder, by name; () for an `.npz`.
    """

    path: Path
    count: int
    size: tuple[int, int]
    frames: int | None = None
    files: tuple[Path, ...] = ()

    def parts(self, side: Side, rows: int) -> Iterator[np.ndarray]:
        """The frames that are seen of the films that are taken, (n, F, H, W, 3) uint8, n = `rows` but for the last.

        Args:
          side: which those are.
          rows: films of a part.

        Raises:
          ValueError: there are too few films, or one is too short, of another size, or cannot be read.
          OSError: a file cannot be read.
        """
        kept: list[np.ndarray] = []
        for clip in self._clips(side):
            kept.append(clip)
            if len(kept) == rows:
                yield np.stack(kept)
                kept = []
        if kept:
            yield np.stack(kept)

    def _clips(self, side: Side) -> Iterator[np.ndarray]:
        chosen = side.chosen(self.count, str(self.path)).tolist()
        if self.files:
            for number in chosen:
                yield _of_file(self.files[number], number, side, self.size)
            return
        wanted = set(chosen)
        for number, (film,) in enumerate(npz.parts(self.path, chosen[-1] + 1, 1)):
            if number in wanted:
                yield film[side.places(self.frames, number, f"{self.path}: film {number}")]


def find(path: Path, flag: str) -> Films:
    """The films of a path.

    Args:
      path: an `.npz` whose `arr_0` is (N, F, H, W, 3) uint8, or a folder, with the folders in it.
      flag: that named it, for messages.

    Raises:
      ValueError: there are none, they are no RGB of 8 bits, or the first one cannot be read.
      OSError: it cannot be read.
    """
    if path.is_dir():
        files = tuple(sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES))
        if not files:
            raise ValueError(f"{flag}={path} holds no films ({', '.join(SUFFIXES)})")
        frames = _decoded(files[0], range(1))
        if not frames:
            raise ValueError(f"{files[0]} has no frame")
        return Films(path, len(files), (frames[0].shape[0], frames[0].shape[1]), files=files)
    shape, dtype = npz.header(path, flag)
    if len(shape) != 5 or shape[-1] != 3 or dtype != np.uint8:
        raise ValueError(f"{flag}={path}: {npz.ARRAY} is {dtype} {shape}; it must be uint8 (N, F, H, W, 3)")
    return Films(path, shape[0], (shape[2], shape[3]), shape[1])


def _of_file(file: Path, number: int, side: Side, size: tuple[int, int]) -> np.ndarray:
    """The frames of a file that are seen, (F, H, W, 3) uint8."""
    total = None if side.offset == "first" else _counted(file)
    wanted = side.places(total, number, str(file))
    pixels = _decoded(file, wanted)
    if len(pixels) < len(wanted):
        side.places(_counted(file), number, str(file))  # says so
        raise ValueError(f"{file} gave {len(pixels)} frames of the {len(wanted)} that it has")
    for each in pixels:
        if each.shape[:2] != size:
            raise ValueError(
                f"{file} has frames of {each.shape[0]}x{each.shape[1]} pixels, the first film of {size[0]}x{size[1]}"
            )
    return np.stack(pixels)


def _counted(file: Path) -> int:
    try:
        with Stored(file).open() as content:
            return reader.count(content)
    except Unusable as error:
        raise ValueError(f"{file} cannot be read: {error.text}") from error


def _decoded(file: Path, wanted: range) -> list[np.ndarray]:
    try:
        with Stored(file).open() as content:
            return reader.numbered(content, wanted)
    except Unusable as error:
        raise ValueError(f"{file} cannot be read: {error.text}") from error
