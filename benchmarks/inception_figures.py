"""Time of the field's figures of pictures beside torch-fidelity, and the memory that 50,000 samples take.

python -m benchmarks.inception_figures [--images 64] [--threads 2]    images a second, same weights and cores, in turn
python -m benchmarks.inception_figures --memory [--samples 50000]     statistics of random features: peak of memory

Random weights in the published layout.  Needs what the tests need (requirements-dev.txt, requirements-oracles.txt).
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROUNDS = 3
GIB = 2**30


def speed(images: int, threads: int) -> None:
    """Images a second of both, best of some rounds that take turns."""
    import jax
    import torch

    from ptdit_jax.evaluation import pictures, statistics
    from ptdit_jax.parallel.mesh import make_mesh
    from tests.features import published

    torch.set_num_threads(threads)
    pixels = np.random.default_rng(0).integers(0, 256, (images, 256, 256, 3)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        file = published.inception_file(Path(folder))
        network = statistics.Inception(file, make_mesh({"data": -1}), together=min(images, 32))
        oracle = published.inception_oracle(file, ["2048", "logits_unbiased"])
    found = pictures.of_array(pixels, "samples")
    parts = torch.from_numpy(pixels.transpose(0, 3, 1, 2)).split(32)

    def ours() -> None:
        network.of(found, {"fid", "sfid", "is", "pairs"}, name=None)

    def theirs() -> None:
        with torch.no_grad():
            for part in parts:
                oracle(part)

    best: dict[str, float] = dict.fromkeys(("ptdit_jax", "torch-fidelity"), np.inf)
    for number in range(ROUNDS + 1):
        for name, call in (("ptdit_jax", ours), ("torch-fidelity", theirs)):
            began = time.perf_counter()
            call()
            if number:  # the first compiles
                best[name] = min(best[name], time.perf_counter() - began)
    print(
        f"Inception-v3, 256x256, float32, {threads} threads, {jax.devices()[0].device_kind}; best of {ROUNDS}"
    )
    for name, seconds in best.items():
        print(f"{name:16}{images / seconds:8.2f} images/s")


def memory(samples: int) -> None:
    """Peak of memory of all figures' statistics and figures, of random features that come 64 at a time."""
    from ptdit_jax.evaluation import figures, statistics
    from ptdit_jax.features import inception

    def parts(seed: int) -> Iterator[inception.Features]:
        rng = np.random.default_rng(seed)
        for first in range(0, samples, 64):
            count = min(64, samples - first)
            sizes = (statistics.SIZES["fid"], statistics.SIZES["sfid"], inception.CLASSES)
            yield inception.Features(*(rng.standard_normal((count, size), np.float32) for size in sizes))

    before = _peak()
    wanted = {"fid", "sfid", "is", "pairs"}
    seen = [statistics.of_features(parts(seed), wanted, split=5000) for seed in (0, 1)]
    gathered = _peak()
    print(f"{samples:,} samples and as many of the reference")
    print(f"statistics gathered: {(gathered - before) / GIB:.2f} GiB above {before / GIB:.2f}", flush=True)
    began = time.perf_counter()
    found = figures.figures(figures.DEFAULT, *seen, bar="figures")
    print(f"figures made:        {(_peak() - before) / GIB:.2f} GiB, {time.perf_counter() - began:.0f} s")
    print(", ".join(f"{name} {value:.4g}" for name, value in found.items()))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    """Measure; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--samples", type=int, default=50_000)
    args = parser.parse_args()
    if args.memory:
        memory(args.samples)
    else:
        speed(args.images, args.threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
