"""Time and peak memory of converting a full-size XL network in both directions.

    python -m benchmarks.convert_xl [--folder DIR] [--no-verify]

Makes a file of random weights in the released layout (1,131,629,216 parameters, 4.5 GB), converts it to a
checkpoint and back with the commands a user types, compares the two files byte for byte, and removes everything.
It needs 14 GB of disk and prints the largest resident set of each process, in multiples of the file.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from configs import t2i_xl_1024_release
from ptdit_jax import cli, files
from ptdit_jax.convert import conversion, layouts
from ptdit_jax.weight_files import writer

CONFIG = "configs/t2i_xl_1024_release.py"


def main() -> int:
    """Convert and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", metavar="DIR", help="where the files are made (default: the system's)")
    parser.add_argument("--no-verify", action="store_true", help="leave the parity checks out")
    args = parser.parse_args()
    files.resolve(args, "folder")
    if args.folder is not None:
        files.make_folder(args.folder, "--folder")
    folder = Path(tempfile.mkdtemp(prefix="convert_xl_", dir=args.folder))
    try:
        source, middle, back = folder / "xl.safetensors", folder / "checkpoint", folder / "torch"
        write_random(source)
        size = source.stat().st_size
        options = ["--no-verify"] * args.no_verify
        rows = [
            measure("from-torch", str(source), f"--config={CONFIG}", f"--out={middle}", *options),
            measure("to-torch", f"--checkpoint={middle}", f"--out={back}", *options),
        ]
        equal = same_bytes(source, back / "model.safetensors")
    finally:
        shutil.rmtree(folder)
    print(f"\nfile: {size / 1e9:.2f} GB; equal after both conversions: {equal}")
    print(f"{'':12}{'seconds':>9}{'peak GB':>9}{'of file':>9}")
    for name, seconds, peak in rows:
        print(f"{name:12}{seconds:9.0f}{peak / 1e9:9.2f}{peak / size:9.2f}")
    return 0


def write_random(file: Path) -> None:
    """A released file of normal weights that keep variances."""
    config = t2i_xl_1024_release.get_config()
    arch = conversion.architecture(config)
    layout = layouts.named(arch.family)
    buffer = layout.positions(arch, config.data.frames)
    shapes = {layout.buffer: buffer.shape, **layout.shapes(arch)}
    rng = np.random.default_rng(0)

    def tensors() -> Iterator[tuple[str, np.ndarray]]:
        for name, shape in shapes.items():
            if name == layout.buffer:
                yield name, buffer
                continue
            scale = np.prod(shape[1:]) ** -0.5 if len(shape) > 1 and "table" not in name else 0.02
            yield name, rng.standard_normal(shape, np.float32) * np.float32(scale)

    writer.write_safetensors(file, shapes, tensors(), dtype="float32")


def measure(*arguments: str) -> tuple[str, float, int]:
    """Run one conversion: its name, seconds, and largest resident set in bytes."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "ptdit_jax.convert", *arguments]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return arguments[0], time.perf_counter() - began, usage.ru_maxrss * 1024


def same_bytes(a: Path, b: Path) -> bool:
    """Whether two files hold the same, without reading them whole."""
    return subprocess.run(["cmp", "--silent", str(a), str(b)], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(cli.run(main, platforms="cpu"))
