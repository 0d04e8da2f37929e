"""Are two networks the same function?  The check that ends every conversion.

Both networks, in float32 on the CPU, see the same random inputs: images and videos of several sizes, windows
that fit and that need padding, text partly masked, a different time for each sample.

Shapes: B samples, C channels, F frames, H height, W width.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

from ptdit_jax import models
from ptdit_jax.convert import layouts, torch_dit, torch_pixart
from ptdit_jax.convert.export import modeling_ptdit
from ptdit_jax.models import Architecture
from ptdit_jax.models.conditioning import TIME_INPUTS

TOLERANCE = 1e-4  # on the largest difference, times the largest output where that is above 1
BATCH = 3
COMPILER_OPTIONS: dict[str, Any] = {}  # for XLA; tests set what compiles faster
TEXT_TOKENS = 7
LARGEST = 16  # tokens along each side at which PixArt-α's are compared
NETWORKS = {"dit": torch_dit.DiT, "pixart": torch_pixart.PixArt}


class ParityError(ValueError):
    """The two networks are different functions."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One input: latent size (F, H, W), window, proxy ratio or None."""

    size: tuple[int, int, int]
    window: tuple[int, int, int]
    proxy_ratio: tuple[int, int, int] | None = None


def cases(arch: Architecture, window: tuple[int, int, int]) -> list[Case]:
    """Inputs for a network.

    Injection "linear" can have only windows like `window`, that of its training, and the baselines' one size.
    """
    p = arch.patch
    if arch.family in NETWORKS:
        side = comparable(arch).sample_size
        return [Case((1, side, side), window)]

    def case(grid: Sequence[int], window: Sequence[int], proxy_ratio: Sequence[int] | None = None) -> Case:
        return Case((grid[0], grid[1] * p, grid[2] * p), tuple(window), proxy_ratio and tuple(proxy_ratio))  # type: ignore

    if arch.injection == "linear":
        f, h, w = window
        return [case((f, 2 * h, 2 * w), window), case((2 * f, 2 * h + 1, w), window)]
    found = [case((1, 4, 4), (1, 2, 2)), case((1, 6, 5), (1, 4, 4)), case((3, 4, 4), (2, 2, 2))]
    if arch.giim and arch.injection == "cross_attention":
        found.append(case((2, 4, 6), (2, 4, 4), (1, 2, 2)))
    return found


