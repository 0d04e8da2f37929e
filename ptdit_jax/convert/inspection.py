"""What is in a file of weights, and what a config's network lacks or does not know in it."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from ptdit_jax import config as rules
from ptdit_jax.convert import layouts, matching, weights
from ptdit_jax.convert.layouts import foreign

BLOCK = re.compile(r"(transformer_)?blocks\.(\d+)\.")  # starts the names of a block's tensors


def inspect(path: Path, config: Any | None, key: str | None = None) -> bool:
    """Print what a file of weights is, and what a config's network lacks or does not know in it.

    Args:
      path: see `weights.open_weights`.
      config: to compare with, or None.
      key: see `weights.open_weights`.

    Returns:
      Whether the tensors are those of the config's network (True without one).

    Raises:
      ValueError: the file cannot be read.
      OSError: there is no such file.
    """
    found = weights.open_weights(path, key)
    announce(found)
    buffers = {name for layout in layouts.LAYOUTS for name in (layout.buffer, layout.null_text)}
    size = sum(int(np.prod(shape)) for name, shape in found.shapes.items() if name not in buffers)
    blocks = {match[2] for name in found.tensors if (match := BLOCK.match(name))}
    counted: dict[str, int] = {}
    for tensor in found.tensors.values():
        counted[tensor.dtype] = counted.get(tensor.dtype, 0) + 1
    print(f"{len(found.tensors)} tensors, {size:,} parameters, {len(blocks)} blocks")
    print("dtypes: " + ", ".join(f"{count} {dtype}" for dtype, count in sorted(counted.items())))
    for name, tensor in found.tensors.items():
        match = BLOCK.match(name)
        if match is None or match[2] == "0":
            print(f"  {name} {list(tensor.shape)} {tensor.dtype}")
    if len(blocks) > 1:
        print(f"  ... {len(blocks) - 1} more blocks")
    print(what(found))
    if config is None:
        return True
    try:
        matching.match(found, rules.architecture(config), config)
    except ValueError as error:
        print(str(error).replace(": ", ":\n  ", 1).replace(" | ", "\n  "))
        return False
    print("every tensor of the config's network is there, and no other")
    return True


def what(found: weights.Weights) -> str:
    """A line about the layout of a file and the network that its shapes are of, or about the project that it is of."""
    if recognised := layouts.recognised(found.shapes):
        layout = recognised[0]
        fields = {"family": layout.family, **layout.implied(found.shapes)}
        network = ", ".join(f"model.{name}={value!r}" for name, value in fields.items())
        return f"the layout of {layout.title}: {network}"
    name = foreign.class_name(found.facts)
    other = foreign.of_names(found.shapes) or (
        f"{name} of diffusers" if name else "no layout that is known here"
    )
    return f"{other}; {layouts.supported()}"


def announce(found: weights.Weights) -> None:
    """Say which network of a file is taken."""
    where = f" under {found.key!r}" if found.key else ""
    print(f"{found.path}: {len(found.tensors)} tensors{where}")
    others = [key for key in found.keys if key != found.key]
    if others:
        print(f"also there, for --key: {', '.join(map(repr, others))}")
