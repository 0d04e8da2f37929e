"""Pictures a second of the image autoencoder here beside diffusers' module in PyTorch: same weights, cores and input.

    python -m benchmarks.autoencoder [--size 256] [--batch 4] [--repeats 5] [--causal] [--processor-time]

Random weights at the sizes of Stable Diffusion's AutoencoderKL (83,653,863 parameters), float32, on this machine's
CPU.  Both are timed in turn, in one process, and the median of the repeats counts.  `--causal` also times one image
through the CausalVAE of the released sizes, 2-D here, beside its 3-D restatement in PyTorch.  `--processor-time` counts
the seconds of processors instead of the clock's, for one core of a machine that others use, too (`taskset -c 0`).
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from diffusers import AutoencoderKL

from configs import common
from ptdit_jax.convert import torch_causal_vae
from ptdit_jax.encoders import autoencoder_weights as weights
from ptdit_jax.encoders import causal_vae
from ptdit_jax.encoders.autoencoder import open_autoencoder
from ptdit_jax.processes import environment
from ptdit_jax.text_tables import table
from ptdit_jax.weight_files import writer

Call = Callable[[], Any]
CLOCK: list[Callable[[], float]] = [time.perf_counter]  # the last one counts


def main(argv: list[str]) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=256, help="pixels a side")
    parser.add_argument("--batch", type=int, default=4, help="pictures at once")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--causal", action="store_true", help="the CausalVAE, too")
    parser.add_argument("--processor-time", action="store_true", help="count seconds of processors")
    args = parser.parse_args(argv)
    if args.processor_time:
        CLOCK.append(time.process_time)
    environment.pin()
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (args.batch, 3, 1, args.size, args.size)).astype(np.float32)
    z = rng.standard_normal((args.batch, 4, 1, args.size // 8, args.size // 8)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        rows = kl_rows(Path(folder), x, z, args.repeats)
        if args.causal:
            rows += causal_rows(Path(folder), x, z, args.repeats)
    print(f"{args.batch} pictures of {args.size} pixels, float32, {cores} cores: pictures a second\n")
    print(table(["network", "direction", "PyTorch", "here", "ratio", "largest difference"], rows))
    return 0


def kl_rows(folder: Path, x: np.ndarray, z: np.ndarray, repeats: int) -> list[list[str]]:
    """Rows of AutoencoderKL."""
    torch.manual_seed(0)
    theirs = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        sample_size=512,
    ).eval()
    theirs.save_pretrained(folder / "kl")
    ours = opened(folder / "kl")
    x_torch, z_torch = torch.from_numpy(x[:, :, 0]), torch.from_numpy(z[:, :, 0])
    return [
        row(
            "AutoencoderKL, SD",
            "encode",
            lambda: theirs._encode(x_torch).numpy()[:, :, None],
            lambda: np.asarray(ours.moments(x)),
            len(x),
            repeats,
        ),
        row(
            "AutoencoderKL, SD",
            "decode",
            lambda: theirs.decode(z_torch).sample.numpy()[:, :, None],
            lambda: np.asarray(ours.decode(z * ours.scale)),
            len(x),
            repeats,
        ),
    ]


def causal_rows(folder: Path, x: np.ndarray, z: np.ndarray, repeats: int) -> list[list[str]]:
    """Rows of the CausalVAE on images."""
    arch = causal_vae.architecture({}, "the released sizes")
    shapes = weights.shapes(weights.abstract(arch)[1].to_pure_dict(), causal_vae.RENAMED)
    rng = np.random.default_rng(0)

    def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) > 1:
            return (rng.standard_normal(shape) * np.prod(shape[1:]) ** -0.5).astype(np.float32)
        return np.full(shape, "norm" in name and name.endswith("weight"), np.float32)

    state = {name: drawn(name, shape) for name, shape in shapes.items()}
    (folder / "causal").mkdir()
    (folder / "causal" / "config.json").write_text('{"_class_name": "CausalVAEModel", "use_tiling": false}')
    writer.write_safetensors(folder / "causal" / "model.safetensors", shapes, state.items(), dtype="float32")
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    ours = opened(folder / "causal")
    return [
        row(
            "CausalVAE, images",
            "encode",
            lambda: torch_causal_vae.encode(tensors, torch.from_numpy(x)).numpy(),
            lambda: np.asarray(ours.moments(x)),
            len(x),
            repeats,
        ),
        row(
            "CausalVAE, images",
            "decode",
            lambda: torch_causal_vae.decode(tensors, torch.from_numpy(z)).numpy(),
            lambda: np.asarray(ours.decode(z * ours.scale)),
            len(x),
            repeats,
        ),
    ]


def opened(folder: Path) -> Any:
    """Our autoencoder of a folder, float32."""
    section = common.get_config().autoencoder
    section.update({"path": str(folder), "dtype": "float32", "posterior": "mode"})
    return open_autoencoder(section)


def row(network: str, direction: str, theirs: Call, ours: Call, count: int, repeats: int) -> list[str]:
    """One line: both calls in turn, after one call of each that is not timed."""
    difference = float(np.abs(theirs() - ours()).max())
    seconds: dict[str, list[float]] = {"theirs": [], "ours": []}
    for _ in range(repeats):
        for name, call in (("theirs", theirs), ("ours", ours)):
            start = CLOCK[-1]()
            call()
            seconds[name].append(CLOCK[-1]() - start)
    a, b = (count / statistics.median(seconds[name]) for name in ("theirs", "ours"))
    return [network, direction, f"{a:.2f}", f"{b:.2f}", f"{b / a:.2f}x", f"{difference:.1e}"]


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    sys.exit(main(sys.argv[1:]))
