"""Experiment files: `common.py` holds every default, each other file one experiment."""

import os
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def locate(name: str) -> str:
    """The path of a config file or a sweep as typed, `configs/...` of an installation included.

    Args:
      name: a path, with ":ARGUMENT" behind it or not; where there is none such and it begins with `configs/`, the
        file of this package is meant, and a line on standard error says so.
    """
    ours = of_package(name)
    if ours is None or os.path.exists(name) or os.path.exists(name.partition(":")[0]):
        return name
    print(f"{name}: not in this folder, {ours} is taken", file=sys.stderr)
    return str(ours)


def of_package(name: str) -> Path | None:
    """The file of this package that `configs/...` names, with its ":ARGUMENT"; None where there is none."""
    file, colon, argument = name.partition(":")
    parts = Path(file).parts
    ours = FOLDER.joinpath(*parts[1:])
    if parts[:1] != ("configs",) or ".." in parts or not ours.is_file():
        return None
    return Path(f"{ours}{colon}{argument}")
