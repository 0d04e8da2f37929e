"""Folders of `transformers` that hold a frozen network: their config.json, their tensors, and one checksum of both."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ptdit_jax.weight_files import json_files, reader
from ptdit_jax.weight_files.reader import Tensor

CONFIG = "config.json"
FILES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
"""The files of weights that a folder may have; the first that it has is read."""


class Section(NamedTuple):
    """Facts of a JSON file, read field by field; a field that is absent or null has its default.

    Attributes:
      facts: the fields.
      where: the file, and the part of it, for messages.
    """

    facts: Mapping[str, Any]
    where: str

    def _value(self, name: str, default: Any) -> Any:
        value = self.facts.get(name)
        return default if value is None else value

    def wrong(self, name: str, value: Any, wanted: str) -> ValueError:
        """The error that a field is not what it must be."""
        return ValueError(f"{self.where}: {name} is {value!r} and must be {wanted}")

    def whole(self, name: str, default: int, *, least: int = 1) -> int:
        """A whole number, `least` or more.

        Raises:
          ValueError: it is none.
        """
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.wrong(name, value, f"a whole number of {least} or more")
        return value

    def number(self, name: str, default: float) -> float:
        """A number above 0.

        Raises:
          ValueError: it is none.
        """
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise self.wrong(name, value, "a number above 0")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false.

        Raises:
          ValueError: it is neither.
        """
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, value, "true or false")
        return value

    def one_of(self, name: str, options: Sequence[str], default: str) -> str:
        """One of some words.

        Raises:
          ValueError: it is another.
        """
        value = self._value(name, default)
        if value not in options:
            raise self.wrong(name, value, " or ".join(map(repr, options)))
        return value

    def part(self, name: str) -> "Section":
        """The facts of a field that holds an object; none where it is absent.

        Raises:
          ValueError: it holds something else.
        """
        value = self._value(name, {})
        if not isinstance(value, dict):
            raise self.wrong(name, value, "an object {...}")
        return Section(value, f"{self.where}: {name}")


def config(folder: Path, kind: str) -> Section:
    """The config.json of a folder.

    Args:
      folder: the folder.
      kind: its `model_type`, "clip" for example.

    Raises:
      ValueError: it is of another kind of network, or no JSON.
      OSError: there is no such folder or file.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    file = folder / CONFIG
    if not file.is_file():
        raise FileNotFoundError(f"{file}: there is no such file, which says what network the folder holds")
    found = Section(json_files.read(file, "config of a network"), str(file))
    found.one_of("model_type", [kind], "")
    return found


def open_weights(folder: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a folder, not yet read, and the name of the file that holds them or lists their files.

    Raises:
      ValueError: it has no weights, or they cannot be read.
    """
    file = next((folder / name for name in FILES if (folder / name).is_file()), None) or reader.find(folder)
    return reader.open_file(file)[0], str(file)


def take(
    tensors: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    where: str,
    *,
    ignored: Sequence[str],
) -> dict[str, np.ndarray]:
    """The tensors that a network needs, float32.

    Args:
      tensors: of `open_weights`.
      shapes: what it needs, by name, in PyTorch's order of axes.
      where: the file, for messages.
      ignored: what names end with that are not needed; any other name is an error, as it is of another network.

    Raises:
      ValueError: a tensor is missing, unknown, of another shape, or holds what are no finite numbers.
    """
    for name, shape in shapes.items():
        if name not in tensors:
            raise ValueError(f"{where} lacks {name} of shape {shape}, which its {CONFIG} asks for")
        if tensors[name].shape != shape:
            raise ValueError(
                f"{where}: {name} has shape {tensors[name].shape}, its {CONFIG} asks for {shape}"
            )
    if more := [name for name in tensors if name not in shapes and not name.endswith(tuple(ignored))]:
        raise ValueError(f"{where} holds {more[0]}, of which the network of its {CONFIG} has none")
    found = {}
    for name in shapes:
        found[name] = tensors[name].read()
        if not np.isfinite(found[name]).all():
            raise ValueError(f"{where}: {name} holds values that are not finite")
    return found


def digest(tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> str:
    """One checksum of what decides the features of a network, whatever files it is in: sha256, hex.

    Args:
      tensors: float32, by name.
      facts: of the architecture and the preparation, as JSON has them.
    """
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        found.update(f"\n{name} {tensors[name].shape}\n".encode())
        found.update(np.ascontiguousarray(tensors[name], "<f4").reshape(-1).view(np.uint8).data)
    return found.hexdigest()
