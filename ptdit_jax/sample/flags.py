"""The command lines of `ptdit_jax.sample` and, in what they have in common, of `ptdit_jax.sample.many`."""

import argparse
from typing import Any

from ptdit_jax import cli, plots
from ptdit_jax.config import CHOICES
from ptdit_jax.diffusion.grids import SDE_LAST_STEPS
from ptdit_jax.diffusion.samplers import SAMPLERS
from ptdit_jax.plots.settings import FILM

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
SUFFIXES = (*plots.STILL, *plots.MOVING, FILM, ".npy")
"""What --out may end in, if it is no folder."""
COUNT, OF_EACH = 16, 4  # samples by default: in all, and of each prompt


def parse(argv: list[str], about: str) -> argparse.Namespace:
    """The command line; `--help` tells what there is.

    Args:
      argv: without the name of the program.
      about: what the command is, its first paragraph and the rest.
    """
    first, *rest = about.split("\n\n")
    parser = cli.Parser(
        prog="python -m ptdit_jax.sample",
        description=first,
        epilog="\n\n".join(rest),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--show", metavar="FILE", help="print how a picture or film was made, and end; needs no checkpoint")
    add_model(parser)
    _conditions(parser)
    add("--count", type=int, help=f"samples of each prompt ({OF_EACH}); without prompts in all ({COUNT})")
    add_sampling(parser)
    add("--calibrate-cache", action="store_true", help="reuse nothing, measure magcache.json into the run")
    _outputs(parser)
    args = parser.parse_args(argv)
    if args.checkpoint is None and args.from_release is None and args.show is None:
        parser.error("the following arguments are required: --checkpoint (or --from-release, or --show)")
    if args.out is None and args.npz is None:
        args.out = "samples.png"
    if args.count is None:
        args.count = COUNT if args.prompt is None and args.prompts is None else OF_EACH
    return args


def add_model(parser: Any) -> None:
    """What is sampled, and how much it may need."""
    add = parser.add_argument
    add("--checkpoint", metavar="DIR", help="a run's folder (its newest step), or a step")
    add(
        "--from-release",
        metavar="WEIGHTS",
        help="the released weights as they are, with --text-encoder and --vae",
    )
    add("--key", help="with --from-release: where the network is in the file")
    add("--text-encoder", metavar="DIR", help="folder of the run's text encoder, if it lies elsewhere now")
    add("--vae", metavar="DIR", help="folder of the run's autoencoder, likewise")
    add("--insist", action="store_true", help="try also what by plain arithmetic no memory here holds")
    add("--debug", action="store_true", help="show where an error comes from")


def _conditions(parser: Any) -> None:
    condition = parser.add_mutually_exclusive_group()
    add = condition.add_argument
    add("--label", type=int, help="the class of every sample; without it, all classes in turn")
    add("--text", metavar="FILE.npz", help="text states; their captions come in turn")
    add("--prompt", action="append", help="encoded by the run's text encoder; may be given several times")
    add("--prompts", metavar="FILE", help="a prompt a line, or .jsonl: prompt, negative, seed, number")
    add = parser.add_argument
    add("--negative", metavar="TEXT", default="", help="what guidance leads away from; the empty caption")


def add_sampling(parser: Any) -> None:
    """How samples are made: `OVERRIDES`, seed and sizes."""
    add = parser.add_argument
    samplers = [name for names in SAMPLERS.values() for name in names]
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
    add("--seed", type=int, default=0, help="of the noise (default 0)")
    add("--ema", type=float, help="decay of the average that is sampled, 0 = the raw parameters")
    add("--batch", type=int, help="samples made together")
    add(
        "--size",
        metavar="HxW",
        help="height and width in pixels, such as 720x1280, if other than in training",
    )
    add("--frames", type=int, help="frames in pixels, 4k+1 with a causal autoencoder, or number of views")
    add("--views", action="store_true", help="frames are views of an object, each a picture by itself")
    add("--cache", choices=CHOICES["sampling.cache"], help="fewer computations a sample: docs/cache.md")
    add("--cache-threshold", type=float, metavar="E", help="magcache: error skipped in a row stays below E")
    add("--cache-skips", type=int, metavar="N", help="magcache: evaluations skipped in a row, at most")
    add("--cache-first", type=float, metavar="P", help="magcache: share, the first, that is never skipped")
    add("--cache-every", type=int, metavar="K", help="global: proxies are computed at every K-th evaluation")


def _outputs(parser: Any) -> None:
    add = parser.add_argument
    still, moving = ", ".join(plots.STILL), ", ".join((*plots.MOVING, FILM))
    add(
        "--out",
        metavar="OUT",
        help=f"{still}: a picture or a grid; {moving}: moving; .npy: as they are, (N, C, F, H, W); DIR/: a file for "
        "each, and a contact sheet (default samples.png)",
    )
    add("--npz", metavar="FILE", help="for ADM's evaluator: arr_0 uint8 (N, H, W, C), arr_1 labels")
    add("--fps", type=float, help="frames a second of what moves (default: the run's encode.fps, or 8)")
