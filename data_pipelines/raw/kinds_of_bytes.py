"""What bytes are, by how they begin and not by a name, which is often wrong."""

import io
import struct
from typing import IO

BEGIN = 512  # bytes that tell
_BOXES = 1000  # of an MP4 that are looked through for its table of contents

PICTURES = {  # Pillow's name of a format: what its files begin with
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "JPEG2000": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    "PPM": tuple(b"P%d%c" % (kind, space) for kind in (1, 2, 3, 4, 5, 6) for space in b" \t\r\n"),
}
FILMS = {  # libav's name of a container: what its files begin with
    "matroska": (b"\x1a\x45\xdf\xa3",),
    "gif": PICTURES["GIF"],
    "flv": (b"FLV\x01",),
    "ogg": (b"OggS",),
    "mpeg": (b"\0\0\x01\xba",),
    "asf": (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",),
}
_QUICKTIME = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # at byte 4
_STILL = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")  # brands of pictures in that container
_OTHER = {
    "a PDF": (b"%PDF",),
    "an archive": (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ"),
    "a sound": (b"ID3", b"fLaC", b"\xff\xfb", b"\xff\xf3"),
    "a drawing of PostScript": (b"%!PS", b"\xc5\xd0\xd3\xc6"),
    "a Photoshop file": (b"8BPS",),
}


def picture(begin: bytes) -> str | None:
    """Returns Pillow's name of the format that a file begins as, or None for what is no picture."""
    if begin[:4] == b"RIFF" and begin[8:12] == b"WEBP":
        return "WEBP"
    if begin[4:8] == b"ftyp" and begin[8:12] in (b"avif", b"avis"):
        return "AVIF"
    return _first(PICTURES, begin)


def film(begin: bytes) -> str | None:
    """Returns libav's name of the container that a file begins as, or None for what is no film."""
    if begin[:4] == b"RIFF" and begin[8:12] == b"AVI ":
        return "avi"
    if begin[4:8] in _QUICKTIME and not (begin[4:8] == b"ftyp" and begin[8:12] in _STILL):
        return "mp4"
    if begin[:1] == b"G" and begin[188:189] in (b"G", b"") and begin[:3] != b"GIF":
        return "mpegts"
    return _first(FILMS, begin)


def cut_off(file: IO[bytes]) -> str | None:
    """Returns what an MP4 lacks of its table of contents, or None; libav calls such a file anything."""
    size, place, names = file.seek(0, io.SEEK_END), 0, []
    while place + 8 <= size and len(names) < _BOXES:
        file.seek(place)
        length, name = struct.unpack(">I4s", file.read(8))
        if length == 1:  # the length follows, in 64 bits
            length = int.from_bytes(file.read(8), "big")
        if name == b"moov":
            return None if place + (length or size) <= size else "ends inside its table of contents (moov)"
        names.append(name)
        if length < 8:  # 0 is up to the end
            break
        place += length
    return "has no table of contents (moov), like a recording or a download that was cut off"


def describe(begin: bytes) -> str:
    """Returns what a file that begins so seems to be, for a message."""
    if name := picture(begin):
        return f"a picture ({name})"
    if name := film(begin):
        return f"a film ({name})"
    if begin[4:12] in (b"ftyp" + brand for brand in _STILL):
        return "a HEIF picture, which nothing here decodes"
    if name := _first(_OTHER, begin):
        return name
    if not begin.strip(b"\0"):
        return "zeros alone"
    text = begin.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a page of HTML, such as a server sends instead of a picture"
    if text.startswith((b"<?xml", b"<svg")):
        return "XML or a drawing (SVG)"
    if text.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS; git lfs pull brings the file itself"
    if text.startswith(b"#extm3u"):
        return "a playlist"
    printable = sum(byte >= 32 or byte in b"\t\r\n" for byte in begin)
    return "text" if printable == len(begin) else "of an unknown format"


def _first(table: dict[str, tuple[bytes, ...]], begin: bytes) -> str | None:
    return next((name for name, starts in table.items() if begin.startswith(starts)), None)
