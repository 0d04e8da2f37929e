"""Files that are whole or absent."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def write(path: Path, make: Callable[[Path], Any]) -> None:
    """Make a file beside its place and move it there, so that it is whole or absent.

    Args:
      path: where the file is to be.
      make: writes the file it is given.
    """
    draft = path.with_name(f"unfinished-{path.name}")
    make(draft)
    draft.replace(path)
