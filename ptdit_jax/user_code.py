"""Python of the user's own (configs, sweeps, judges): run, with whatever goes wrong in it told in one line."""

import contextlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

LONGEST = 300  # characters of a message


@contextlib.contextmanager
def told(path: Path | None, what: str = "") -> Iterator[None]:
    """Run code of the user's; what it raises, `sys.exit()` included, becomes one line with the file and the line in it.

    Args:
      path: the file whose lines are named; None for that of the module which is imported.
      what: is run, such as "get_config()" or the field that names it.

    Raises:
      ValueError: the code raised something else than a KeyboardInterrupt.
    """
    try:
        yield
    except SyntaxError as error:
        place = f"{error.filename or path}" + (f":{error.lineno}" if error.lineno else "")
        raise ValueError(f"{place}: {type(error).__name__}: {_one_line(error.msg)}") from error
    except SystemExit as error:
        raise ValueError(f"{_place(path, what, error)}exit({error.code!r}) is called") from error
    except Exception as error:
        said = f"{type(error).__name__}: {_one_line(str(error))}"
        raise ValueError(f"{_place(path, what, error)}{said}") from error


def load(path: Path, name: str) -> ModuleType:
    """Run a Python file as a module.

    Args:
      path: of the file, whatever its ending.
      name: of the module, which must be no other's.

    Raises:
      ValueError: the file cannot be read, is no Python, or raises.
    """
    loader = SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as an import does: dataclasses look themselves up there
    try:
        with told(path):
            loader.exec_module(module)
    except ValueError:
        del sys.modules[name]
        raise
    return module


def _place(path: Path | None, what: str, error: BaseException) -> str:
    """FILE:LINE, the last line of the user's file that led to the error, and what was run, ready for what it says."""
    frames = traceback.extract_tb(error.__traceback__)[2:]  # without `told` and its caller
    lines = [
        f"{frame.filename}:{frame.lineno}"
        for frame in frames
        if (frame.filename == str(path) if path else not _is_python(frame.filename))
    ]
    place = lines[-1:] or ([str(path)] if path else [])
    return "".join(f"{part}: " for part in ([*place, what] if path else [what, *place]) if part)


def _is_python(filename: str) -> bool:
    """Whether a file is one of Python itself."""
    library = sysconfig.get_path("stdlib")
    return filename.startswith(("<frozen ", library)) and "site-packages" not in filename


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[:LONGEST] + " ..."
