"""Sample from a trained model.

    python -m ptdit_jax.sample --checkpoint runs/c2i_digits --label 3 --count 16 --guidance 2 --out grid.png

Equal seeds and labels give equal samples, whatever they are made together with: `--label 3` makes the threes
that are in the picture of all labels.  What is not given is as in the config of the run.

Exit code: 0 done; 1 a file cannot be read or written; 2 the command is wrong.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ptdit_jax import cli, plots, results, sampling
from ptdit_jax import config as rules
from ptdit_jax.diffusion.samplers import SAMPLERS
from ptdit_jax.experiment import build
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.pretrained import load_params
from ptdit_jax.training import checkpoint
from ptdit_jax.training.state import ema_name


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line; `--help` tells what there is."""
    about = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m ptdit_jax.sample",
        description=about[0],
        epilog="\n\n".join(about[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    samplers = [name for names in SAMPLERS.values() for name in names]
    add = parser.add_argument
    add(
        "--checkpoint",
        type=Path,
        required=True,
        metavar="DIR",
        help="a run's folder (its newest step), or a step",
    )
    add("--label", type=int, help="the class of every sample; without it, all classes in turn")
    add("--count", type=int, default=16, help="samples to make (default 16)")
    add("--guidance", type=float, help="scale of classifier-free guidance, 1 = none")
    add("--steps", type=int, help="steps of the sampler")
    add("--sampler", choices=samplers, help="method; flow: euler, heun, sde; vp: ddpm, ddim, dpmpp_2m")
    add("--seed", type=int, default=0, help="of the noise (default 0)")
    add("--ema", type=float, help="decay of the average that is sampled, 0 = the raw parameters")
    add("--batch", type=int, help="samples made together")
    add("--height", type=int, default=0, help="latent rows, if other than in training")
    add("--width", type=int, default=0, help="latent columns")
    add("--frames", type=int, default=0, help="latent frames")
    add("--out", type=Path, metavar="FILE", help=".png: a grid; .gif or .webp: moving (default samples.png)")
    add(
        "--npz", type=Path, metavar="FILE", help="for ADM's evaluator: arr_0 uint8 (N, H, W, C), arr_1 labels"
    )
    add("--debug", action="store_true", help="show where an error comes from")
    args = parser.parse_args(argv)
    if args.out is None and args.npz is None:
        args.out = Path("samples.png")
    return args


def main(args: argparse.Namespace) -> int:
    """Sample; returns the exit code."""
    # --- config
    step = checkpoint.find(args.checkpoint)
    config = rules.from_json(json.dumps(checkpoint.load_config(step)))
    for name in ("guidance", "steps", "sampler", "ema", "batch"):
        if (value := getattr(args, name)) is not None:
            config.sampling[name] = value
    rules.validate(config, check_data=False)
    if args.count < 1:
        raise ValueError(f"--count={args.count} must be at least 1")
    if not 0 <= args.seed < 2**32:
        raise ValueError(f"--seed={args.seed} must be in [0, 2**32)")
    if not results.is_visible(config):
        raise ValueError(
            f"the model of {step} makes latents of {config.model.channels} channels, each "
            f"{config.data.pixels_per_latent} pixels wide; only models of pixels can be drawn"
        )
    mesh = make_mesh({"data": -1})
    experiment = build(config, mesh=mesh, frames=args.frames, height=args.height, width=args.width)
    classes = experiment.classes
    if classes is None and args.label is not None:
        raise ValueError(f"--label={args.label} must not be given: the model of {step} is unconditional")
    labels = sampling.labels_in_turn(args.count, classes or 1, args.label)
    for path in filter(None, (args.out, args.npz)):
        if not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"{path}: the folder {path.absolute().parent} does not exist")
    cli.enable_compilation_cache()

    # --- parameters
    name = ema_name(config.sampling.ema)
    params = load_params(step, name, experiment, mesh)
    how = f"{config.sampling.sampler}, {config.sampling.steps} steps, guidance {config.sampling.guidance:g}"
    print(f"{name} of {step}: {args.count} samples, {how}, seed {args.seed}")

    # --- samples
    images = sampling.generate(
        experiment, params, labels, sampling=config.sampling, seed=args.seed, mesh=mesh
    )

    # --- files
    captions = None if classes is None else labels
    if args.out is not None:
        draw = plots.sample_grid if args.out.suffix == ".png" else plots.animation
        draw(images, captions, args.out)
        print(f"see {args.out}")
    if args.npz is not None:
        write_npz(args.npz, images, captions)
        print(f"see {args.npz}")
    return 0


def write_npz(path: Path, images: np.ndarray, labels: np.ndarray | None) -> None:
    """Write samples as the evaluator of ADM (arXiv 2105.05233) and its successors read them.

    Args:
      path: the file.
      images: (N, C, F, H, W) in [-1, 1]; arr_0 is uint8 (N, H, W, C), of videos (N, F, H, W, C).
      labels: (N,), arr_1; None leaves it out.
    """
    pixels = plots.to_uint8(np.moveaxis(images, 1, -1))  # (N, F, H, W, C)
    arrays: dict[str, Any] = {"arr_0": pixels[:, 0] if pixels.shape[1] == 1 else pixels}
    if labels is not None:
        arrays["arr_1"] = labels
    with path.open("wb") as file:  # np.savez would add a suffix
        np.savez(file, **arrays)


if __name__ == "__main__":
    arguments = parse(sys.argv[1:])
    sys.exit(cli.run(lambda: main(arguments), debug=arguments.debug))
