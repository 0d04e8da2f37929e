"""Files of arrays in any state: the array, or one line that names the file; never a large allocation."""

import io
import os
import re
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from data_pipelines.arrays import look, read_all
from data_pipelines.folders import ArrayFolder


def header(text):
    """An `.npy` file that begins with this header."""
    line = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line


def npy(array):
    """The bytes of an `.npy` file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz(members, method=zipfile.ZIP_STORED):
    """The bytes of an `.npz` file with members that need be no arrays."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


X = np.random.default_rng(0).normal(size=(3, 1, 4, 5)).astype(np.float32)
GOOD = npy(X)
HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"


def with_flag(content, flag):
    """A zip whose first member has a flag set in both of its headers."""
    content = bytearray(content)
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + place] |= flag
    return bytes(content)


def with_method(content, method):
    """A zip whose first member says it is compressed otherwise."""
    content = bytearray(content)
    for signature, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = content.index(signature) + place
        content[at : at + 2] = struct.pack("<H", method)
    return bytes(content)


def renamed(content, name):
    """A zip whose first member has another name in its own header than in the directory."""
    return content.replace(b"x.npy", name, 1)


def damaged(content):
    """A zip with flipped bits in the compressed data of its first member."""
    content = bytearray(content)
    at = content.index(b"PK\x03\x04") + 60
    for i in range(at, at + 20):
        content[i] ^= 0xA5
    return bytes(content)


FILES = {
    "an empty file": (b"", "is empty"),
    "text": (b"<html>not found</html>", "cannot be read as .npz or .npy"),
    "half a header": (GOOD[:40], "header"),
    "half an array": (GOOD[:-7], r"240 bytes, and 233 are there"),
    "bytes behind the array": (GOOD + b"12345678", r"240 bytes, and 248 are there"),
    "an open bracket": (header("{'descr': '<f4', 'shape': (3, 1, 4, 5"), "has a header that cannot be read"),
    "no dict": (header("[1, 2]"), "has a header that cannot be read"),
    "code": (header("__import__('os').system('true')"), "has a header that cannot be read"),
    "deep brackets": (header("(" * 100), "has a header that cannot be read"),
    "an unknown dtype": (
        header("{'descr': '<q9', 'fortran_order': False, 'shape': (3,), }"),
        "cannot be read",
    ),
    "233 TiB": (header(HUGE % "64000000000000,"), r"256000000000000 bytes, and 0 are there"),
    "more than any number": (header(HUGE % "9223372036854775807, 9223372036854775807"), "are there"),
    "a negative shape": (header(HUGE % "-1, 4") + bytes(64), "lengths must be whole numbers, 0 or more"),
    "a bool in the shape": (header(HUGE % "True, 4") + bytes(16), "lengths must be whole numbers"),
    "objects": (npy(np.array([{"a": 1}], object)), "holds Python objects"),
    "version 9": (GOOD[:6] + b"\x09\x00" + GOOD[8:], r"is in \.npy format \(9, 0\)"),
    "half a zip": (npz({"x": GOOD})[:200], "cannot be read as .npz or .npy"),
    "a member that is none": (npz({"x": b"hello"}), "'x': .*magic"),
    "an encrypted member": (with_flag(npz({"x": GOOD}), 1), "'x': is encrypted"),
    "an unknown compression": (with_method(npz({"x": GOOD}), 97), "'x': is compressed by method 97"),
    "another's header": (renamed(npz({"x": GOOD}), b"y.npy"), "'x': .*differ"),
    "damaged deflate": (damaged(npz({"x": GOOD}, zipfile.ZIP_DEFLATED)), "'x': "),
    "damaged lzma": (damaged(npz({"x": GOOD}, zipfile.ZIP_LZMA)), "'x': "),
    "damaged bzip2": (damaged(npz({"x": GOOD}, zipfile.ZIP_BZIP2)), "'x': "),
    "a bomb that says 233 TiB": (
        npz({"x": header(HUGE % "64000000000000,") + bytes(10**6)}, zipfile.ZIP_DEFLATED),
        "'x': .* 256000000000000 bytes, and 1000000 are there",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_one_line_with_its_name(tmp_path, name):
    content, message = FILES[name]
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ValueError) as caught:
        read_all(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert line.count(str(path)) == 1
    assert re.search(message, line), line
    assert peak < 20 * 2**20
    with pytest.raises(ValueError, match=re.escape(str(path))):
        ArrayFolder(str(tmp_path))


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    (tmp_path / "b.npz").mkdir()
    for name in ("a.npz", "b.npz"):
        with pytest.raises(
            ValueError, match=rf"{name}: is no regular file; it must be an \.npy or \.npz file"
        ):
            look(tmp_path / name)
    with pytest.raises(ValueError, match=r"a\.npz: is no regular file"):
        ArrayFolder(str(tmp_path))
    with pytest.raises(ValueError, match=r"none\.npz: No such file or directory"):
        look(tmp_path / "none.npz")


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
@pytest.mark.parametrize("array", [X, np.asfortranarray(X), X.astype(">f4"), np.empty((0, 3)), np.float16(2)])
def test_every_way_of_storing_comes_back(tmp_path, method, array):
    (tmp_path / "a.npz").write_bytes(npz({"x": npy(array), "more": npy(X)}, method))
    found = look(tmp_path / "a.npz", ["x"])
    assert list(found) == ["x"]
    for read in (found["x"].open(), found["x"].read()):
        np.testing.assert_array_equal(read, array)
        assert read.dtype == array.dtype
    (tmp_path / "b.npy").write_bytes(npy(array))
    np.testing.assert_array_equal(look(tmp_path / "b.npy")[""].open(), array)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_no_mutation_of_a_good_file_does_anything_else(tmp_path, method):
    good, path = npz({"x": GOOD, "label": npy(np.arange(3))}, method), tmp_path / "a.npz"
    rng = np.random.default_rng(1)
    refused = []
    for _ in range(400):
        content = bytearray(good)
        match rng.integers(3):
            case 0:
                content = content[: rng.integers(len(content))]
            case 1:
                content[rng.integers(len(content))] ^= 1 << rng.integers(8)
            case _:
                start = rng.integers(len(content))
                content[start : start + rng.integers(1, 30)] = rng.bytes(rng.integers(0, 30))
        path.write_bytes(content)
        try:
            read_all(path)
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert all(line.startswith(f"{path}: ") for line in refused)
