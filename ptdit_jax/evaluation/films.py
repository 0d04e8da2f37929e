"""Films to be judged: an `.npz`, a folder of videos, or an array; any of them by its number, the frames that are seen.

Shapes: N films, F frames, H rows, W columns.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines.raw import films as reader
from data_pipelines.raw.media import Stored
from data_pipelines.raw.problems import Unusable
from ptdit_jax.evaluation import npz
from ptdit_jax.evaluation.clips import Side

SUFFIXES = (".mp4", ".webm", ".avi", ".mkv", ".gif", ".mov")


class Films(NamedTuple):
    """Where films are.

    Attributes:
      where: for messages.
      count: N.
      size: (H, W).
      frames: of each film of an array; None of a folder, whose films may differ.
      files: of a folder, by name; () for an array.
      pixels: (N, F, H, W, 3) uint8, in memory or mapped into it; None for a folder.
    """

    where: str
    count: int
    size: tuple[int, int]
    frames: int | None = None
    files: tuple[Path, ...] = ()
    pixels: np.ndarray | None = None

    def clip(self, number: int, side: Side) -> np.ndarray:
        """The frames that are seen of a film, (F, H, W, 3) uint8.

        Args:
          number: of the film.
          side: which those are.

        Raises:
          ValueError: it is too short, of another size, or cannot be read.
          OSError: the file cannot be read.
        """
        if self.pixels is None:
            return _of_file(self.files[number], number, side, self.size)
        places = side.places(self.frames, number, f"{self.where}: film {number}")
        return np.asarray(self.pixels[number, places.start : places.stop : places.step])

    def clips(self, side: Side) -> tuple[int, Callable[[np.ndarray], np.ndarray]]:
        """How many films are taken, and what reads their clips, as `Network.over` wants it.

        Raises:
          ValueError: there are too few; what reads raises as `clip`.
        """
        chosen = side.chosen(self.count, self.where)

        def read(places: np.ndarray) -> np.ndarray:
            numbers = chosen[places].tolist()
            found = {
                number: self.clip(number, side) for number in set(numbers)
            }  # the last one fills up a part
            return np.stack([found[number] for number in numbers])

        return len(chosen), read

    def whole(self, number: int) -> np.ndarray:
        """All frames of a film, (F, H, W, 3) uint8; raises as `clip`."""
        if self.pixels is not None:
            return np.asarray(self.pixels[number])
        return np.stack(_decoded(self.files[number], range(_counted(self.files[number]))))


def of_array(pixels: np.ndarray, where: str) -> Films:
    """Films (N, F, H, W, 3) uint8 that are in memory.

    Raises:
      ValueError: they are something else.
    """
    if pixels.ndim != 5 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"{where} is {pixels.dtype} {pixels.shape}; it must be uint8 (N, F, H, W, 3)")
    return Films(where, len(pixels), (pixels.shape[2], pixels.shape[3]), pixels.shape[1], pixels=pixels)


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
        return Films(f"{flag}={path}", len(files), (frames[0].shape[0], frames[0].shape[1]), files=files)
    return of_array(npz.mapped(path, flag), f"{flag}={path}: {npz.ARRAY}")


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
