"""Files of arrays in any state: the array, or one line that names the file; never a large allocation."""

import contextlib
import errno
import io
import os
import re
import socket
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from data_pipelines.arrays import DICTIONARY, open_npy, open_npz, read_npz
from data_pipelines.folders import ArrayFolder
from data_pipelines.text import NULL_FILE, read_captions, read_null


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


def claims(shape, size, compressed):
    """A zip whose member and header agree on sizes that are not there."""
    content = bytearray(npz({"x": header(HUGE % shape) + bytes(1000)}, zipfile.ZIP_DEFLATED))
    for signature, place in ((b"PK\x03\x04", 18), (b"PK\x01\x02", 20)):
        at = content.index(signature) + place
        if compressed:
            content[at : at + 4] = struct.pack("<I", size)
        content[at + 4 : at + 8] = struct.pack("<I", size)
    return bytes(content)


NPY = {
    "an empty file": (b"", "is empty"),
    "text": (
        b"<html>not found</html>",
        "has no .npy header that can be read: the magic string is not correct",
    ),
    "a few bytes": (GOOD[:9], "header"),
    "half a header": (GOOD[:40], "header"),
    "half an array": (GOOD[:-7], r"240 bytes, and 233 are there"),
    "bytes behind the array": (GOOD + b"12345678", r"240 bytes, and 248 are there"),
    "an open bracket": (header("{'descr': '<f4', 'shape': (3, 1, 4, 5"), "header that can be read: "),
    "no dict": (header("[1, 2]"), "header that can be read: "),
    "code": (header("__import__('os').system('true')"), "header that can be read: "),
    "deep brackets": (header("(" * 100), "header that can be read: "),
    "a backslash": (header("{'descr': '<f\\q', 'fortran_order': False, 'shape': (3,), }"), "a backslash"),
    "an unknown dtype": (
        header("{'descr': '<q9', 'fortran_order': False, 'shape': (3,), }"),
        "header that can be read: ",
    ),
    "a dtype without bytes": (
        header("{'descr': '<U0', 'fortran_order': False, 'shape': (3, 1, 4, 5), }"),
        "itemsize|dtype",
    ),
    "a header of 4 GiB": (b"\x93NUMPY\x02\x00\xf0\xff\xff\xff{'descr'", "4294967280 bytes, more than 10000"),
    "a header without bytes": (b"\x93NUMPY\x01\x00\x00\x00" + bytes(2**20), "header that can be read: "),
    "233 TiB": (header(HUGE % "64000000000000,"), r"256000000000000 bytes, and 0 are there"),
    "more than any number": (header(HUGE % "9223372036854775807, 9223372036854775807"), "are there"),
    "a negative shape": (header(HUGE % "-1, 4") + bytes(64), "lengths must be whole numbers, 0 or more"),
    "a bool in the shape": (header(HUGE % "True, 4") + bytes(16), "lengths must be whole numbers"),
    "objects": (npy(np.array([{"a": 1}], object)), "holds Python objects"),
    "objects in a structure": (npy(np.zeros(2, [("a", object)])), "holds Python objects"),
    "version 9": (GOOD[:6] + b"\x09\x00" + GOOD[8:], r"it is in format \(9, 0\)"),
}
NPZ = {
    "an empty file": (b"", "is empty"),
    "text": (b"<html>not found</html>", r"cannot be read as \.npz: is no zip file"),
    "an array": (GOOD, r"cannot be read as \.npz: is no zip file"),
    "no array": (npz({"y": GOOD, "z": GOOD}), "lacks x; it has y, z"),
    "half a zip": (npz({"x": GOOD})[:200], "cannot be read as .npz: is no zip file"),
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
    "4 GiB that are not there": (claims("1073741772,", 2**32 - 80, False), "'x': "),
    "4 GiB said to be in the file": (claims("1073741772,", 2**32 - 80, True), "'x': ends behind the end"),
}
NPZ |= {f"a member: {what}": (npz({"x": content}), "'x': ") for what, (content, _) in NPY.items()}


