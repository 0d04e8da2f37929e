"""Files of `torch.save`, read without running anything: tensors, and a few harmless types by name.

PyTorch's own reader (`weights_only`) decides what a file may name.  To what it takes anyway are added what training
scripts put beside the tensors: an `argparse.Namespace`, numbers and arrays of numpy, paths, and `defaultdict`.  All
of them only hold values.
"""

import argparse
import pathlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

NUMPY: dict[str, Any] = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(0).__reduce__()[0]}
"""What unpickles a number and an array."""
DTYPES = tuple({type(np.dtype(code)) for code in "?bBhHiIlLqQefdgFDGSU"})
"""The classes of numpy's dtypes, less those of objects and of records."""
PATHS = {
    "PosixPath": pathlib.PurePosixPath,
    "WindowsPath": pathlib.PureWindowsPath,
    "PurePosixPath": pathlib.PurePosixPath,
    "PureWindowsPath": pathlib.PureWindowsPath,
    "Path": pathlib.PurePath,
    "PurePath": pathlib.PurePath,
}


def plain_dict(factory: Any = None, *entries: Any) -> dict[Any, Any]:
    """What a `defaultdict` is read as: PyTorch's reader fills no other kind; what it would make of a miss is lost."""
    del factory
    return dict(*entries)


HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,
    (plain_dict, "collections.defaultdict"),
    *(
        (kind, f"builtins.{kind.__name__}") for kind in (dict, float, int, list, set, str, tuple)
    ),  # of defaultdict
    (np.ndarray, "numpy.ndarray"),
    (np.dtype, "numpy.dtype"),
    *DTYPES,
    # numpy 1 and 2 have other names for the modules.
    *(
        (call, f"numpy.{core}.multiarray.{name}")
        for name, call in NUMPY.items()
        for core in ("core", "_core")
    ),
    # Paths of another system cannot be made here; Python 3.13 has another name for the module.
    *((kind, f"{module}.{name}") for name, kind in PATHS.items() for module in ("pathlib", "pathlib._local")),
]
DEEPEST = 64  # levels of nested dicts
MOST = 1_000_000  # entries of all dicts together


def read(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of a file, and the arguments of the script that wrote it.

    Args:
      file: of `torch.save`.

    Returns:
      {name: tensor}, names of nested dicts joined by dots, and what is under "args" at the top level, or {}.

    Raises:
      ValueError: the file cannot be read, or wants to run code.
      OSError: there is no such file.
    """
    with file.open("rb") as start:
        is_zip = start.read(2) == b"PK"
    if is_zip and not zipfile.is_zipfile(file):
        raise ValueError(f"{file} cannot be read, it is truncated: its table of contents is missing")
    try:
        with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it wants to call {wanted[1]}" if wanted else "it is damaged or holds more than tensors"
        raise ValueError(f"{file} is not read: {reason}, and only tensors are loaded") from error
    except Exception as error:  # a damaged file can make the reader fail anywhere
        if "TorchScript" in str(error):
            raise ValueError(
                f"{file} is a program (TorchScript), which is not run; save its state_dict"
            ) from error
        if "legacy .tar" in str(error):
            raise ValueError(
                f"{file} is of a PyTorch before 0.1.10; load and save it with a newer one"
            ) from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{file} cannot be read, it may be truncated: {reason}") from error
    return dict(_tensors(content, file)), _arguments(content)


def _tensors(content: Any, file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in nested dicts with their names, in the order of the file."""
    waiting: list[tuple[str, Any, tuple[int, ...]]] = [("", content, ())]
    seen = 0
    while waiting:
        name, value, around = waiting.pop()
        seen += 1
        if isinstance(value, torch.Tensor):
            yield name, value
        elif isinstance(value, Mapping):
            if id(value) in around:
                raise ValueError(f"{file}: the dict {name or 'at its top'!r} holds itself")
            if len(around) >= DEEPEST or seen + len(value) > MOST:
                raise ValueError(
                    f"{file}: its dicts are nested more than {DEEPEST} deep, or hold over {MOST:,} entries"
                )
            inside = [(f"{name}.{key}" if name else str(key), item) for key, item in value.items()]
            waiting += [(key, item, (*around, id(value))) for key, item in reversed(inside)]


def _arguments(content: Any) -> dict[str, Any]:
    found = content.get("args") if isinstance(content, Mapping) else None
    if isinstance(found, argparse.Namespace):
        return dict(vars(found))
    return {str(name): value for name, value in found.items()} if isinstance(found, Mapping) else {}


def describe(tensor: torch.Tensor) -> str:
    """The dtype of a tensor as PyTorch names it, and its kind if it is not a plain one."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    return f"{dtype} ({problem})" if (problem := _oddity(tensor)) else dtype


def _oddity(tensor: torch.Tensor) -> str | None:
    if tensor.is_nested:
        return "nested"
    if tensor.is_meta:
        return "meta, without values"
    if tensor.layout != torch.strided:
        return str(tensor.layout).removeprefix("torch.").replace("_", " ")
    return "quantized" if tensor.is_quantized else None


def shape(tensor: torch.Tensor) -> tuple[int, ...]:
    """The shape of a tensor, () of a nested one, which has none."""
    return () if tensor.is_nested else tuple(tensor.shape)


def to_numpy(tensor: torch.Tensor, where: str) -> np.ndarray:
    """A tensor as float32.

    Args:
      tensor: any.
      where: file and name, for messages.

    Raises:
      ValueError: it is not a plain tensor of floating-point numbers.
    """
    if problem := _oddity(tensor):
        raise ValueError(
            f"{where} is a tensor of another kind ({problem}); only plain (dense) ones are converted"
        )
    if not tensor.is_floating_point():
        raise ValueError(f"{where} holds {describe(tensor)} values, not floating-point numbers")
    return tensor.detach().to(torch.float32).numpy()
