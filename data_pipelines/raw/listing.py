"""Files below a folder, and paths that must stay in it."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from data_pipelines.raw.problems import Unusable

Item = TypeVar("Item")
SECONDS = 5.0  # between lines of progress
NAMED = 3  # names in a note


def counted(items: Iterable[Item], what: str) -> Iterator[Item]:
    """The items; what takes long says on standard error now and then how many have come by."""
    due = time.monotonic() + SECONDS
    for number, item in enumerate(items):
        if time.monotonic() >= due:
            print(f"{what}: {number:,} so far", file=sys.stderr, flush=True)
            due = time.monotonic() + SECONDS
        yield item


def walk(folder: Path, *, outside: bool = False) -> Iterator[tuple[str, str]]:
    """Every entry below a folder, none of which is opened.

    Names that begin with a dot are left out: they are a system's, not a user's. Links to folders are followed only if
    `outside`, and never twice to the same.

    Yields:
        (path relative to the folder, "file", "folder", "link" to a folder that is not followed, or "other").

    Raises:
        OSError: the folder cannot be listed. One below it that cannot is yielded as "other".
    """
    seen: set[tuple[int, int]] = set()
    stack = [""]
    while stack:
        below = stack.pop()
        try:
            with os.scandir(folder / below) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError:
            if not below:
                raise
            yield below, "other"
            continue
        deeper = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = f"{below}/{entry.name}" if below else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield name, "folder"
                deeper.append(name)
            elif entry.is_symlink() and os.path.isdir(entry.path):  # entry.is_dir() raises for a loop
                state = entry.stat()
                if outside and (state.st_dev, state.st_ino) not in seen:
                    seen.add((state.st_dev, state.st_ino))
                    deeper.append(name)
                else:
                    yield name, "link"
            else:
                yield name, "file"
        stack.extend(reversed(deeper))


def within(root: Path, name: str, *, outside: bool = False) -> Path:
    """Returns the path of a file named relative to a folder, in which it must lie, links resolved.

    Args:
        root: the folder, absolute and resolved.
        name: as a table or a listing has it.
        outside: the file may lie anywhere.

    Raises:
        Unusable: with reason "bad_path".
    """
    if not name or "\0" in name:
        raise Unusable("bad_path", f"{name!r} is no path")
    if outside:
        return root / name
    if name.startswith("/") or "\\" in name or ".." in name.split("/"):
        raise Unusable("bad_path", f"{name!r} is absolute or has '..' (outside=True allows it)")
    place = root / name
    try:
        real = os.path.realpath(place)
    except (OSError, ValueError) as error:
        raise Unusable("bad_path", f"{name!r}: {error}") from error
    if os.path.commonpath([real, root]) != str(root):
        raise Unusable(
            "bad_path", f"{name!r} is a link out of the folder, to {real} (outside=True allows it)"
        )
    return place


def left_out(names: list[str], what: str) -> list[str]:
    """Returns a note of names that are no records, or nothing."""
    if not names:
        return []
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return [f"{len(names):,} {what}: {', '.join(names[:NAMED])}{more}"]


def check_folder(source: str, path: str) -> Path:
    """Returns the folder that a user named, resolved.

    Raises:
        ValueError: it is none.
    """
    folder = Path(path).expanduser()
    if not path or not folder.is_dir():
        raise ValueError(f"{source}: {path!r} must be an existing folder")
    return folder.resolve()


def files(source: str, path: str, wanted: Callable[[str], bool]) -> tuple[Path, list[Path]]:
    """Returns a folder, resolved, and the files below it that are wanted, in order; or that of a file, and the file.

    Args:
        source: what is opened, for messages.
        path: a folder, or one wanted file.
        wanted: whether a name relative to the folder is of such a file.

    Raises:
        ValueError: the path is neither.
    """
    place = Path(path).expanduser()
    if path and place.is_file() and wanted(place.name):
        place = place.resolve()
        return place.parent, [place]
    root = check_folder(source, path)
    found = counted(walk(root, outside=True), source)
    return root, [root / name for name, what in found if what == "file" and wanted(name)]


def first(check: Callable[[str], object], names: Iterable[str]) -> str | None:
    """Returns the first name for which a check is true, or None."""
    return next((name for name in names if check(name)), None)