def inputs(arch: Architecture, case: Case, seed: int) -> tuple[np.ndarray, np.ndarray, Any]:
    """x (B, C, F, H, W), t (B,) all different, and the condition, as numpy arrays."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((BATCH, arch.channels, *case.size)).astype(np.float32)
    t = rng.permutation(np.linspace(0.02, 0.98, BATCH)).astype(np.float32)
    if arch.condition == "class":
        return x, t, rng.integers(0, arch.classes + 1, BATCH).astype(np.int32)
    if arch.condition == "text":
        text = rng.standard_normal((BATCH, TEXT_TOKENS, arch.text_dim)).astype(np.float32)
        mask = np.arange(TEXT_TOKENS) < np.array([[TEXT_TOKENS], [1], [TEXT_TOKENS // 2]])
        return x, t, (text, mask)
    return x, t, None


def comparable(arch: Architecture) -> Architecture:
    """The network as it is compared: in float32, and without draws, which the two sides make differently.

    PixArt-α's, whose weights are for any size, are compared at a small one.
    """
    extraction = "average" if arch.extraction == "random" else arch.extraction
    side = min(arch.sample_size, LARGEST * arch.patch) if arch.family == "pixart" else arch.sample_size
    return dataclasses.replace(
        arch, compute_dtype="float32", remat="none", extraction=extraction, sample_size=side
    )


def torch_architecture(arch: Architecture, frames: int) -> modeling_ptdit.Architecture:
    """The same facts for the exported module."""
    names = [
        field.name for field in dataclasses.fields(modeling_ptdit.Architecture) if field.name != "frames"
    ]
    return modeling_ptdit.Architecture(**{name: getattr(arch, name) for name in names}, frames=frames)


def run_torch(arch: Architecture, read: Callable[[str], np.ndarray], which: list[Case]) -> list[np.ndarray]:
    """Outputs of the PyTorch module.

    Args:
      arch: the network.
      read: name of the family's original layout -> float32 tensor; what it gives is used in place.
      which: the inputs.
    """
    arch = comparable(arch)
    is_baseline = arch.family in NETWORKS
    positions = layouts.named(arch.family).positions(arch, 1)
    with torch.device("meta"):
        if is_baseline:
            model = NETWORKS[arch.family](arch, positions)
        else:
            model = modeling_ptdit.PTDiT(torch_architecture(arch, frames=1))
    tensors = {}
    for name, _ in model.named_parameters():
        array = read(name)
        tensors[name] = torch.from_numpy(array if array.flags.writeable else array.copy())
    model.load_state_dict(tensors, strict=False, assign=True)

    def convert(value: Any) -> Any:
        return tuple(map(convert, value)) if isinstance(value, tuple) else torch.from_numpy(value)

    outputs = []
    with torch.no_grad(), _float32():
        for number, case in enumerate(which):
            x, t, condition = inputs(arch, case, number)
            condition = None if condition is None else convert(condition)
            if is_baseline:
                time = TIME_INPUTS[arch.time_input](convert(t))
                output = model(convert(x[:, :, 0]), time, condition)[:, :, None]
            else:
                options = {"window": case.window, "proxy_ratio": case.proxy_ratio}
                output = model(convert(x), convert(t), condition, **options)
            outputs.append(output.numpy())
    return outputs


@contextlib.contextmanager
def _float32() -> Iterator[None]:
    """PyTorch without oneDNN, which multiplies in bfloat16 where a flag of PyTorch or the environment lets it."""
    keep: Any = {"_fp32_precision": None}
    was_used, *_ = torch.backends.mkldnn.set_flags(False, **keep)
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(was_used, **keep)


def run_ours(arch: Architecture, params: Any, which: list[Case]) -> list[np.ndarray]:
    """Outputs of the JAX network.

    Args:
      arch: the network.
      params: nested dict of arrays.
      which: the inputs.
    """
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: models.build(comparable(arch), nnx.Rngs(0))))
    outputs = []
    for number, case in enumerate(which):
        x, t, condition = inputs(arch, case, number)

        def run(params: Any, x: jax.Array, t: jax.Array, condition: Any, case: Case = case) -> jax.Array:
            options = {"window": case.window, "proxy_ratio": case.proxy_ratio}
            return nnx.merge(graphdef, params)(x, t, condition, **options)

        with jax.default_matmul_precision("float32"):
            compiled = jax.jit(run, compiler_options=COMPILER_OPTIONS)
            outputs.append(np.asarray(compiled(params, jnp.asarray(x), jnp.asarray(t), condition)))
    return outputs


def compare(which: list[Case], ours: list[np.ndarray], theirs: list[np.ndarray]) -> dict[str, Any]:
    """The report of a check.

    Args:
      which: the inputs.
      ours: outputs of the JAX network.
      theirs: outputs of the PyTorch module.

    Returns:
      What JSON can hold: each case with its largest difference, that difference over the largest output, and
      the relative difference |a - b| / |b| of all values; the largest of each over the cases.
    """
    return summary(
        [
            dataclasses.asdict(case) | {"samples": len(a)} | row("", a, b)
            for case, a, b in zip(which, ours, theirs, strict=True)
        ]
    )


def row(what: str, ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """One line of a report: how far two outputs are from each other, and whether that is near enough."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    largest, norm = float(np.abs(b).max()), float(np.linalg.norm(b))
    difference = float(np.abs(a - b).max())
    return ({"input": what} if what else {}) | {
        "largest_output": largest,
        "max_difference": difference,
        "relative_difference": float(np.linalg.norm(a - b)) / norm if norm else difference,
        "passed": bool(difference <= TOLERANCE * max(1.0, largest)),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The report of some rows."""
    return {
        "checked": True,
        "tolerance": TOLERANCE,
        "max_difference": max(row["max_difference"] for row in rows),
        "relative_difference": max(row["relative_difference"] for row in rows),
        "passed": all(row["passed"] for row in rows),
        "cases": rows,
    }


UNCHECKED = {"checked": False, "reason": "--no-verify: the two networks were not compared"}


def describe(row: dict[str, Any]) -> str:
    """The input of a row of `compare`."""
    kind = "image" if row["size"][0] == 1 else "video"
    return f"{kind} {row['size']}, window {row['window']}, proxy ratio {row['proxy_ratio']}"


def conclude(
    report: dict[str, Any],
    file: Path,
    *,
    what: str = "converted network",
    describe: Callable[[dict[str, Any]], str] = describe,
) -> None:
    """Print a report and write it to a JSON file.

    Args:
      report: of `summary`, or `UNCHECKED`; with "remarks", numbers by their names.
      file: to write.
      what: was compared, for the message.
      describe: says what the input of a row was.

    Raises:
      ParityError: the networks differ by more than the tolerance.
    """
    if not report["checked"]:
        print(f"parity: NOT CHECKED ({report['reason']})")
    else:
        for row in report["cases"]:
            print(
                f"parity: {describe(row)}: largest difference {row['max_difference']:.2e}, relative "
                f"{row['relative_difference']:.2e}"
            )
        for name, value in report.get("remarks", {}).items():
            print(f"{name}: {value:.2e}")
        if not any(row["largest_output"] for row in report["cases"]):
            print("parity: every output is zero, as before training: only names and shapes are compared")
        if not report["passed"]:
            raise ParityError(
                f"the {what} is another function: outputs differ by up to {report['max_difference']:.2e}, the "
                f"tolerance is {TOLERANCE:g}; nothing is written"
            )
    file.write_text(json.dumps(report, indent=2) + "\n")
