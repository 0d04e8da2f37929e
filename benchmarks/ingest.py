"""Pictures a second of ingest on one worker: launch/ingest.sh on JPEGs made here.

    .venv/bin/python benchmarks/ingest.py [--count 2000] [--side 512]

Prints seconds of the whole run, of a second run whose pictures are measured already, and of an empty one, which is what
starting costs.
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
    print(f"{options.count / (whole - start):.0f} pictures a second after the start, on one worker")


if __name__ == "__main__":
    main()
