"""Files of .safetensors are read without PyTorch, as its own reader reads them."""

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ptdit_jax.weight_files import reader, writer

FLOATS = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_float_is_what_torch_reads(dtype, tmp_path):
    values = torch.linspace(-3, 5, 30).reshape(2, 3, 5).to(dtype)
    save_file(
        {"first": torch.zeros(3), "a": values, "scalar": values[0, 0, 0].clone()}, tmp_path / "w.safetensors"
    )
    tensors, _ = reader.open_file(tmp_path / "w.safetensors")
    assert tensors["a"].shape == (2, 3, 5)
    assert tensors["scalar"].shape == ()
    assert tensors["a"].stored().dtype.itemsize == values.element_size()
    np.testing.assert_array_equal(tensors["a"].read(), values.float().numpy())
    np.testing.assert_array_equal(tensors["scalar"].read(), values[0, 0, 0].float().numpy())


@pytest.mark.parametrize(
    ("dtype", "name"), [(torch.int64, "int64"), (torch.uint8, "uint8"), (torch.bool, "bool")]
)
def test_other_numbers_are_named(dtype, name, tmp_path):
    save_file({"a": torch.ones(3).to(dtype)}, tmp_path / "w.safetensors")
    tensors, _ = reader.open_file(tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=rf"w\.safetensors: a holds {name} values"):
        tensors["a"].read()


def test_what_the_writer_writes(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([0.1])}
    for dtype, kind in (("float32", np.float32), ("bfloat16", ml_dtypes.bfloat16)):
        file = tmp_path / f"{dtype}.safetensors"
        writer.write_safetensors(file, {n: a.shape for n, a in arrays.items()}, arrays.items(), dtype=dtype)
        for name, tensor in reader.open_file(file)[0].items():
            np.testing.assert_array_equal(tensor.stored(), arrays[name].astype(kind))


def test_truncated(tmp_path):
    save_file({"a": torch.ones(300)}, tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=r"w\.safetensors cannot be read, it may be truncated"):
        reader.open_file(tmp_path / "w.safetensors")


def test_needs_no_pytorch(tmp_path):
    save_file({"a": torch.ones(3, dtype=torch.bfloat16)}, tmp_path / "w.safetensors")
    torch.save({"a": torch.ones(3)}, tmp_path / "w.bin")
    program = """
import sys
sys.modules["torch"] = None
from pathlib import Path
from ptdit_jax.weight_files import reader
print(reader.open_file(Path("w.safetensors"))[0]["a"].read().sum())
try:
    reader.open_file(Path("w.bin"))
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path.cwd())},
    )
    assert done.stdout.splitlines() == [
        "3.0",
        "w.bin: files of torch.save are read by PyTorch (pip install -r requirements-torch.txt -c constraints.txt); "
        "those of .safetensors need none",
    ], done.stderr
