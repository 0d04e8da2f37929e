"""What samples are asked for: the model with its config; and of `ptdit_jax.sample.many` its options and prompts."""

import argparse
from collections.abc import Sequence
from typing import Any

from ptdit_jax import cli, files
from ptdit_jax import config as rules
from ptdit_jax.experiment import origin
from ptdit_jax.sample import flags, one_file, prompts, released
from ptdit_jax.sample.prompts import Prompt


def parse(argv: Sequence[str], about: str) -> argparse.Namespace:
    """The command line without what `distributed.parse` takes.

    Args:
      argv: without the name of the program.
      about: the docstring of the entry point.

    Raises:
      ValueError: an option is missing or wrong.
    """
    parser = cli.option_parser("ptdit_jax.sample.many", about)
    add_options(parser)
    add = parser.add_argument
    add("--out", metavar="DIR", help="folder of the samples")
    add("--npz", metavar="FILE", help="for ADM's evaluator: arr_0 uint8 (N, H, W, C), arr_1 labels")
    args = parser.parse_args(argv)
    if args.out is None:
        raise ValueError("--out is missing: the folder of the samples")
    check(args)
    files.resolve(args, "out", "npz")
    if args.npz is not None:
        files.check_file(args.npz, "--npz", (".npz",))
    return args


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is sampled and how, whatever is done with the samples."""
    add = parser.add_argument
    flags.add_model(parser)
    add("--prompts", metavar="FILE", help="a prompt a line; of .jsonl an object, see docs/sampling.md")
    add("--negative", metavar="TEXT", help="what guidance leads away from (default: the empty caption)")
    add("--label", type=int, help="the class of every sample; without it, all classes in turn")
    add("--count", type=int, default=1, metavar="K", help="samples of each prompt, else of all (default 1)")
    flags.add_sampling(parser)
    add("--format", choices=[name[1:] for name in one_file.FORMATS], help="default: png, of films mp4")
    add("--fps", type=float, default=8.0, help="frames a second of films (default 8)")


def check(args: argparse.Namespace) -> None:
    """Look at those options by themselves, and make their paths absolute.

    Raises:
      ValueError: one is missing or wrong.
    """
    if args.checkpoint is None and args.from_release is None:
        raise ValueError("--checkpoint DIR or --from-release WEIGHTS is missing: what to sample from")
    files.resolve(args, "checkpoint", "from_release", "text_encoder", "vae", "prompts")
    cli.check_finite(args.fps, "--fps")
    if args.fps <= 0:
        raise ValueError(f"--fps={args.fps:g} must be above 0")


def open_release(args: argparse.Namespace) -> origin.Origin | None:
    """What `--from-release` names; None without it.

    Raises:
      ValueError: a flag does not go with it, or it is of another network.
      OSError: there is no such file.
    """
    if args.from_release is None:
        if args.key is not None:
            raise ValueError(f"--key={args.key} goes with --from-release")
        return None
    if args.checkpoint is not None:
        raise ValueError(f"--checkpoint={args.checkpoint} must be left out with --from-release")
    if args.ema is not None:
        raise ValueError(f"--ema={args.ema:g} must be left out with --from-release, which has no averages")
    for name in ("text_encoder", "vae"):
        if getattr(args, name) is None:
            raise ValueError(
                f"--{name.replace('_', '-')} DIR is missing: --from-release needs it, the weights have none"
            )
    paths = {name: str(getattr(args, name)) for name in ("text_encoder", "vae")}
    return released.of_release(args.from_release, key=args.key, **paths)


def find_model(args: argparse.Namespace) -> origin.Origin:
    """What the command line samples from, its config as it asks.

    Raises:
      ValueError: see `open_release`, or a field has a wrong value.
      OSError: there is no such file.
    """
    for name in ("guidance", "ema", "cache_threshold", "cache_first"):
        cli.check_finite(getattr(args, name), f"--{name.replace('_', '-')}")
    found = open_release(args) or origin.of_checkpoint(args.checkpoint, ema=args.ema)
    config = found.config
    for name in flags.OVERRIDES:
        if (value := getattr(args, name)) is not None:
            config.sampling[name] = value
    for section, name in (("text_encoder", "text_encoder"), ("autoencoder", "vae")):
        if (path := getattr(args, name)) is not None:
            config[section].path = str(path)
    config.mesh.check_memory = not args.insist
    rules.validate(config, check_data=False)
    if args.count < 1:
        raise ValueError(f"--count={args.count} must be at least 1")
    if not 0 <= args.seed < prompts.LARGEST:
        raise ValueError(f"--seed={args.seed} must be in [0, 2**32)")
    return found


def read_prompts(args: argparse.Namespace, config: Any) -> list[Prompt]:
    """The prompts; none for a model without text.

    Raises:
      ValueError: they do not go with the model, or the file has none.
      OSError: it cannot be read.
    """
    kind = config.model.condition
    for name, wanted in (("prompts", "text"), ("negative", "text"), ("label", "class")):
        if (value := getattr(args, name)) is not None and kind != wanted:
            raise ValueError(f"--{name}={value} must not be given: the model has model.condition={kind!r}")
    if kind != "text":
        return []
    if args.prompts is None:
        raise ValueError("a model with model.condition='text' needs --prompts FILE, a prompt a line")
    found = prompts.read(args.prompts, args.negative or "")
    if config.sampling.guidance == 1 and any(prompt.negative for prompt in found):
        raise ValueError(
            "--guidance=1 is none, so that --negative, or a negative of --prompts, would do nothing"
        )
    if not config.text_encoder.path and config.data.name != "captioned_digits":
        raise ValueError(
            "--prompts needs a text encoder, and the config of the run has no text_encoder.path: name it with "
            "--text-encoder"
        )
    return found
