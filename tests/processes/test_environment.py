"""What the environment may not decide: numbers, and devices other than those asked for."""

import json
import os
import subprocess
import sys

import pytest

from ptdit_jax.processes import environment
from tests.training.runs import ROOT

NUMBERS = """
import json, sys
import jax, jax.numpy as jnp
from ptdit_jax import cli

def main():
    key = jax.random.key(3)
    normal = jax.random.normal(key, (4, 2)) + jnp.zeros((4, 2), jnp.bfloat16)
    product = jnp.float32(1) / 0 * jnp.ones((2, 2))
    text = jax.jit(jnp.matmul).lower(normal, normal.T).as_text()
    print(json.dumps([str(key.dtype), str(normal.dtype), normal.tolist(), "HIGHEST" in text, product.tolist()]))
    return 0

sys.exit(cli.run(main))
"""
DEVICES = """
import sys
from ptdit_jax import cli
from ptdit_jax.processes import environment
sys.exit(cli.run(lambda: print(environment.describe(environment.devices(), 2**34)) or 0))
"""


def start(code, **variables):
    """A process with these variables of the environment; None takes one away."""
    known = os.environ | {name: value for name, value in variables.items() if value is not None}
    left = {name: value for name, value in known.items() if variables.get(name, value) is not None}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=left,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_variables_that_would_change_numbers_change_none():
    variables = {
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
        "JAX_THREEFRY_PARTITIONABLE": "0",
        "JAX_RANDOM_SEED_OFFSET": "7",
        "JAX_ENABLE_X64": "1",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
        "JAX_DEBUG_NANS": "1",
        "JAX_DEBUG_INFS": "1",
        "JAX_DISABLE_JIT": "1",
        "NVIDIA_TF32_OVERRIDE": "1",
        "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    }
    plain, changed = start(NUMBERS), start(NUMBERS, **variables)
    expect, nothing = plain.communicate(timeout=120)
    numbers, lines = changed.communicate(timeout=120)
    assert json.loads(expect)[:2] == ["key<fry>", "float32"]
    assert json.loads(expect)[3] is True  # float32 products are of float32
    assert numbers == expect
    assert nothing == ""
    for name, value in variables.items():
        assert (
            sum(line.startswith(f"warning: {name}={value} is not used: ") for line in lines.splitlines()) == 1
        )
    assert len(lines.splitlines()) == len(variables)


@pytest.mark.parametrize(
    "name",
    [
        "JAX_PLATFORM_NAME",
        "JAX_DEFAULT_DEVICE",
        "JAX_NO_EXECUTION",
        "JAX_DISABLE_MOST_OPTIMIZATIONS",
        "JAX_HIGH_DYNAMIC_RANGE_GUMBEL",
        "JAX_EXPLICIT_X64_DTYPES",
        "JAX_SOFTMAX_CUSTOM_JVP",
        "JAX_ALLOW_F16_REDUCTIONS",
    ],
)
def test_what_else_would_change_them_is_refused(name, monkeypatch):
    monkeypatch.setenv(name, "1")
    with pytest.raises(ValueError, match=f"{name}=1 would change what is computed; unset it"):
        environment.pin()


def test_what_asks_for_devices_has_them_or_says_what_was_found():
    asked = ["cuda", "cuda,cpu", "tpu,cpu", "nonsense", "cpu,nonsense", "cpu", ""]
    asked = [name for name in asked if not ("cuda" in name and environment._has_nvidia())]
    processes = {platforms: start(DEVICES, JAX_PLATFORMS=platforms) for platforms in asked}
    for platforms, process in processes.items():
        output, error = process.communicate(timeout=120)
        if platforms in ("cpu", ""):
            assert (process.returncode, error) == (0, "")
            assert output.startswith("1 x cpu, ")
            assert output.endswith(" GiB of host memory\n") or "XLA_FLAGS" in output
            continue
        assert (process.returncode, output) == (2, "")
        wanted = next(name for name in platforms.split(",") if name != "cpu")
        assert error.startswith(f"error: JAX_PLATFORMS={platforms}: {wanted} is not there"), error
        assert "; found: CPU, " in error
        assert "accelerator plugins of JAX: " in error
        assert error.count("\n") == 1


def test_libtpu_without_a_tpu_is_not_loaded(tmp_path):
    """It warns at length then; JAX would load it to look for one."""
    (tmp_path / "libtpu.py").write_text(
        "import sys\n"
        "def get_library_path():\n"
        "    if any(frame == 'backends' for frame in frames()): print('looked for', file=sys.stderr)\n"
        "    return '/nowhere/libtpu.so'\n"
        "def frames():\n"
        "    frame = sys._getframe()\n"
        "    while frame: yield frame.f_code.co_name; frame = frame.f_back\n"
    )
    path = {"PYTHONPATH": str(tmp_path), "JAX_PLATFORMS": None}
    alone, ours = start("import jax; jax.devices()", **path), start(DEVICES, **path)
    assert "looked for" in alone.communicate(timeout=120)[1]
    output, error = ours.communicate(timeout=120)
    assert output.startswith("1 x cpu, ")
    assert error == ""


def test_limits_of_the_compiler_are_those_of_the_user_or_out_of_reach(monkeypatch):
    mine = "--xla_cpu_collective_timeout_seconds=7 --xla_dump_max_hlo_modules=3"
    monkeypatch.setenv("XLA_FLAGS", mine)
    environment.pin()
    flags = os.environ["XLA_FLAGS"]
    assert flags == f"{mine} --xla_cpu_collective_call_terminate_timeout_seconds=86400"
    environment.pin()
    assert os.environ["XLA_FLAGS"] == flags
    assert environment.describe(environment.devices(), 2**34).endswith(
        "; XLA_FLAGS=--xla_dump_max_hlo_modules=3"
    )


def test_memory_and_processes_are_told(monkeypatch):
    class Chip:
        device_kind = "NVIDIA H100"

        def memory_stats(self):
            return {"bytes_limit": 60 * 2**30}

    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(environment.jax, "local_devices", lambda: [Chip()])
    monkeypatch.setattr(environment.jax, "process_count", lambda: 4)
    assert environment.describe([Chip()] * 8, 2**34) == "8 x NVIDIA H100, 60.0 GiB each, 4 processes"
