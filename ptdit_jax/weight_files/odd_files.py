"""What a file is that should hold weights and does not, told by its first bytes."""

import tarfile
from pathlib import Path

STARTS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: fetch it with git lfs pull"),
    (b"\x89HDF", "an HDF5 file (Keras)"),
    (b"GGUF", "a GGUF file"),
    (b"\x93NUMPY", "a .npy file of numpy"),
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"BZh", "compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "compressed with xz: unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first"),
)
HTML = (b"<!doctype html", b"<html", b"<?xml", b"<head", b"<body")


def what(file: Path) -> str | None:
    """What a file is that holds no weights, or None if it may hold some.

    Raises:
      OSError: it cannot be read.
    """
    with file.open("rb") as content:
        start = content.read(512)
    if not start:
        return "empty (0 bytes): the download or the disk failed"
    for bytes_, name in STARTS:
        if start.startswith(bytes_):
            return name
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(HTML):
        return "a web page (HTML), not the file itself: the address or the login of the download is wrong"
    if text.startswith((b'{"error', b'{"message', b"access to model")):
        return "an error message of a server, not the file itself"
    if start[257:262] == b"ustar" and tarfile.is_tarfile(file):
        return "a tar archive: unpack it and name the file of weights in it"
    return None


def is_safetensors(file: Path) -> bool:
    """Whether a file begins as .safetensors do: the length of a header, and the header."""
    with file.open("rb") as content:
        start = content.read(9)
    return start[8:] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= file.stat().st_size


def is_pickle(file: Path) -> bool:
    """Whether a file begins as those of `torch.save` do: a zip archive, or a pickle."""
    with file.open("rb") as content:
        start = content.read(2)
    return start == b"PK" or (start[:1] == b"\x80" and start[1:] in b"\x02\x03\x04\x05")
