"""Samples that are drawn to be judged, as `ptdit_jax.sample.many` draws them."""

import argparse
import json
from pathlib import Path
from typing import Any

from ptdit_jax.experiment import decoding
from ptdit_jax.processes import distributed
from ptdit_jax.sample import folder, many, request, sizes

COUNT = 50_000  # samples of a model without text, as FID-50K has them
FOLDER = "judged"  # within the run's


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is drawn and how, and how many are judged."""
    request.add_options(parser)
    parser.set_defaults(count=None)


def is_asked(args: argparse.Namespace) -> bool:
    """Whether samples are to be drawn."""
    return args.checkpoint is not None or args.from_release is not None


def check(args: argparse.Namespace) -> None:
    """Look at the options of drawing, and fill in the folder and the number of samples.

    Raises:
      ValueError: one is wrong, or the folder cannot be guessed.
    """
    if not is_asked(args):
        return
    request.check(args)
    if args.count is None:
        args.count = COUNT if args.prompts is None else 1
    if args.samples is None and args.checkpoint is None:
        raise ValueError("--samples is missing: the folder that the samples are drawn into")
    if args.samples is None:
        args.samples = run_of(args.checkpoint) / FOLDER


def run_of(checkpoint: Path) -> Path:
    """The folder of the run of a checkpoint, which may be that folder, `checkpoints` in it, or a step."""
    for place in (checkpoint, checkpoint.parent):
        if place.name == "checkpoints":
            return place.parent
    return checkpoint


def planned(args: argparse.Namespace) -> tuple[int, tuple[int, int, int, int]]:
    """How many samples will be drawn, and their (C, F, H, W) in pixels; the model's config is read, and no parameter.

    Raises:
      ValueError: an option does not go with the model, or its samples are grey, which no figure is of.
      OSError: a file cannot be read.
    """
    config = request.find_model(args).config
    count = args.count * (len(request.read_prompts(args, config)) or 1)
    size = sizes.latent_size(config, args.size, args.frames, views=args.views)
    data = config.data
    sides = (size[name] or data[name] for name in ("frames", "height", "width"))
    shape = decoding.pixel_shape(config, (config.model.channels, *sides), views=args.views)
    if shape[0] != 3:
        raise ValueError(f"--checkpoint={args.checkpoint} draws grey samples, and the figures are of RGB")
    return count, shape


def draw(args: argparse.Namespace, launch: distributed.Launch) -> int:
    """Draw what is not there; returns the exit code of `sample.many`."""
    asked = argparse.Namespace(**vars(args) | {"out": args.samples, "npz": None})
    return many.main(asked, launch, flag="--samples")


def home(args: argparse.Namespace) -> Path:
    """The folder that figures are written to where no file is named."""
    if args.samples is None:
        return Path.cwd()
    return args.samples.parent if args.samples.is_file() else args.samples


def settings(args: argparse.Namespace) -> dict[str, Any] | None:
    """How the samples of a folder were made, where `sample.many` made them."""
    if args.samples is None:
        return None
    place = args.samples / folder.Folder.PLAN
    return json.loads(place.read_text()) if place.is_file() else None
