"""What one accelerator does with PT-DiT: speed, memory and time to the first step, beside full attention.

    python -m benchmarks.accelerator [--out accelerator.jsonl] [--budget 480] [--only PATTERN] [--list]
        [--seconds 1] [--small]

On the first device of JAX, a GPU or a TPU: the peak of its matrix products of bfloat16, then part by part the training
step (AdamW, bfloat16 products) and the forward pass of PT-DiT and of DiT, PixArt-alpha or full 3-D attention of equal
parameters, at 256 to 2048 pixels and 17 frames, with every `model.attention` that the platform allows.

--out      one line of JSON a part, written as soon as it is measured; what is there is not measured again
--budget   seconds after which no part begins; nor does one that the slowest so far of its size would carry beyond
--only     parts whose names match a pattern of the shell, such as 'xl-1024px-train-*'
--list     the names of all parts, the most important first, and nothing more
--seconds  of repeated calls of each part; times are their medians
--small    tiny networks and samples, compiled in a hurry, to try the command on a CPU in about a minute

It needs jax, flax, numpy, optax, einops and ml_collections.  It ends with a table of all rows of this device in the
file, and with code 1 if a part failed; memory that does not suffice is no failure.  docs/speed.md has the columns.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks import accelerator_measure, accelerator_parts
from benchmarks.accelerator_measure import Bench
from benchmarks.accelerator_parts import OURS, Part
from benchmarks.light_table import table
from benchmarks.timing import matrix_peak
from ptdit_jax import files
from ptdit_jax.parallel import chips
from ptdit_jax.processes import environment

SIDES, SMALL_SIDES = (4096, 8192, 16384), (256, 512)  # of the matrices of the peak
QUICK_COMPILER = ("--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true")
USER_ERROR = 2
HEADER = (
    "part",
    "blocks",
    "M parameters",
    "batch",
    "ms",
    "samples/s",
    "TFLOP/s",
    "of peak",
    "GiB compiled",
    "GiB in use",
    "s to first step",
    "speed",
)


class Ledger:
    """The file of rows: those of one device and one version of JAX count, all others stay as they are."""

    def __init__(self, path: Path, device_kind: str):
        """Read it, if it is there.

        Args:
          path: of the file; a last line that a killed run left unfinished is cut off.
          device_kind: of the device.

        Raises:
          ValueError: a line is no row.
        """
        self._path, self._run = path, {"device": device_kind, "jax": jax.__version__}
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            print(f"{path}: its last line is not finished, and left out", file=sys.stderr)
            files.write(path, lambda draft: draft.write_text(whole))
        self.rows: dict[str, dict[str, Any]] = {}
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                row = json.loads(line)
                here = self._run.items() <= row.items()
                name = row["part"]
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise ValueError(
                    f"--out={path}: line {number} is no row of this command ({line[:40]!r}); name another file"
                ) from error
            if here and "failed" not in row:
                self.rows[name] = row

    def add(self, row: dict[str, Any]) -> None:
        """Write a row, whole and at once."""
        row = self._run | row
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows[row["part"]] = row


def measure_all(found: list[Part], ledger: Ledger, bench: Bench, began: float, budget: float) -> int:
    """Measure what the ledger lacks while time lasts, and say so line by line.

    Args:
      found: the parts, in order.
      ledger: gets a row of each.
      bench: see there.
      began: `time.monotonic` at the start of the budget.
      budget: seconds.

    Returns:
      How many parts were left for want of time.
    """
    slowest: dict[str, float] = {}
    left = 0
    for number, part in enumerate(found, 1):
        if part.name in ledger.rows:
            continue
        before = time.monotonic()
        if before - began + slowest.get(part.size, 0.0) >= budget:
            left += 1
            continue
        try:
            row = accelerator_measure.measure(part, bench)
        except (RuntimeError, ValueError, NotImplementedError, FloatingPointError) as error:
            lines = str(error).splitlines() or [""]
            row = {"part": part.name, "failed": f"{type(error).__name__}: {lines[0]}"}
        took = time.monotonic() - before
        slowest[part.size] = max(took, slowest.get(part.size, 0.0))
        ledger.add(row | {"peak_tflops": bench.peak / 1e12, "part_s": took})
        print(f"[{number}/{len(found)}] {part.name}: {brief(row)} ({took:.0f} s)", flush=True)
    return left


def brief(row: dict[str, Any]) -> str:
    """A row in a few words."""
    if problem := row.get("failed") or row.get("note"):
        return problem
    return f"batch {row['batch']}, {row['ms']:.1f} ms, {row['share']:.1%} of the peak"


def report(found: list[Part], rows: dict[str, dict[str, Any]]) -> str:
    """The table of rows, "speed" in samples a second over those of the baseline, and what went wrong."""
    baseline = {part.pair: rows[part.name] for part in found if part.family != OURS and part.name in rows}
    cells, problems = [], []
    for part in found:
        row = rows.get(part.name)
        if row is None:
            continue
        if problem := row.get("failed") or row.get("note"):
            problems.append(f"{part.name}: {problem}")
            continue
        other = baseline.get(part.pair, {}).get("samples_per_s") if part.family == OURS else None
        in_use = row["in_use_bytes"]
        cells.append(
            [
                part.name,
                str(row["blocks"]),
                f"{row['parameters'] / 1e6:.1f}",
                str(row["batch"]),
                f"{row['ms']:.1f}",
                f"{row['samples_per_s']:.2f}",
                f"{row['tflops']:.3g}",
                f"{row['share']:.1%}",
                f"{row['compiled_bytes'] / 2**30:.2f}",
                f"{in_use / 2**30:.2f}" if in_use else "",
                f"{row['first_step_s']:.1f}",
                f"{row['samples_per_s'] / other:.2f}x" if other else "",
            ]
        )
    return "\n\n".join([table(HEADER, cells), *problems])


def main(argv: Sequence[str]) -> int:
    """Measure and print the table; returns the exit code.

    Raises:
      ValueError: the command, the file or the environment is wrong.
    """
    began = time.monotonic()
    args = _parser().parse_args(argv)
    os.environ.setdefault(
        "XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92"
    )  # of a GPU; JAX takes three quarters by itself
    if args.small:
        os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *QUICK_COMPILER]).strip()
    for line in environment.pin():
        print(f"warning: {line}", file=sys.stderr)
    jax.config.update(
        "jax_enable_compilation_cache", False
    )  # or the time to the first step would be one of reading
    device = environment.devices()[0]
    found = accelerator_parts.parts(device.platform, args.small)
    if args.only is not None:
        found = accelerator_parts.matching(found, args.only)
    if args.list:
        print("\n".join(part.name for part in found))
        return 0
    if device.platform == "cpu" and not args.small:
        raise ValueError("JAX has no accelerator here; --small tries the command on a CPU")
    for flag in ("budget", "seconds"):
        if not getattr(args, flag) >= 0:
            raise ValueError(f"--{flag}={getattr(args, flag)} must be a number of seconds, 0 or more")
    files.resolve(args, "out")
    files.check_file(args.out, "--out")
    ledger = Ledger(args.out, device.device_kind)

    print(f"{environment.describe([device], chips.host_memory())}, jax {jax.__version__}", flush=True)
    products = matrix_peak("bfloat16", SMALL_SIDES if args.small else SIDES, args.seconds)
    peak = max(products.values())
    sides = ", ".join(f"{speed / 1e12:.2f} at {side}" for side, speed in products.items())
    chip = chips.lookup(device.device_kind)
    sheet = f"; {peak / chip.flops_bf16:.0%} of the data sheet's {chip.flops_bf16 / 1e12:.0f}" if chip else ""
    print(f"peak of bfloat16 products: {peak / 1e12:.2f} TFLOP/s ({sides}{sheet})", flush=True)

    left = measure_all(found, ledger, Bench(device, peak, args.seconds), began, args.budget)
    print(f"\n{device.device_kind}, {time.monotonic() - began:.0f} s\n\n{report(found, ledger.rows)}")
    if left:
        print(f"\n{left} of {len(found)} parts are left: the same command goes on")
    return int(any("failed" in row for row in ledger.rows.values()))


def _parser() -> argparse.ArgumentParser:
    what, usage, *rest = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        usage=usage.strip(),
        description=what,
        epilog="\n\n".join(rest),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--out", default="accelerator.jsonl", help=argparse.SUPPRESS)
    parser.add_argument("--budget", type=float, default=480, help=argparse.SUPPRESS)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--small", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ValueError, OSError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(USER_ERROR if isinstance(problem, ValueError) else 1)
    except KeyboardInterrupt:
        print("error: interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)
