"""Experiment files: `common.py` holds every default, each other file one experiment."""

import os
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def locate(name: str) -> str:
    """The path of a config file or a sweep as typed, `configs/...` of an installation included.

    Args:
      name: a path; where there is none such and it begins with `configs/`, the file of this package is meant, and a
        line on standard error says so.
    """
    ours = of_package(name)
    if ours is None or os.path.exists(name):
        return name
    print(f"{name}: not in this folder, {ours} is taken", file=sys.stderr)
    return str(ours)


def of_package(name: str) -> Path | None:
    """The file of this package that `configs/...` names; None where there is none."""
    parts = Path(name).parts
    ours = FOLDER.joinpath(*parts[1:])
    return ours if parts[:1] == ("configs",) and ".." not in parts and ours.is_file() else None
