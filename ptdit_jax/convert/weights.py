"""Files of PyTorch weights, opened without running any code in them and read one tensor at a time.

.safetensors, and .pt, .bin, .ckpt, .pth (`torch.save`); one file, a `*.index.json` over several, or a folder
with either.  Nested dicts count as one flat one whose names are joined by dots.
"""

import dataclasses
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

PICKLES = (".pt", ".bin", ".ckpt", ".pth")
# Every network has two of them, at its top level: PT-DiT's, or DiT's and SiT's.
ANCHORS = ("pos_embed.proj.weight", "proj_out.weight", "x_embedder.proj.weight", "final_layer.linear.weight")


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of a file.

    Attributes:
      shape: its shape.
      dtype: its dtype, as the file names it.
      read: gives it as float32.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Weights:
    """The tensors of one network in a file.

    Attributes:
      path: the file.
      tensors: by name, without what stands before all names.
      key: what stood there: "" or, for example, "ema.module".
      keys: all keys of the file under which there is a network.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    key: str
    keys: tuple[str, ...]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    def read(self, name: str) -> np.ndarray:
        """One tensor as float32.

        Raises:
          ValueError: it does not hold floating-point numbers.
        """
        return self.tensors[name].read()


def open_weights(path: Path, key: str | None = None) -> Weights:
    """Open a file, an index or a folder and find the network in it.

    Args:
      path: see the head of this file.
      key: where the network is; None takes averaged weights ("ema" in the key) before others.

    Raises:
      ValueError: the file cannot be read, wants to run code, or has nothing under the key.
      OSError: there is no such file.
    """
    file = _find(path)
    if file.name.endswith(".index.json"):
        tensors = _open_index(file)
    else:
        tensors = _open_file(file)
    if not tensors:
        raise ValueError(f"{file} holds no tensors")
    prefixes = {name[: -len(anchor)] for name in tensors for anchor in ANCHORS if _ends(name, anchor)}
    keys = sorted(
        (prefix.removesuffix(".") for prefix in prefixes), key=lambda k: ("ema" not in k.lower(), k)
    )
    chosen = (keys[0] if keys else "") if key is None else key
    inside = f"{chosen}." if chosen else ""
    others = [f"{other}." for other in keys if len(other) > len(chosen)]
    found = {
        name[len(inside) :]: tensor
        for name, tensor in tensors.items()
        if name.startswith(inside) and not name.startswith(tuple(others))
    }
    if not found:
        raise ValueError(f"--key={key}: {file} has networks under {', '.join(map(repr, keys)) or 'no key'}")
    return Weights(file, found, chosen, tuple(keys))


def _ends(name: str, anchor: str) -> bool:
    return name == anchor or name.endswith("." + anchor)


def _find(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if path.is_file():
        return path
    for pattern in ("*.index.json", "*.safetensors", *(f"*{suffix}" for suffix in PICKLES)):
        files = sorted(path.glob(pattern))
        if len(files) == 1:
            return files[0]
        if files:
            raise ValueError(f"{path} has {len(files)} files {pattern}; name one: {files[0]}")
    raise ValueError(f"{path} has no weights in it (.safetensors, {', '.join(PICKLES)})")


def _open_index(index: Path) -> dict[str, Tensor]:
    try:
        placed = json.loads(index.read_text())["weight_map"]
        parts = {name: _open_file(index.parent / name) for name in sorted(set(placed.values()))}
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of weights: it must have a 'weight_map'") from error
    absent = [name for name, part in placed.items() if name not in parts[part]]
    if absent:
        raise ValueError(f"{index}: {placed[absent[0]]} lacks {absent[0]}, which the index says is in it")
    return {name: parts[part][name] for name, part in placed.items()}


def _open_file(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: there is no such file")
    if file.suffix == ".safetensors":
        return _open_safetensors(file)
    if file.suffix in PICKLES:
        return _open_pickle(file)
    raise ValueError(f"{file}: weights are files {', '.join(('.safetensors', *PICKLES))} or *.index.json")


def _open_safetensors(file: Path) -> dict[str, Tensor]:
    def reader(name: str) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            # Opened again each time: pages of one mapping of a large file would stay in memory until the end.
            with safetensors.safe_open(file, "pt") as content:
                return _to_numpy(name, content.get_tensor(name))

        return read

    try:
        with safetensors.safe_open(file, "pt") as content:
            slices = {name: content.get_slice(name) for name in content.keys()}  # noqa: SIM118
            return {
                name: Tensor(tuple(part.get_shape()), str(part.get_dtype()), reader(name))
                for name, part in slices.items()
            }
    except safetensors.SafetensorError as error:
        raise ValueError(f"{file} cannot be read, it may be truncated: {error}") from error


def _open_pickle(file: Path) -> dict[str, Tensor]:
    with file.open("rb") as start:
        is_zip = start.read(2) == b"PK"
    if is_zip and not zipfile.is_zipfile(file):
        raise ValueError(f"{file} cannot be read, it is truncated: its table of contents is missing")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it wants to call {wanted[1]}" if wanted else "it is damaged or holds more than tensors"
        raise ValueError(f"{file} is not read: {reason}, and only tensors are loaded") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{file} cannot be read, it may be truncated: {str(error).splitlines()[0]}"
        ) from error
    return {
        name: Tensor(
            tuple(tensor.shape),
            str(tensor.dtype).removeprefix("torch."),
            lambda name=name, tensor=tensor: _to_numpy(name, tensor),
        )
        for name, tensor in _flat(content, "").items()
    }


def _flat(content: Any, prefix: str) -> dict[str, torch.Tensor]:
    """The tensors in nested dicts, names joined by dots."""
    if isinstance(content, torch.Tensor):
        return {prefix: content}
    if not isinstance(content, Mapping):
        return {}
    found = {}
    for name, value in content.items():
        found |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return found


def _to_numpy(name: str, tensor: torch.Tensor) -> np.ndarray:
    if not tensor.is_floating_point():
        raise ValueError(f"{name} holds {tensor.dtype} values, not floating-point numbers")
    return tensor.detach().to(torch.float32).numpy()


def write_safetensors(file: Path, shapes: Mapping[str, tuple[int, ...]], tensors: Any, *, dtype: str) -> None:
    """Write tensors one after the other, so that they need not be in memory together.

    `safetensors.save_file` takes all of them at once; the format is a table of contents and their bytes.

    Args:
      file: to write.
      shapes: of every tensor, in the order in which they come.
      tensors: iterable of (name, float32 array).
      dtype: "float32" or "bfloat16", of the file.
    """
    import ml_dtypes

    stored = np.dtype(np.float32) if dtype == "float32" else np.dtype(ml_dtypes.bfloat16)
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + int(np.prod(shape)) * stored.itemsize
        table[name] = {
            "dtype": {"float32": "F32", "bfloat16": "BF16"}[dtype],
            "shape": list(shape),
            "data_offsets": [start, end],
        }
    header = json.dumps(table, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    expected = iter(shapes.items())
    with file.open("wb") as output:
        output.write(len(header).to_bytes(8, "little") + header)
        for name, array in tensors:
            assert (name, array.shape) == next(expected), name
            output.write(np.ascontiguousarray(array, stored).view(np.uint8).data)
    assert next(expected, None) is None
