"""Sample from a trained model.

    python -m ptdit_jax.sample --checkpoint runs/c2i_digits --label 3 --count 16 --guidance 2 --out grid.png
    python -m ptdit_jax.sample --checkpoint runs/t2i_digits --caption "a handwritten three" --count 16
    python -m ptdit_jax.sample --checkpoint runs/t2i_xl_1024 --text states.npz --out latents.npy

Equal seeds and labels give equal samples, whatever they are made together with: `--label 3` makes the threes
that are in the picture of all labels.  With text the number of the caption has the label's place.  What is not given
is as in the config of the run.

states.npz holds the states of a text encoder: text (K, L, E) and mask (K, L), 1 = keep.  Guidance guides by the empty
caption that the run was trained with; for a model that was not trained here, the file holds it as null_text (L, E)
and null_mask (L,).

Exit code: 0 done; 1 a file cannot be read or written, or samples are not finite; 2 the command is wrong.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines import captions
from data_pipelines.text import NULL_FILE, pad_all, read_captions
from ptdit_jax import cli, files, plots
from ptdit_jax import config as rules
from ptdit_jax.diffusion.grids import SDE_LAST_STEPS
from ptdit_jax.diffusion.samplers import SAMPLERS
from ptdit_jax.experiment import caching, live_text, null_text, results
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.generate import NotFinite, generate, labels_in_turn
from ptdit_jax.experiment.pretrained import load_params
from ptdit_jax.parallel import chips
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.processes import environment
from ptdit_jax.training import checkpoint
from ptdit_jax.training.state import ema_name

OVERRIDES = (
    "guidance",
    "guidance_channels",
    "steps",
    "sampler",
    "time_grid",
    "sde_last_step",
    "sde_last_step_size",
    "ema",
    "batch",
    "cache",
    "cache_threshold",
    "cache_skips",
    "cache_first",
    "cache_every",
)
"""Fields of `sampling` that have a flag."""
SUFFIXES = (*plots.STILL, *plots.MOVING, ".npy")
"""What --out may end in."""


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
    add("--checkpoint", required=True, metavar="DIR", help="a run's folder (its newest step), or a step")
    condition = parser.add_mutually_exclusive_group()
    condition.add_argument(
        "--label", type=int, help="the class of every sample; without it, all classes in turn"
    )
    condition.add_argument("--text", metavar="FILE.npz", help="text states; their captions come in turn")
    condition.add_argument(
        "--caption", action="append", help="encoded by the run's text_encoder.path; several come in turn"
    )
    add("--count", type=int, default=16, help="samples to make (default 16)")
    add("--guidance", type=float, help="scale of classifier-free guidance, 1 = none")
    add(
        "--guidance-channels",
        type=int,
        metavar="N",
        help="guide the first N channels only, 0 = all; DiT, SiT: 3",
    )
    add("--steps", type=int, help="steps of the sampler")
    add("--sampler", choices=samplers, help="method; flow: euler, heun, sde; vp: ddpm, ddim, dpmpp_2m")
    add(
        "--time-grid", metavar="NAME", help="times of the steps, as published code has them: docs/sampling.md"
    )
    add("--sde-last-step", choices=SDE_LAST_STEPS, help="how sde ends; SiT: mean")
    add("--sde-last-step-size", type=float, metavar="T", help="time at which that step starts; SiT: 0.04")
    add("--cache", choices=rules.CHOICES["sampling.cache"], help="fewer computations a sample: docs/cache.md")
    add(
        "--cache-threshold",
        type=float,
        metavar="E",
        help="magcache: error that skipped evaluations stay below",
    )
    add("--cache-skips", type=int, metavar="N", help="magcache: evaluations skipped in a row, at most")
    add(
        "--cache-first", type=float, metavar="SHARE", help="magcache: share of them, the first, never skipped"
    )
    add("--cache-every", type=int, metavar="K", help="global: proxies are computed at every K-th evaluation")
    add("--calibrate-cache", action="store_true", help="also measure magcache.json, beside the checkpoints")
    add("--seed", type=int, default=0, help="of the noise (default 0)")
    add("--ema", type=float, help="decay of the average that is sampled, 0 = the raw parameters")
    add("--batch", type=int, help="samples made together")
    add("--height", type=int, default=0, help="latent rows, if other than in training")
    add("--width", type=int, default=0, help="latent columns")
    add("--frames", type=int, default=0, help="latent frames")
    still, moving = ", ".join(plots.STILL), ", ".join(plots.MOVING)
    add(
        "--out",
        metavar="FILE",
        help=f"{still}: a grid; {moving}: moving; .npy: as they are, (N, C, F, H, W) (default samples.png)",
    )
    add("--npz", metavar="FILE", help="for ADM's evaluator: arr_0 uint8 (N, H, W, C), arr_1 labels")
    add("--insist", action="store_true", help="try also what by plain arithmetic no memory here holds")
    add("--debug", action="store_true", help="show where an error comes from")
    args = parser.parse_args(argv)
    if args.out is None and args.npz is None:
        args.out = "samples.png"
    return args


def main(args: argparse.Namespace) -> int:
    """Sample; returns the exit code."""
    # --- files
    files.resolve(args, "checkpoint", "text", "out", "npz")
    picture: Path | None = args.out if args.out and args.out.suffix.lower() != ".npy" else None
    for path, name, suffixes in ((args.out, "--out", SUFFIXES), (args.npz, "--npz", (".npz",))):
        if path is not None:
            files.check_file(path, name, suffixes)
            if args.text is not None and path.resolve() == args.text.resolve():
                raise ValueError(f"{name}={path} is the file of --text, which it would overwrite")

    # --- config
    for name in ("guidance", "ema", "cache_threshold", "cache_first"):
        cli.check_finite(getattr(args, name), f"--{name.replace('_', '-')}")
    step = checkpoint.find(args.checkpoint)
    config = rules.from_json(json.dumps(checkpoint.load_config(step)))
    for name in OVERRIDES:
        if (value := getattr(args, name)) is not None:
            config.sampling[name] = value
    config.mesh.check_memory = not args.insist
    rules.validate(config, check_data=False)
    if args.count < 1:
        raise ValueError(f"--count={args.count} must be at least 1")
    if not 0 <= args.seed < 2**32:
        raise ValueError(f"--seed={args.seed} must be in [0, 2**32)")
    if (picture or args.npz) and not results.is_visible(config):
        raise ValueError(
            f"the model of {step} makes latents of {config.model.channels} channels, each "
            f"{config.data.pixels_per_latent} pixels wide; only pixels can be drawn: write them with --out FILE.npy"
        )
    check_condition(args, config)
    text, null = read_text(args, config, null_text.folder_of(step))
    devices = environment.devices()
    mesh = make_mesh({"data": -1}, devices)
    size = {"frames": args.frames, "height": args.height, "width": args.width}
    if problems := list(rules.sampling_problems(config, chips.here(), count=args.count, **size)):
        raise ValueError("\n".join(problems))
    experiment = build(config, mesh=mesh, **size, null_text=null)
    classes = experiment.classes
    kinds = classes or (1 if text is None else len(text[0]))
    labels = labels_in_turn(args.count, kinds, args.label)
    names = labels if classes or kinds > 1 else None
    if picture:
        plots.check_size(picture, (args.count, *experiment.shape), names)
    cli.enable_compilation_cache()

    folder = null_text.folder_of(step)
    calibration = caching.load(folder)
    meter = caching.Meter(experiment) if args.calibrate_cache else None
    if meter is None:
        print(caching.describe(config.sampling, experiment.objective, calibration), end="")
    else:
        files.check_file(folder / caching.FILE, "--calibrate-cache")

    # --- parameters
    print(f"devices: {environment.describe(devices, chips.host_memory())}")
    name = ema_name(config.sampling.ema)
    params = load_params(step, name, experiment, mesh)
    how = f"{config.sampling.sampler}, {config.sampling.steps} steps, guidance {config.sampling.guidance:g}"
    print(f"{name} of {step}: {args.count} samples, {how}, seed {args.seed}")

    # --- samples
    try:
        images = generate(
            experiment,
            params,
            labels,
            text=text,
            sampling=config.sampling,
            seed=args.seed,
            mesh=mesh,
            calibration=calibration,
            observe=meter,
        )
    except NotFinite as error:
        kept = keep_some(picture or args.out or args.npz, error.samples)
        raise cli.RunError(f"{error}{kept}") from error

    if meter is not None:
        measured = meter.calibration(config.sampling, samples=args.count, checkpoint=f"{name} of {step}")
        print(f"MagCache's ratios: {caching.save(measured, folder)}")

    # --- what they are written as
    if args.npz:
        files.write(args.npz, lambda draft: write_npz(draft, images, labels if classes else None))
    if picture:
        draw = plots.animation if picture.suffix.lower() in plots.MOVING else plots.sample_grid
        files.write(picture, lambda draft: draw(images, names, draft))
    elif args.out:
        files.write(args.out, lambda draft: write_npy(draft, images))
    print("see " + ", ".join(str(path) for path in (args.out, args.npz) if path is not None))
    return 0


def keep_some(path: Path, images: np.ndarray) -> str:
    """Keep the samples that were made before some that are not finite, beside a file; returns what to say of it."""
    if not len(images):
        return ""
    kept = path.with_name(f"{path.stem}.first-{len(images)}.npy")
    try:
        files.write(kept, lambda draft: write_npy(draft, images))
    except OSError as error:
        return f"; the {len(images)} made before are lost: {error}"
    return f"; the {len(images)} made before are in {kept}"


def check_condition(args: argparse.Namespace, config: Any) -> None:
    """Refuse a --label, --text or --caption that the model does not take, and a text model without text.

    Raises:
      ValueError: there is one.
    """
    kind = config.model.condition
    flags = {"class": ("label",), "text": ("text", "caption"), "none": ()}
    for name in ("label", "text", "caption"):
        if getattr(args, name) is not None and name not in flags[kind]:
            raise ValueError(
                f"--{name}={getattr(args, name)} must not be given: the model has model.condition={kind!r}"
            )
    if kind == "text" and args.text is None and args.caption is None:
        raise ValueError(
            "a model with model.condition='text' needs --text FILE.npz, states of its text encoder"
        )
    if args.caption is not None and not config.text_encoder.path and config.data.name != "captioned_digits":
        raise ValueError(
            f"--caption={args.caption} needs a text encoder, and the config of the run has no text_encoder.path: give "
            f"the model of data.name={config.data.name!r} the states of its encoder with --text FILE.npz"
        )


def read_text(
    args: argparse.Namespace, config: Any, workdir: Path
) -> tuple[tuple[np.ndarray, np.ndarray] | None, null_text.NullText | None]:
    """The captions asked for, text (K, L, E) and mask (K, L), and the empty one; None without text.

    Args:
      args: the command line.
      config: of the run.
      workdir: folder of the run.

    Raises:
      ValueError: a file cannot be read or does not go with the model, or guidance lacks the empty caption.
    """
    if config.model.condition != "text":
        return None, None
    null = null_text.of_run(config, workdir)
    if args.caption is not None and config.text_encoder.path:
        states = live_text.unpadded(config, args.caption)
    elif args.caption is not None:
        states = [captions.encode(caption) for caption in args.caption]
    else:
        states, given = read_captions(Path(args.text), config.model.text_dim)
        if given is not None:
            given = null_text.padded(config, given)
            if null is not None and not null_text.equal(null, given):
                raise ValueError(
                    f"--text={args.text}: its null_text is not the one that the run was trained with, "
                    f"{workdir / NULL_FILE}; leave null_text and null_mask out"
                )
            null = given
    if null is None and config.sampling.guidance != 1:
        raise ValueError(
            f"guidance {config.sampling.guidance:g} needs the empty caption: {workdir} has no {NULL_FILE}, so "
            "--text FILE.npz must hold null_text and null_mask; or use --guidance 1"
        )
    text = pad_all(states, config.model.text_length, truncate=config.data.truncate_text, name="caption")
    return text, null


def write_npy(path: Path, images: np.ndarray) -> None:
    """Write samples (N, C, F, H, W) as they are."""
    with path.open("wb") as file:  # np.save would add a suffix
        np.save(file, images)


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
