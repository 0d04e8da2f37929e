"""How far the exported PyTorch folder's samples are from ours, from the same noise, on a trained model.

    python -m benchmarks.exported_samples --checkpoint runs/c2i_digits [--steps 50] [--guidance 2] [--sampler euler]

Exports the checkpoint into a temporary folder, runs its `sample.py` in a process of its own for each label, and
prints the largest difference of any pixel (pixels are in [-1, 1]) beside what the project allows in float32.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

from ptdit_jax import cli, files
from ptdit_jax import config as rules
from ptdit_jax.convert import conversion
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.generate import generate, labels_in_turn, sample_keys
from ptdit_jax.experiment.pretrained import load_params
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.progress import track
from ptdit_jax.training import checkpoint
from ptdit_jax.training.state import ema_name

ALLOWED = 1e-3


def main() -> int:
    """Compare and print; the exit code is 1 above the bound."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint", metavar="DIR", required=True, help="a class-conditional run of pixels"
    )
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--sampler", default="euler")
    parser.add_argument("--count", type=int, default=4, help="samples a label")
    args = parser.parse_args()

    files.resolve(args, "checkpoint")
    cli.check_finite(args.guidance, "--guidance")
    step = checkpoint.find(args.checkpoint)
    config = rules.from_json(json.dumps(checkpoint.load_config(step)))
    config.sampling.update(
        {"steps": args.steps, "guidance": args.guidance, "sampler": args.sampler, "batch": 64}
    )
    mesh = make_mesh({"data": 1}, jax.devices()[:1])
    built = build(config)
    assert built.classes is not None, "a class-conditional model"
    params = load_params(step, ema_name(config.sampling.ema), built, mesh)
    labels = labels_in_turn(args.count * built.classes, built.classes)
    ours = generate(built, params, labels, sampling=config.sampling, seed=0, mesh=mesh)
    noise = np.asarray(jax.vmap(lambda key: jax.random.normal(key, built.shape))(sample_keys(0, labels)))
    worst = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "export"
        conversion.to_torch(args.checkpoint, folder)
        for label in track(range(built.classes), built.classes, "exported", "label"):
            np.save(folder / "noise.npy", noise[labels == label])
            options = {"label": label, "noise": folder / "noise.npy", "out": folder / "out.npy"}
            options |= {"steps": args.steps, "guidance": args.guidance, "sampler": args.sampler}
            flags = [f"--{option}={value}" for option, value in options.items()]
            subprocess.run([sys.executable, folder / "sample.py", *flags], check=True, capture_output=True)
            worst = max(worst, float(np.abs(np.load(folder / "out.npy") - ours[labels == label]).max()))
    how = f"{args.sampler}, {args.steps} steps, guidance {args.guidance:g}"
    print(
        f"{len(labels)} samples of {step}: {how}: largest difference of a pixel {worst:.1e} (allowed {ALLOWED:.0e})"
    )
    return int(worst > ALLOWED)


if __name__ == "__main__":
    sys.exit(cli.run(main))
