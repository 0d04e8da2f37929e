"""Bytes of a picture to pixels, by Pillow: upright, 8 bits, RGB, on white where it is transparent.

Shapes: H rows, W columns.
"""

import contextlib
import ctypes
import logging
import math
import warnings
from collections.abc import Iterator
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, _imaging

from data_pipelines.raw import kinds_of_bytes
from data_pipelines.raw.problems import Unusable

MAX_PIXELS = 2**27  # of a picture or a frame: 134 megapixels, 400 MB in RGB
_ANIMATED = (
    "GIF",
    "WEBP",
    "PNG",
    "AVIF",
)  # formats whose further frames are an animation; a TIFF's are pages
_ORIENTATION = 0x0112  # of EXIF
_SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange rows and columns
_SIXTEEN = ("I;16", "I;16L", "I;16B", "I;16N")
_WARNED = 60  # characters of a decoder's own words

# What Pillow says of a file beside its errors goes nowhere: a damaged file is an error, and the rest are details of
# millions of files.  Both are set once, because a filter is of the whole process and not of a thread.
logging.getLogger("PIL").addHandler(logging.NullHandler())
logging.getLogger("PIL").propagate = False
warnings.filterwarnings("ignore", module=r"PIL\b")
with contextlib.suppress(
    AttributeError, OSError
):  # libtiff has no logger: it writes to standard error, unless told
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


def read(
    file: IO[bytes], *, min_side: int = 0, max_pixels: int = MAX_PIXELS, animated: str = "first"
) -> np.ndarray:
    """Decodes a picture.

    Args:
        file: its bytes, open at their begin.
        min_side: rows and columns must be at least so many.
        max_pixels: rows times columns may be at most so many; known before anything is decoded.
        animated: what is done with an animation: its "first" frame is taken, or "refuse".

    Returns:
        (H, W, 3) uint8, as the camera was held.

    Raises:
        Unusable: with reason "animated", "damaged", "empty", "not_an_image", "too_large", "too_small" or
            "unknown_range".
    """
    with _opened(file) as image:
        if animated == "refuse" and image.format in _ANIMATED and getattr(image, "n_frames", 1) > 1:
            raise Unusable("animated", f"has {getattr(image, 'n_frames', 1)} frames")
        check_size(image.height, image.width, min_side=min_side, max_pixels=max_pixels)
        image.load()  # raises where the file ends early
        return np.ascontiguousarray(np.asarray(_rgb(_upright(image))))


def size(file: IO[bytes]) -> tuple[int, int]:
    """Returns (H, W) of a picture as the camera was held, by its header alone; see `read` for what is raised."""
    with _opened(file) as image:
        sideways = _orientation(image) in _SIDEWAYS
        return (image.width, image.height) if sideways else (image.height, image.width)


def check_size(height: int, width: int, *, min_side: int, max_pixels: int) -> None:
    """Raises for what is too small or too large.

    Raises:
        Unusable: with reason "too_small" or "too_large".
    """
    if math.prod((height, width)) > max_pixels:
        raise Unusable("too_large", f"has {width} x {height} pixels, more than max_pixels = {max_pixels:,}")
    if min(height, width) < max(min_side, 1):
        raise Unusable("too_small", f"has {width} x {height} pixels, min_side is {min_side}")


@contextlib.contextmanager
def _opened(file: IO[bytes]) -> Iterator[Image.Image]:
    """The picture in a file, its pixels not yet decoded; whatever Pillow raises, here or below, becomes a reason."""
    begin = file.read(kinds_of_bytes.BEGIN)
    if not begin:
        raise Unusable("empty", "has no bytes")
    kind = kinds_of_bytes.picture(begin)
    if kind is None:
        raise Unusable("not_an_image", f"is {kinds_of_bytes.describe(begin)}")
    file.seek(0)
    try:
        with Image.open(file, formats=[kind]) as image:
            yield image
    except (Unusable, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise Unusable("too_large", str(error)) from error
    except UnidentifiedImageError as error:  # its text names only a Python object
        raise Unusable("damaged", f"begins as {kind}, but its header cannot be read") from error
    except Exception as error:  # of damaged files Pillow raises nearly anything
        text = " ".join(str(error).split())[:_WARNED] or type(error).__name__
        raise Unusable("damaged", f"{kind}: {text}") from error


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none that can be read."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # an EXIF of garbage is no reason to lose a picture
        return 1
    return value if value in range(1, 9) else 1


def _upright(image: Image.Image) -> Image.Image:
    return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)


def _rgb(image: Image.Image) -> Image.Image:
    """A decoded picture of any mode as RGB."""
    if image.mode in _SIXTEEN or (image.mode == "I" and image.format in ("PNG", "PPM")):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise Unusable("unknown_range", f"has values from {values.min()} to {values.max()}")
        return Image.fromarray(np.rint(values / 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        kind = "floats" if image.mode == "F" else "whole numbers of 32 bits"
        raise Unusable("unknown_range", f"its pixels are {kind}")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image).convert(
            "RGB"
        )
    return image.convert("RGB")
