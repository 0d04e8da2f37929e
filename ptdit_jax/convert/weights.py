"""Files of PyTorch weights, opened without running any code in them and read one tensor at a time.

.safetensors, and .pt, .bin, .ckpt, .pth (`torch.save`); one file, a `*.index.json` over several, or a folder
with either, or one of diffusers whose `transformer/` has them.  Nested dicts count as one flat one whose names are
joined by dots.
"""

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

from ptdit_jax.convert import json_files, layouts, odd_files, pickles

PICKLES = (".pt", ".bin", ".ckpt", ".pth")


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
      arguments: of the script that wrote the file, where it keeps them.
      facts: the `config.json` beside the file, or {}.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    key: str
    keys: tuple[str, ...]
    arguments: Mapping[str, Any]
    facts: Mapping[str, Any]

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
    tensors, arguments = (_open_index(file), {}) if file.name.endswith(".index.json") else _open_file(file)
    if not tensors:
        raise ValueError(f"{file} holds no tensors")
    keys = _keys(tensors)
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
    return Weights(file, found, chosen, tuple(keys), arguments, _facts(file))


def _keys(names: Collection[str]) -> list[str]:
    """Where there are networks: what stands before all marks of a layout, or before two of them where none is whole."""
    counted: dict[str, set[str]] = {}
    for name in names:
        for anchor in layouts.ANCHORS:
            if name == anchor or name.endswith("." + anchor):
                counted.setdefault(name[: -len(anchor)].removesuffix("."), set()).add(anchor)
    whole = {
        prefix
        for prefix, marks in counted.items()
        if any(layout.marks <= marks for layout in layouts.LAYOUTS)
    }
    found = whole or {prefix for prefix, marks in counted.items() if len(marks) > 1}
    return sorted(found, key=lambda prefix: ("ema" not in prefix.lower(), prefix))


def _find(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(f"{path} is neither a file nor a folder")
    for folder in (path, path / "transformer"):
        for pattern in ("*.index.json", "*.safetensors", *(f"*{suffix}" for suffix in PICKLES)):
            files = sorted(folder.glob(pattern))
            if len(files) == 1:
                return files[0]
            if files:
                raise ValueError(f"{folder} has {len(files)} files {pattern}; name one: {files[0]}")
    if (path / "model_index.json").is_file():  # a pipeline of diffusers
        name = json_files.read(path / "model_index.json", "index of a pipeline").get("_class_name")
        raise ValueError(
            f"{path} is a pipeline of diffusers ({name}) without a transformer; {layouts.supported()}"
        )
    raise ValueError(f"{path} has no weights in it (.safetensors, {', '.join(PICKLES)})")


def _open_index(index: Path) -> dict[str, Tensor]:
    placed = json_files.read(index, "index of weights").get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(part, str) and part for part in placed.values()):
        raise ValueError(f"{index} is no index of weights: it must have a 'weight_map' of names and files")
    parts = {name: _open_file(index.parent / name)[0] for name in sorted(set(placed.values()))}
    absent = [name for name, part in placed.items() if name not in parts[part]]
    if absent:
        raise ValueError(f"{index}: {placed[absent[0]]} lacks {absent[0]}, which the index says is in it")
    return {name: parts[part][name] for name, part in placed.items()}


def _open_file(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
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


def _facts(file: Path) -> dict[str, Any]:
    config = file.parent / "config.json"
    return json_files.read(config, "config of the weights beside it") if config.is_file() else {}


def _open_safetensors(file: Path) -> dict[str, Tensor]:
    def reader(name: str) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            # Opened again each time: pages of one mapping of a large file would stay in memory until the end.
            with safetensors.safe_open(file, "pt") as content:
                return pickles.to_numpy(content.get_tensor(name), f"{file}: {name}")

        return read

    try:
        with safetensors.safe_open(file, "pt") as content:
            slices = {name: content.get_slice(name) for name in content.keys()}  # noqa: SIM118
            return {
                name: Tensor(tuple(part.get_shape()), str(part.get_dtype()), reader(name))
                for name, part in slices.items()
            }
    except Exception as error:  # a damaged file can make the reader fail anywhere
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{file} cannot be read, it may be truncated: {reason}") from error


def _open_pickle(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, arguments = pickles.read(file)
    return {
        name: Tensor(
            pickles.shape(tensor),
            pickles.describe(tensor),
            lambda name=name, tensor=tensor: pickles.to_numpy(tensor, f"{file}: {name}"),
        )
        for name, tensor in tensors.items()
    }, arguments


def write(file: Path, shapes: Mapping[str, tuple[int, ...]], tensors: Any, *, dtype: str) -> None:
    """Write tensors as .safetensors, or as `torch.save` does, under "state_dict"; arguments as below."""
    if file.suffix == ".safetensors":
        write_safetensors(file, shapes, tensors, dtype=dtype)
        return
    kind = getattr(torch, dtype)
    state = {name: torch.from_numpy(np.array(array)).to(kind) for name, array in tensors}
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == dict(shapes)
    torch.save({"state_dict": state}, file)


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
