"""Pictures a second of ingest on one worker: launch/ingest.sh on JPEGs made here.

    .venv/bin/python benchmarks/ingest.py [--count 2000] [--side 512]

Prints seconds of the whole run, of a second run whose pictures are measured already, and of one with a single picture,
which is what starting costs. A run before them that is not timed sets the environment up and reads the packages in.
"""

import argparse
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

ROOT = Path(__file__).parents[1]
LEAST = 0.2  # share of a run that its pictures must take, for their rate to be told from the start's


def ingest(source: Path, out: Path) -> float:
    """Returns the seconds of a run with every filter's work and perceptual deduplication."""
    begin = time.perf_counter()
    command = ["bash", "launch/ingest.sh", "--source", source, "--out", out, "--dedupe", "perceptual"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - begin


def main() -> None:
    """Makes the pictures and runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--side", type=int, default=512)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, single = Path(folder, "many"), Path(folder, "single")
        source.mkdir()
        single.mkdir()
        for number in range(options.count):
            values = np.random.default_rng(number).random((16, 16, 3))
            values = ndimage.zoom(values, (options.side / 16, options.side / 16, 1), order=1)
            Image.fromarray((values * 255).astype(np.uint8)).save(source / f"{number:06d}.jpg", quality=90)
        shutil.copy(source / "000000.jpg", single)
        ingest(single, Path(folder, "warm"))
        start = ingest(single, Path(folder, "a"))
        whole = ingest(source, Path(folder, "b"))
        shutil.rmtree(Path(folder, "b", "quarantine"), ignore_errors=True)
        for path in Path(folder, "b").glob("*.tar"):
            path.unlink()
        Path(folder, "b", "report.json").unlink()
        again = ingest(source, Path(folder, "b"))
    print(
        f"{options.count} pictures of {options.side} px: start {start:.1f} s, whole {whole:.1f} s, again {again:.1f} s"
    )
    print(rate(options.count, start, whole))


def rate(count: int, start: float, whole: float) -> str:
    """Says the pictures a second, from seconds of a run of one picture and of one of `count`."""
    if whole - start < LEAST * whole:
        return f"{count} pictures take too little time beside the start to tell their rate; --count must be larger"
    return f"{count / (whole - start):.0f} pictures a second after the start, on one worker"


if __name__ == "__main__":
    main()
