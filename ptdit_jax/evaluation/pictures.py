"""Pictures to be judged: ADM's `.npz`, a folder of files, or an array; any of them by its number.

Shapes: N images, n of those asked for, H rows, W columns.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_pipelines.raw import RAW, RawSource, decode, fit, open_raw
from data_pipelines.raw.naming import parse_name
from data_pipelines.raw.problems import Unusable
from ptdit_jax.evaluation import npz

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class Pictures(NamedTuple):
    """Where images are.

    Attributes:
      where: for messages.
      count: N.
      size: (H, W).
      files: of a folder, by name; () otherwise.
      pixels: (N, H, W, 3) uint8, in memory or mapped into it; None for a folder.
      is_cut: files of any size and mode are made of `size`: resized to cover it, the rest cut off (`decode.fit`).
      source: a raw source, whose pictures are cut so, too; None for the others.
    """

    where: str
    count: int
    size: tuple[int, int]
    files: tuple[Path, ...] = ()
    pixels: np.ndarray | None = None
    is_cut: bool = False
    source: RawSource | None = None

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """The images of some numbers, (n, H, W, 3) uint8.

        Raises:
          ValueError: a picture is of another size, or cannot be read.
          OSError: a file cannot be read.
        """
        if self.pixels is not None:
            return np.asarray(self.pixels[numbers])
        read: dict[int, np.ndarray] = {}
        for number in numbers.tolist():
            if number not in read:  # the last one fills up a part
                read[number] = self._picture(number)
        return np.stack([read[number] for number in numbers.tolist()])

    def _picture(self, number: int) -> np.ndarray:
        if self.source is not None:
            try:
                return decode(self.source[number], shape=self.size)[0]
            except Unusable as error:
                raise ValueError(f"{self.where}: record {number} cannot be used: {error.text}") from error
        file = self.files[number]
        if self.is_cut:
            return read_picture(file, self.size)
        pixels = read_picture(file)
        if pixels.shape[:2] != self.size:
            raise ValueError(
                f"{file} has {pixels.shape[0]}x{pixels.shape[1]} pixels, the others {self.size[0]}x{self.size[1]}"
            )
        return pixels


def of_array(pixels: np.ndarray, where: str) -> Pictures:
    """Images (N, H, W, 3) uint8 that are in memory.

    Raises:
      ValueError: they are something else.
    """
    if pixels.ndim != 4 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"{where} is {pixels.dtype} {pixels.shape}; it must be uint8 (N, H, W, 3)")
    return Pictures(where, len(pixels), (pixels.shape[1], pixels.shape[2]), pixels=pixels)


def read_picture(file: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """A picture (H, W, 3) uint8.

    Args:
      file: of the picture.
      size: (H, W) to make it of, whatever its size and mode, see `decode.fit`; None: it stays as it is.

    Raises:
      ValueError: it is none, or is not RGB.
      OSError: it cannot be read.
    """
    try:
        with Image.open(file) as opened:
            if size is not None:
                return fit(np.asarray(opened.convert("RGB"))[None], *size)[0]
            if opened.mode != "RGB":
                raise ValueError(f"{file} is of mode {opened.mode}; it must be RGB, 8 bits a channel")
            return np.asarray(opened)
    except SyntaxError as error:  # what Pillow says of a broken PNG
        raise ValueError(f"{file} cannot be read: {error}") from error


def find(
    path: Path, flag: str, *, size: tuple[int, int] | None = None, names: list[str] | None = None
) -> Pictures:
    """The images of a path.

    Args:
      path: an `.npz` whose `arr_0` is (N, H, W, 3) uint8, or a folder.
      flag: that named it, for messages.
      size: (H, W) that the pictures of a folder are made of, see `read_picture`; None: they have one size.
      names: of a folder: the files that are taken, in their order; None for all, by name.

    Raises:
      ValueError: there are none, or they are not RGB of 8 bits.
      OSError: it cannot be read.
    """
    if not path.is_dir():
        if size is not None or names is not None:
            raise ValueError(f"{flag}={path} must be a folder of pictures, for some to be chosen or cut")
        return of_array(npz.mapped(path, flag), f"{flag}={path}: {npz.ARRAY}")
    if names is None:
        files = tuple(sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES))
        files = tuple(file for file in files if file.stem not in ("summary", "sheet"))  # of `sample`
    else:
        files = tuple(path / name for name in names)
        if absent := [file for file in files if not file.is_file()]:
            raise ValueError(
                f"{flag}={path} lacks {len(absent):,} of {len(files):,} files, {absent[0].name} first"
            )
    if not files:
        raise ValueError(f"{flag}={path} holds no pictures ({', '.join(SUFFIXES)})")
    first = read_picture(files[0], size)
    return Pictures(
        f"{flag}={path}", len(files), (first.shape[0], first.shape[1]), files, is_cut=size is not None
    )


def of_source(text: str, flag: str, size: tuple[int, int]) -> Pictures:
    """The pictures of a raw source, `NAME:PATH?OPTION=VALUE` as `launch/encode.sh --source` has it.

    Args:
      text: see above.
      flag: that named it, for messages.
      size: (H, W) that they are resized to cover; the rest is cut off.

    Raises:
      ValueError: there is no such source, or its records are films or objects.
    """
    try:
        name = parse_name(text, RAW)
        found = open_raw(name.name, name.path, **name.options)
    except ValueError as error:
        raise ValueError(f"{flag}={text}: {error}") from error
    if (kind := found[0].kind) != "image":
        raise ValueError(f"{flag}={text} must be pictures, and its first record is of kind {kind!r}")
    return Pictures(f"{flag}={text}", len(found), size, is_cut=True, source=found)


def check_size(reference: Pictures, size: tuple[int, int]) -> None:
    """See that what samples are compared with has their size (H, W).

    Raises:
      ValueError: it has another.
    """
    if reference.size != size:
        raise ValueError(
            f"{reference.where} has images of {reference.size[0]}x{reference.size[1]} pixels, the samples "
            f"{size[0]}x{size[1]}"
        )