@contextlib.contextmanager
def little_memory(limit=20 * 2**20):
    """What is inside asks for less than `limit` bytes, 20 MiB."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def assert_refused(call, path, message):
    """A line that names the file once, and no memory for what is not there."""
    with little_memory(), pytest.raises(ValueError) as caught:
        call()
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert line.count(str(path)) == 1
    assert re.search(message, line), line


@pytest.mark.parametrize(("name", "suffix"), [*((n, ".npy") for n in NPY), *((n, ".npz") for n in NPZ)])
def test_a_damaged_file_is_one_line_with_its_name(tmp_path, name, suffix):
    content, message = (NPY if suffix == ".npy" else NPZ)[name]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    read = (lambda: open_npy(path).read()) if suffix == ".npy" else (lambda: read_npz(path, ["x"]))
    assert_refused(read, path, message)

    def train():
        source = ArrayFolder(str(tmp_path))
        return [source[record] for record in range(len(source))]

    assert_refused(train, path, "")


@pytest.mark.parametrize("part", ["label", "text", "text_length"])
def test_damage_beside_x_is_named(tmp_path, part):
    arrays = {"x": X, "label": np.arange(3), "text": np.zeros((3, 2), np.float32), "text_length": [1, 1, 1]}
    for name, array in arrays.items():
        np.save(tmp_path / ("a.npy" if name == "x" else f"a.{name}.npy"), array)
    assert len(ArrayFolder(str(tmp_path))) == 3
    path = tmp_path / f"a.{part}.npy"
    path.write_bytes(npz({"x": GOOD}))  # another kind of file
    assert_refused(lambda: ArrayFolder(str(tmp_path)), path, "the magic string is not correct")
    path.write_bytes(header(HUGE % "-1,"))
    assert_refused(lambda: ArrayFolder(str(tmp_path)), path, "lengths must be whole numbers")


def test_files_of_text_states_are_looked_at_in_the_same_way(tmp_path):
    path = tmp_path / NULL_FILE
    members = {"null_text": npy(np.zeros((2, 6), np.float32)), "null_mask": header(HUGE % "64000000000000,")}
    path.write_bytes(npz(members))
    assert_refused(lambda: read_null(tmp_path, 6), path, "'null_mask': has the shape .* and 0 are there")
    path.write_bytes(damaged(npz({"text": npy(np.zeros((2, 3, 6))), "mask": GOOD}, zipfile.ZIP_LZMA)))
    assert_refused(lambda: read_captions(path, 6), path, "'text': ")
    path.unlink()
    os.mkfifo(path)
    assert_refused(lambda: read_captions(path, 6), path, "is no regular file")
    assert_refused(lambda: read_null(tmp_path, 6), path, "is no regular file")


def test_what_is_no_regular_file_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "a.npz")
    (tmp_path / "b.npz").mkdir()
    (tmp_path / "c.npz").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the path of a socket must be short
        server.bind("d.npz")
        for name in "abcd":
            path = tmp_path / f"{name}.npz"
            for call in (lambda path=path: open_npz(path, ["x"]), lambda path=path: open_npy(path)):
                assert_refused(call, path, r"is no regular file; it must be an \.npy or \.npz file")
    assert_refused(lambda: ArrayFolder(str(tmp_path)), tmp_path / "a.npz", "is no regular file")
    assert_refused(
        lambda: open_npy(tmp_path / "none.npy"), tmp_path / "none.npy", "No such file or directory"
    )


def test_what_trying_again_may_mend_is_no_error_of_the_user(tmp_path, monkeypatch):
    (tmp_path / "a.npz").write_bytes(npz({"x": GOOD}))
    stored = open_npz(tmp_path / "a.npz", ["x"])["x"]

    def fails(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(np, "memmap", fails)
    with pytest.raises(OSError, match=r"a\.npz: 'x': Input/output error$"):
        stored.open()
    monkeypatch.undo()
    (tmp_path / "a.npz").unlink()
    with pytest.raises(ValueError, match=r"a\.npz: 'x': No such file or directory$"):
        stored.open()


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
@pytest.mark.parametrize("array", [X, np.asfortranarray(X), X.astype(">f4"), np.empty((0, 3)), np.float16(2)])
def test_every_way_of_storing_comes_back(tmp_path, method, array):
    (tmp_path / "a.npz").write_bytes(npz({"x": npy(array), "more": npy(X)}, method))
    (tmp_path / "b.npy").write_bytes(npy(array))
    found = open_npz(tmp_path / "a.npz", ["x"], ["absent"])
    assert list(found) == ["x"]
    for stored in (found["x"], open_npy(tmp_path / "b.npy")):
        for read in (stored.open(), stored.read()):
            np.testing.assert_array_equal(read, array)
            assert read.dtype == array.dtype


def test_a_flipped_bit_of_what_is_read_whole_is_found(tmp_path):
    good = bytearray(npz({"text": npy(np.zeros((50, 100, 6), np.float32)), "mask": npy(np.ones((50, 100)))}))
    good[100_000] ^= 1  # far behind the header
    (tmp_path / "a.npz").write_bytes(good)
    path = tmp_path / "a.npz"
    assert_refused(lambda: read_captions(path, 6), path, "'text': is damaged: its checksum is another")


def mutations(good, count):
    """That many damaged copies: cut off, a bit flipped, or some bytes replaced by more or fewer of others."""
    rng = np.random.default_rng(1)
    for _ in range(count):
        content = bytearray(good)
        match rng.integers(3):
            case 0:
                content = content[: rng.integers(len(content))]
            case 1:
                content[rng.integers(len(content))] ^= 1 << rng.integers(8)
            case _:
                start = rng.integers(len(content))
                content[start : start + rng.integers(1, 30)] = rng.bytes(rng.integers(0, 30))
        yield bytes(content)


def read_or_refused(path, read, extra=0):
    """What is read of a damaged file, or None where it is refused in a line; `extra` bytes more than else."""
    with little_memory(20 * 2**20 + extra):
        try:
            return read()
        except (ValueError, OSError) as error:
            line = str(error)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return None


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_mutated_npz_is_refused_or_read_rightly(tmp_path, method):
    arrays = {"x": X, "label": np.arange(3)}
    good, path = npz({name: npy(array) for name, array in arrays.items()}, method), tmp_path / "a.npz"
    extra = DICTIONARY if method == zipfile.ZIP_LZMA else 0
    refused = 0
    for content in mutations(good, 400):
        path.write_bytes(content)
        found = read_or_refused(path, lambda: read_npz(path, ["x"], ["label"]), extra)
        refused += found is None
        for name in found or ():
            np.testing.assert_array_equal(found[name], arrays[name])
    assert 200 < refused < 400  # some bytes, such as a member's time, mean nothing to an array


def test_a_mutated_npy_is_refused_or_has_the_size_of_its_file(tmp_path):
    path = tmp_path / "a.npy"
    refused = 0
    for content in mutations(GOOD, 400):
        path.write_bytes(content)
        found = read_or_refused(path, lambda: open_npy(path).read())
        refused += found is None
        if found is not None:
            assert found.nbytes == len(content) - (len(GOOD) - X.nbytes)  # it has no checksum
    assert 200 < refused < 400
