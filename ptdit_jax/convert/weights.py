"""The weights of a network in files of PyTorch weights (`weight_files`), found by their names.

One file, an index or a folder, or a folder of diffusers whose `transformer/` has them.
"""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ptdit_jax.convert import layouts
from ptdit_jax.weight_files import json_files, reader


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
    tensors: Mapping[str, reader.Tensor]
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
    tensors, arguments = reader.open_file(file)
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
    pipeline = path / "model_index.json"
    if pipeline.is_file() and not (path / "transformer").is_dir():
        name = json_files.read(pipeline, "index of a pipeline").get("_class_name")
        raise ValueError(
            f"{path} is a pipeline of diffusers ({name}) without a transformer; {layouts.supported()}"
        )
    return reader.find(path, ("transformer",))


def _facts(file: Path) -> dict[str, Any]:
    config = file.parent / "config.json"
    return json_files.read(config, "config of the weights beside it") if config.is_file() else {}
