"""Where the samples of a tar lie: an index of offsets, made from its headers alone, kept as `.npz` and never a pickle.

A tar of webdataset has the files of a sample side by side, `KEY.jpg`, `KEY.txt`, `KEY.json`; the key ends at the first
dot of the file's name.  n samples in a tar.
"""

import dataclasses
import json
import os
import re
import tarfile
import threading
from pathlib import Path
from typing import IO

import numpy as np

from data_pipelines.arrays import read_npz
from data_pipelines.raw.folder import SUFFIXES
from data_pipelines.raw.media import Stored
from data_pipelines.raw.problems import Unusable

VERSION = 1  # of the stored index
PARTS = ("media", "txt", "json", "cls")
_MEDIA = {suffix[1:]: kind for kind in ("image", "video") for suffix in SUFFIXES[kind]} | {"gif": "image"}
_NAME = re.compile(r"((?:.*/)?[^/.]+)\.([^/]+)")


@dataclasses.dataclass(frozen=True)
class TarIndex:
    """The samples of one tar, in the order in which they begin.

    Attributes:
        keys: (n,) bytes, UTF-8.
        films: (n,) bool: the medium is a film and no picture.
        places: (n, 4, 2) int64: offset and size of each of `PARTS`; -1 for what a sample has not.
        problems: reason and text of samples that cannot be used, by their number.
    """

    keys: np.ndarray
    films: np.ndarray
    places: np.ndarray
    problems: dict[int, tuple[str, str]]

    def part(self, path: Path, sample: int, name: str) -> Stored | None:
        """Returns a part of a sample in the tar at `path`, or None."""
        offset, size = (int(number) for number in self.places[sample, PARTS.index(name)])
        return None if offset < 0 else Stored(path, offset, size)


def indexed(path: Path, cache: Path | None) -> TarIndex:
    """Returns the index of a tar, from the cache if the tar has not changed since, and puts it there.

    Args:
        path: of the tar.
        cache: the file of the index, whose folder exists; None to keep none.

    Raises:
        OSError: the tar cannot be read by a fault of the machine.
    """
    state = path.stat()
    stamp = np.array([VERSION, state.st_size, state.st_mtime_ns], np.int64)
    if cache is not None and cache.is_file():
        try:
            arrays = read_npz(cache, ("stamp", "keys", "films", "places", "problems"))
            if np.array_equal(arrays["stamp"], stamp):
                problems = {int(k): tuple(v) for k, v in json.loads(arrays["problems"].tobytes()).items()}
                return TarIndex(arrays["keys"], arrays["films"], arrays["places"], problems)
        except ValueError:
            pass  # it is damaged, and made anew
    index = scan(path)
    if cache is not None:
        text = np.frombuffer(json.dumps(index.problems).encode(), np.uint8)
        draft = cache.with_name(f"unfinished-{os.getpid()}-{threading.get_ident()}-{cache.name}")
        try:
            np.savez(
                draft,
                stamp=stamp,
                keys=index.keys,
                films=index.films,
                places=index.places,
                problems=text,
            )
            draft.replace(cache)
        finally:
            draft.unlink(missing_ok=True)
    return index


def scan(path: Path) -> TarIndex:
    """Reads the headers of a tar.

    Members that are links, devices or pipes, and names that leave the folder, are samples that cannot be used.  What
    cannot be read is one such sample at the end.
    """
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    films: dict[str, bool] = {}
    bad: list[tuple[str, str, str]] = []
    size = path.stat().st_size
    with path.open("rb") as file:
        end = ""
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members = []  # pyright: ignore[reportAttributeAccessIssue]  # else they are all kept
                    if problem := _refused(member, size):
                        bad.append((member.name, *problem))
                        continue
                    match = _NAME.fullmatch(member.name.removeprefix("./"))
                    if not member.isreg() or not match or match[1].rpartition("/")[2].startswith("__"):
                        continue  # folders, and what webdataset does not read either
                    key, suffix = match[1], match[2].lower()
                    sample = samples.setdefault(key, {})
                    kind = _MEDIA.get(suffix)
                    part = "media" if kind else suffix
                    if part not in PARTS or (kind == "image" and films.get(key)):
                        continue
                    if part in sample and not (kind == "video" and not films.get(key)):
                        text = (
                            f"has {member.name} a second time"
                            if suffix in PARTS
                            else f"has also {member.name}"
                        )
                        bad.append((key, "duplicate", text))
                        continue
                    sample[part] = (member.offset_data, member.size)
                    films[key] = films.get(key, False) or kind == "video"
                end = _end(file, tar.offset, size)
        except (tarfile.TarError, ValueError, EOFError) as error:  # of numbers and names that are none
            end = str(error) or type(error).__name__
    if end:
        bad.append((f"{path.name}:end", "tar_damaged", f"{path.name}: {end}; what comes before is used"))
    lacking = [key for key, parts in samples.items() if "media" not in parts]
    keys = [*samples, *(key for key, _, _ in bad)]
    places = np.full((len(keys), len(PARTS), 2), -1, np.int64)
    for row, parts in enumerate(samples.values()):
        for part, place in parts.items():
            places[row, PARTS.index(part)] = place
    order = {key: row for row, key in enumerate(samples)}
    problems = {order[key]: ("no_media", "has no picture and no film") for key in lacking}
    problems |= {len(samples) + row: (reason, text) for row, (_, reason, text) in enumerate(bad)}
    encoded = np.array([key.encode("utf-8", "replace") for key in keys] or [b""], "S")[: len(keys)]
    return TarIndex(encoded, np.array([films.get(key, False) for key in keys], bool), places, problems)


def _refused(member: tarfile.TarInfo, size: int) -> tuple[str, str] | None:
    """Why a member cannot be used, or None."""
    name = member.name
    if name.startswith("/") or "\\" in name or ".." in name.split("/"):
        return "bad_path", f"the tar's member {name!r} is absolute or has '..'"
    if member.issym() or member.islnk():
        return "bad_path", f"the tar's member {name!r} is a link to {member.linkname!r}"
    if not member.isreg() and not member.isdir():
        return "no_file", f"the tar's member {name!r} is no regular file"
    if member.issparse():
        return "no_file", f"the tar's member {name!r} is stored with holes"
    if member.offset_data + member.size > size:
        return "tar_damaged", f"the tar ends inside {name!r}"
    return None


def _end(file: IO[bytes], offset: int, size: int) -> str:
    """What is wrong with the end of a tar whose members end at an offset, or nothing."""
    if offset > size:
        return "ends inside a member"
    file.seek(offset)
    block = file.read(tarfile.BLOCKSIZE)
    if not block:
        return "ends without the mark of its end, as one that was cut off does"
    return f"has no header that can be read at byte {offset:,}" if block.strip(b"\0") else ""


def problem_of(index: TarIndex, sample: int) -> Unusable | None:
    """Returns why a sample cannot be used, or None."""
    found = index.problems.get(sample)
    return Unusable(*found) if found else None
