"""A list of the files of a folder, by which it is known later whether they are what was written.

`checksums.json` holds the size and SHA-256 of every file below its folder, and of this list itself.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

FILE = "checksums.json"
THREADS = 4  # files hashed at once; a core does 1 to 2 GB/s where it has instructions for SHA-256

Files = dict[str, dict[str, Any]]
"""{path below the folder: {"bytes": size, "sha256": hexadecimal digits}}."""


def write(folder: Path, *, but: tuple[str, ...] = ()) -> None:
    """Make the list of a folder that nobody writes into any more.

    Args:
      folder: where.
      but: files directly in it that are left out.

    Raises:
      OSError: a file cannot be read or written.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = [name for name in names if name not in (*but, FILE)]
    with ThreadPoolExecutor(THREADS) as pool:
        digests = list(pool.map(lambda name: _sha256(folder / name), names))
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": digest}
        for name, digest in zip(names, digests)
    }
    (folder / FILE).write_text(json.dumps({"files": files, "sha256": _of_list(files)}, indent=1) + "\n")


def read(folder: Path) -> Files:
    """The list.

    Raises:
      ValueError: it is not what was written.
      OSError: there is none, or it cannot be read.
    """
    content = json.loads((folder / FILE).read_bytes())
    if not isinstance(content, dict) or content.get("sha256") != _of_list(content.get("files")):
        raise ValueError(f"{folder / FILE} is not what was written")
    return content["files"]


def difference(folder: Path, files: Files) -> str | None:
    """The first file that is not as the list says, and how, or None; sizes are compared before contents.

    Args:
      folder: where.
      files: all of its list, or some.
    """
    for name, facts in files.items():
        path, top = folder / name, name.split("/", 1)[0]
        if not path.is_file():
            return f"{name} is missing" if (folder / top).exists() else f"the folder {top} is missing"
        if path.stat().st_size != facts["bytes"]:
            return f"{name} has {path.stat().st_size or 'no'} bytes, not {facts['bytes']}"

    def compare(name: str) -> str | None:
        try:
            same = _sha256(folder / name) == files[name]["sha256"]
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        return None if same else f"{name} has other bytes than were written"

    with ThreadPoolExecutor(THREADS) as pool:
        return next(filter(None, pool.map(compare, files)), None)


def _of_list(files: Any) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # other threads run meanwhile
