"""What a picture or film is: its size, whether it can be decoded, and its hashes."""

import dataclasses
import hashlib
import io
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from data_pipelines.ingest.filters import check_size
from data_pipelines.ingest.options import Settings
from data_pipelines.ingest.reasons import LeftOut

PICTURES = {
    "JPEG": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tiff",
    "AVIF": "avif",
}
FILMS = ("mp4", "mkv", "webm", "mov", "avi", "m4v")
SUFFIXES = frozenset([*PICTURES.values(), "jpeg", "tif", *FILMS])

_ORIENTATION = 0x0112  # the EXIF tag
_TURNED = range(5, 9)  # its values for which width and height change places
_WHITE = (255, 255, 255, 255)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What was found in a picture or film that is not left out.

    Attributes:
        suffix: of its true format, "jpg".
        width: pixels as shown, after the turn that its EXIF asks for.
        height: pixels as shown.
        stored_width: pixels as stored.
        stored_height: pixels as stored.
        sha256: of its bytes, in hex.
        pixels: SHA-256 of its pixels as shown, in hex; of a film "".
        phash: perceptual hash of 64 bits; of a film None.
    """

    suffix: str
    width: int
    height: int
    stored_width: int
    stored_height: int
    sha256: str
    pixels: str = ""
    phash: int | None = None


def measure(content: bytes, suffix: str, settings: Settings) -> Facts:
    """Decodes a picture, or the first frame of a film.

    Args:
        content: the bytes.
        suffix: what its name ends in, in small letters; it tells films from pictures.
        settings: the limits.

    Raises:
        LeftOut: it does not pass a filter, or cannot be decoded.
    """
    if not content:
        raise LeftOut("empty", "no bytes")
    if len(content) > settings.max_bytes:
        raise LeftOut("too_large", f"{len(content):,} bytes are more than {settings.max_bytes:,}")
    return (_film if suffix in FILMS else _picture)(content, suffix, settings)


def perceptual_hash(picture: Image.Image) -> int:
    """Returns ImageHash's `phash` of a picture as a number; the first bit is the highest."""
    import imagehash  # pyright: ignore[reportMissingImports]

    return int(str(imagehash.phash(picture)), 16)


def _picture(content: bytes, suffix: str, settings: Settings) -> Facts:
    del suffix  # the bytes know better
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged EXIF, and of many pixels, which are asked about below
        try:
            picture = Image.open(io.BytesIO(content), formats=list(PICTURES))
        except Image.DecompressionBombError as error:
            raise LeftOut("too_large", error) from error
        except Exception as error:
            raise LeftOut("not_an_image", "no picture of a known format") from error
        with picture:
            stored = picture.size
            if stored[0] * stored[1] > settings.max_pixels:
                raise LeftOut(
                    "too_large", f"{stored[0]}x{stored[1]} is more than {settings.max_pixels:,} pixels"
                )
            if getattr(picture, "n_frames", 1) > 1 and picture.format != "TIFF":
                raise LeftOut("animated", f"{getattr(picture, 'n_frames', 0)} frames")
            try:
                turned = picture.getexif().get(_ORIENTATION) in _TURNED
            except Exception:  # EXIF that cannot be read turns nothing
                turned = False
            width, height = stored[::-1] if turned else stored
            check_size(settings, width, height)
            try:
                picture.load()
                shown = _shown(picture)
                pixels = hashlib.sha256(f"{shown.mode} {shown.size} ".encode())
                pixels.update(shown.tobytes())
                phash = perceptual_hash(_on_white(shown))
            except Exception as error:  # decoders raise nearly anything
                raise LeftOut("damaged", error) from error
        name = (
            PICTURES[str(picture.format)] if picture.format in PICTURES else "jpg"
        )  # MPO is JPEG, with more behind
    sha256 = hashlib.sha256(content).hexdigest()
    return Facts(name, width, height, *stored, sha256, pixels.hexdigest(), phash)


def _shown(picture: Image.Image) -> Image.Image:
    """The picture upright, as RGB, RGBA where something shines through, or as it is with more than 8 bits."""
    try:
        picture = ImageOps.exif_transpose(picture)
    except Exception:
        picture = picture.copy()
    if picture.mode.startswith(("I", "F")):
        return picture
    if picture.has_transparency_data:
        clear = picture.convert("RGBA")
        return clear.convert("RGB") if clear.getchannel("A").getextrema() == (255, 255) else clear
    return picture.convert("RGB")


def _on_white(picture: Image.Image) -> Image.Image:
    """What a perceptual hash is made of: 8 bits a channel, on white."""
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture, np.float64)
        low, high = values.min(), values.max()
        return Image.fromarray(((values - low) * (255 / max(high - low, 1e-12))).round().astype(np.uint8))
    if picture.mode == "RGBA":
        return Image.alpha_composite(Image.new("RGBA", picture.size, _WHITE), picture).convert("RGB")
    return picture


def _film(content: bytes, suffix: str, settings: Settings) -> Facts:
    import av

    container: Any = None
    try:
        container = av.open(io.BytesIO(content))
        stream = container.streams.video[0]
        stored = stream.codec_context.width, stream.codec_context.height
        if not 0 < stored[0] * stored[1] <= settings.max_pixels:
            raise LeftOut(
                "too_large", f"{stored[0]}x{stored[1]} is more than {settings.max_pixels:,} pixels, or none"
            )
        frame = next(container.decode(stream))
        width, height = stored[::-1] if frame.rotation % 180 else stored
    except LeftOut:
        raise
    except Exception as error:  # FFmpeg's, no stream, no frame
        raise LeftOut("not_a_video", error) from error
    finally:
        if container is not None:
            container.close()
    check_size(settings, width, height)
    return Facts(suffix, width, height, *stored, hashlib.sha256(content).hexdigest())
