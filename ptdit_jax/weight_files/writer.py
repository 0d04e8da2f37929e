"""Files of weights for PyTorch, written."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ptdit_jax.weight_files.reader import DTYPES


def write(file: Path, shapes: Mapping[str, tuple[int, ...]], tensors: Any, *, dtype: str) -> None:
    """Write tensors as .safetensors, or as `torch.save` does, under "state_dict"; arguments as below."""
    if file.suffix == ".safetensors":
        write_safetensors(file, shapes, tensors, dtype=dtype)
        return
    import torch

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
    code = {"float32": "F32", "bfloat16": "BF16"}[dtype]
    stored = np.dtype(DTYPES[code])
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + int(np.prod(shape)) * stored.itemsize
        table[name] = {"dtype": code, "shape": list(shape), "data_offsets": [start, end]}
    header = json.dumps(table, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    expected = iter(shapes.items())
    with file.open("wb") as output:
        output.write(len(header).to_bytes(8, "little") + header)
        for name, array in tensors:
            assert (name, array.shape) == next(expected), name
            output.write(np.ascontiguousarray(array, stored).view(np.uint8).data)
    assert next(expected, None) is None
