"""How a picture or a film was made, inside its file: as JSON, where the format has a place for text.

PNG and APNG: a text chunk named `KEY`.  JPEG and WebP: EXIF's UserComment.  TIFF: ImageDescription.  GIF and MP4: the
comment.  BMP has no place.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import PIL
from PIL import ExifTags, Image, PngImagePlugin

KEY = "ptdit_jax"
ASCII = b"ASCII\0\0\0"  # how EXIF says what a comment is written in
DESCRIPTION = 270  # TIFF's ImageDescription
FILM = ".mp4"


def options(path: str | Path, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """What `Image.save` takes to keep settings in a file; nothing for a format without a place, and for None."""
    suffix = Path(path).suffix.lower()
    if settings is None or suffix == ".bmp":
        return {}
    if suffix in (".png", ".apng"):
        info = PngImagePlugin.PngInfo()
        info.add_text(KEY, json.dumps(settings, ensure_ascii=False))
        return {"pnginfo": info}
    text = json.dumps(settings)  # letters beyond ASCII are escaped
    if suffix in (".tif", ".tiff"):
        return {"tiffinfo": {DESCRIPTION: text}}
    if suffix == ".gif":
        return {"comment": text.encode()}
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = ASCII + text.encode()
    return {"exif": exif.tobytes()}


def read(path: Path) -> dict[str, Any] | None:
    """The settings of a picture or film; None for a file without any.

    Raises:
      ValueError: it is no picture and no film.
      OSError: it cannot be read.
    """
    path.open("rb").close()
    text = _of_film(path) if path.suffix.lower() == FILM else _of_picture(path)
    try:
        settings = json.loads(text) if text else None
    except ValueError:
        return None  # a comment of somebody else
    return settings if isinstance(settings, dict) and KEY in settings else None


def _of_picture(path: Path) -> str | None:
    try:
        with Image.open(path) as image:
            if image.format == "PNG":
                return image.info.get(KEY)
            if image.format == "GIF":
                return image.info.get("comment", b"").decode(errors="replace")
            if image.format == "TIFF":
                return image.getexif().get(DESCRIPTION)
            comment = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment, b"")
    except PIL.UnidentifiedImageError as error:
        raise ValueError(f"{path} is no picture that can be read, and no {FILM}") from error
    if isinstance(comment, str):
        comment = comment.encode()
    return comment.removeprefix(ASCII).decode(errors="replace")


def _of_film(path: Path) -> str | None:
    import av
    import av.error

    try:
        with av.open(str(path)) as container:
            return container.metadata.get("comment")
    except av.error.FFmpegError as error:
        raise ValueError(f"{path} is no film that can be read: {error.strerror}") from error
