"""Where the networks run: the CPU, a CUDA device, or an NPU of Ascend."""

import dataclasses
import importlib
from typing import Any

import torch
from inputs import reason
from modeling_ptdit import Attend, npu_attention, sdpa


@dataclasses.dataclass(frozen=True)
class Device:
    """Where and how the network runs: a device's name, the dtype of the parameters, the attention."""

    name: str
    dtype: torch.dtype
    attend: Attend


def choose_device(name: str) -> Device:
    """The device "cpu", "cuda" or "npu"; a ValueError where it is not there."""
    if name == "npu":
        try:
            torch_npu = importlib.import_module("torch_npu")
        except ImportError as error:
            raise ValueError(
                "--device npu needs torch_npu: pip install torch_npu, in the version of your PyTorch and CANN"
            ) from error
        fused = hasattr(torch_npu, "npu_fusion_attention")
        return Device("npu", torch.bfloat16, npu_attention(torch_npu) if fused else sdpa)
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: this PyTorch sees no CUDA device")
    return Device(name, torch.float32, sdpa)


def check_device(name: str) -> None:
    """That a device computes.

    Raises:
      ValueError: it does not, with what PyTorch says.
    """
    try:
        torch.zeros(1, device=name)
    except Exception as error:  # each backend has errors of its own
        raise ValueError(f"--device {name} does not work: {reason(error)}") from error


def to_device(value: Any, device: str) -> Any:
    """A tensor, a tuple of them, or None, on a device."""
    if isinstance(value, tuple):
        return tuple(to_device(part, device) for part in value)
    return value if value is None else value.to(device)
