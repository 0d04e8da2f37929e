"""Files of PyTorch weights, opened without running any code in them and read one tensor at a time.

.safetensors, which need no PyTorch, and .pt, .bin, .ckpt, .pth (`torch.save`), which do; one file, a `*.index.json`
over several, or a folder with either.  Nested dicts count as one flat one whose names are joined by dots.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from ptdit_jax.weight_files import json_files, odd_files

PICKLES = (".pt", ".bin", ".ckpt", ".pth")
DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
}
"""The floating-point numbers of .safetensors that are read."""
KINDS = {"I": "int", "U": "uint", "BOOL": "bool", "F": "float", "C": "complex"}
"""What the names of its other dtypes begin with, and what others call them."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of a file.

    Attributes:
      shape: its shape.
      dtype: its dtype, as the file names it.
      stored: gives it in the dtype that it is stored in.
    """

    shape: tuple[int, ...]
    dtype: str
    stored: Callable[[], np.ndarray]

    def read(self) -> np.ndarray:
        """The tensor as float32.

        Raises:
          ValueError: it does not hold floating-point numbers.
        """
        return self.stored().astype(np.float32, copy=False)


def find(path: Path, subfolders: Sequence[str] = ()) -> Path:
    """The file of weights, or the index of several, that a path names.

    Args:
      path: it, or a folder.
      subfolders: of that folder, in which it may lie, too.

    Raises:
      ValueError: the folder has none, or several.
      OSError: there is no such path.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(f"{path} is neither a file nor a folder")
    for folder in (path, *(path / name for name in subfolders)):
        for pattern in ("*.index.json", "*.safetensors", *(f"*{suffix}" for suffix in PICKLES)):
            files = sorted(folder.glob(pattern))
            if len(files) == 1:
                return files[0]
            if files:
                raise ValueError(f"{folder} has {len(files)} files {pattern}; name one: {files[0]}")
    raise ValueError(f"{path} has no weights in it (.safetensors, {', '.join(PICKLES)})")


def open_file(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file or of an index, and the arguments of the script that wrote it, where it keeps them.

    Raises:
      ValueError: it cannot be read, or wants to run code.
      OSError: there is no such file.
    """
    if file.name.endswith(".index.json"):
        return _open_index(file), {}
    if not file.is_file():
        raise FileNotFoundError(f"{file}: there is no such file")
    if what := odd_files.what(file):
        raise ValueError(f"{file} is {what}")
    if file.suffix == ".safetensors":
        if odd_files.is_pickle(file) and not odd_files.is_safetensors(file):
            raise ValueError(f"{file} is a file of torch.save with a wrong ending; rename it to .pt")
        return _open_safetensors(file), {}
    if file.suffix in PICKLES:
        if odd_files.is_safetensors(file) and not odd_files.is_pickle(file):
            raise ValueError(
                f"{file} is in the format of safetensors with a wrong ending; rename it to .safetensors"
            )
        return _open_pickle(file)
    raise ValueError(f"{file}: weights are files {', '.join(('.safetensors', *PICKLES))} or *.index.json")


def _open_index(index: Path) -> dict[str, Tensor]:
    placed = json_files.read(index, "index of weights").get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(part, str) and part for part in placed.values()):
        raise ValueError(f"{index} is no index of weights: it must have a 'weight_map' of names and files")
    parts = {name: open_file(index.parent / name)[0] for name in sorted(set(placed.values()))}
    absent = [name for name, part in placed.items() if name not in parts[part]]
    if absent:
        raise ValueError(f"{index}: {placed[absent[0]]} lacks {absent[0]}, which the index says is in it")
    return {name: parts[part][name] for name, part in placed.items()}


def _open_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        with safetensors.safe_open(file, "np"):  # checks the header against the file
            pass
        with file.open("rb") as content:
            length = int.from_bytes(content.read(8), "little")
            table: Mapping[str, Any] = json.loads(content.read(length))
    except Exception as error:  # a damaged file can make the reader fail anywhere
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{file} cannot be read, it may be truncated: {reason}") from error

    def tensor(name: str, dtype: str, shape: tuple[int, ...], start: int) -> Tensor:
        def read() -> np.ndarray:  # and not mapped: pages of a large file would stay in memory until the end
            if dtype not in DTYPES:
                raise ValueError(f"{file}: {name} holds {_called(dtype)} values, not floating-point numbers")
            return np.fromfile(file, DTYPES[dtype], math.prod(shape), offset=start).reshape(shape)

        return Tensor(shape, dtype, read)

    return {
        name: tensor(name, entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
        for name, entry in table.items()
        if name != "__metadata__"
    }


def _called(dtype: str) -> str:
    """A dtype of .safetensors as others call it: "I8" is int8."""
    start = next((start for start in KINDS if dtype.startswith(start)), "")
    return KINDS.get(start, "") + dtype.removeprefix(start).lower()


def _open_pickle(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        from ptdit_jax.weight_files import pickles
    except ImportError as error:
        raise ValueError(
            f"{file}: files of torch.save are read by PyTorch (pip install -r requirements-torch.txt -c "
            "constraints.txt); those of .safetensors need none"
        ) from error
    tensors, arguments = pickles.read(file)
    return {
        name: Tensor(
            pickles.shape(tensor),
            pickles.describe(tensor),
            lambda name=name, tensor=tensor: pickles.to_numpy(tensor, f"{file}: {name}"),
        )
        for name, tensor in tensors.items()
    }, arguments
