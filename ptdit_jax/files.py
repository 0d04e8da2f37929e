"""Paths as users type them, outputs that are checked before the work, and files that are whole or absent."""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # also gs:/x, which is what a path makes of gs://x
INSTEAD = {
    "file": "write the path alone",
    "http": "download it, and name the file",
    "https": "download it, and name the file",
}
MOUNT = (
    "mount the bucket (gcsfuse, s3fs, rclone mount) and name the folder, or use a local folder and copy it"
)


def check(text: str | os.PathLike[str], name: str) -> str:
    """What a user typed where a path of this machine belongs.

    All of a run, its lock and the rows that a resume cuts off too, needs a file system; so no part of it takes a URL.

    Args:
      text: as typed.
      name: the flag or field that it was typed for, "--out" or "data.path".

    Returns:
      The text.

    Raises:
      ValueError: it is empty, a URL, or no text at all.
    """
    text = os.fspath(text)
    if not text:
        raise ValueError(f"{name} is empty; it must be a path")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # checkpoints are stored by names that are text
        raise ValueError(f"{name}={text!a} must be UTF-8") from error
    if "\0" in text:
        raise ValueError(f"{name}={text!r} must not have a byte 0")
    if match := URL.match(text):
        raise ValueError(f"{name}={text} must be a path, not a URL: {INSTEAD.get(match[1].lower(), MOUNT)}")
    return text


def path(text: str | os.PathLike[str], name: str) -> Path:
    """The path that a user typed; `~` is the home folder, whatever the shell has left of it.

    Args:
      text: as typed.
      name: see `check`.

    Raises:
      ValueError: see `check`; or there is no such user.
    """
    text = check(text, name)
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        raise ValueError(f"{name}={text}: there is no such home folder; a name with a ~ is ./{text}")
    return Path(expanded)


def resolve(options: Any, *names: str) -> None:
    """Replace what was typed for some flags by `path`s.

    Args:
      options: an `argparse.Namespace`.
      names: its attributes, each a flag's name; those that are None stay.

    Raises:
      ValueError: see `path`.
    """
    for name in names:
        if (text := getattr(options, name)) is not None:
            setattr(options, name, path(text, f"--{name.replace('_', '-')}"))


def check_file(path: Path, name: str, suffixes: Collection[str] = ()) -> None:
    """See that a file could be written, before the work whose result it is to be.

    Args:
      path: the file; it may exist.
      name: see `check`.
      suffixes: what it may end in, in small letters; none for anything.

    Raises:
      ValueError: it ends otherwise, or is something else than a file.
      OSError: its folder does not exist or is none, or it cannot be written.
    """
    with _named(path, name):
        if path.is_dir():
            raise ValueError(f"{name}={path} is a folder; name a file in it")
        if suffixes and path.suffix.lower() not in suffixes:
            raise ValueError(f"{name}={path} must end in one of {', '.join(suffixes)}")
        if path.exists() and not path.is_file():
            raise ValueError(f"{name}={path} is no ordinary file")
        draft = _draft(path)
        _check_parent(draft, path, name)
        if path.exists() and not os.access(path, os.W_OK):  # a rename would not ask
            raise PermissionError(f"{name}={path} cannot be written: it is protected")
        with contextlib.suppress(FileExistsError):  # of a process that was killed
            draft.open("xb").close()
            draft.unlink()


def check_new_folder(path: Path, name: str) -> None:
    """See that a folder could be made, before the work whose results it is to hold.

    Args:
      path: the folder.
      name: see `check`.

    Raises:
      ValueError: there is such a folder or file.
      OSError: the folder around it does not exist, is none, or cannot be written.
    """
    with _named(path, name):
        if os.path.lexists(path):
            raise ValueError(f"{name}={path} exists; name a folder that does not")
        _check_parent(path, path, name)
        tempfile.TemporaryFile(dir=path.absolute().parent).close()


def make_folder(path: Path, name: str) -> None:
    """Make a folder, those around it too, and see that files could be written there; it may exist.

    Args:
      path: the folder.
      name: see `check`.

    Raises:
      OSError: it is a file, or inside one, or cannot be made or written.
    """
    with _named(path, name):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            blocker = next(part for part in (path, *path.parents) if os.path.lexists(part))
            raise NotADirectoryError(f"{name}={path}: {blocker} is no folder") from error
        tempfile.TemporaryFile(dir=path).close()


def write(path: Path, make: Callable[[Path], Any]) -> None:
    """Make a file beside its place and move it there, so that it is whole or absent.

    Args:
      path: where the file is to be; where it is a link, what that points to is written.
      make: writes the file it is given, whose name ends as that of `path`.
    """
    draft = _draft(path)
    try:
        make(draft)
        draft.replace(path.resolve())
    except BaseException:
        with contextlib.suppress(OSError):  # the first error tells more
            draft.unlink()
        raise


def _draft(path: Path) -> Path:
    place = path.resolve()
    return place.with_name(f"unfinished-{place.name}")


def _check_parent(place: Path, path: Path, name: str) -> None:
    folder = place.absolute().parent
    if not folder.is_dir():
        if folder.exists():
            raise NotADirectoryError(f"{name}={path}: {folder} is no folder")
        raise FileNotFoundError(f"{name}={path}: the folder {folder} does not exist")


@contextlib.contextmanager
def _named(path: Path, name: str) -> Any:
    """What the system says of a path, with the flag that it was given for."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # one of ours
            raise
        raise type(error)(f"{name}={path} cannot be written: {error.strerror}") from error
