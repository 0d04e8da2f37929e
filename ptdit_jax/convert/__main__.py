"""Convert weights from and to PyTorch.

    python -m ptdit_jax.convert from-torch WEIGHTS --config configs/t2i_xl_1024_release.py --out DIR [--key KEY]
    python -m ptdit_jax.convert to-torch --checkpoint DIR --out OUT [--ema NAME] [--dtype bfloat16] [--layout diffusers]
    python -m ptdit_jax.convert inspect WEIGHTS [--config FILE] [--key KEY]
    python -m ptdit_jax.convert encoder FOLDER --out DIR [--dtype bfloat16]

WEIGHTS is a .safetensors, .pt, .bin, .ckpt or .pth file, the index of several, or a folder with one of them (or
of diffusers, with transformer/); no code in it is run.  Its layout is that of the released PT-T2I weights, of DiT's,
SiT's or PixArt-α's own code, or of DiT or PixArt-α in diffusers.  FILE is a file like those in
configs/, or the config.json of a run or an export; `--config.FIELD=VALUE` changes it.

`encoder` takes a text encoder or an autoencoder through this project's network and writes it as its peer has it: T5,
mT5, ByT5 and UMT5 as a folder of transformers, .safetensors whatever FOLDER has.

All conversions end with a check that the two networks are the same function; its report is parity.json in
the new folder.  A conversion that fails leaves no folder.

Exit code: 0 done; 1 a file cannot be read or written, or PyTorch is missing; 2 the command or the weights are
wrong, or the networks differ.
"""

import argparse
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

from ptdit_jax import cli, files
from ptdit_jax import config as rules
from ptdit_jax.weight_files import json_files


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line; `overrides` gets its `--config.FIELD=VALUE`."""
    parser = cli.Parser(
        prog="python -m ptdit_jax.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(
        dest="verb", required=True, metavar="from-torch | to-torch | inspect | encoder"
    )
    reads = verbs.add_parser("from-torch", help="PyTorch weights to a checkpoint")
    writes = verbs.add_parser("to-torch", help="a checkpoint to a PyTorch folder")
    looks = verbs.add_parser("inspect", help="what is in a file of weights")
    frozen = verbs.add_parser("encoder", help="an encoder, both ways")
    frozen.add_argument("folder", metavar="FOLDER", help="of the encoder; or bytes, the one of no folder")
    for verb in (reads, looks):
        verb.add_argument("weights", metavar="WEIGHTS", help="file, index or folder")
        verb.add_argument("--config", required=verb is reads, metavar="FILE", help="the network")
        verb.add_argument(
            "--key", help="where the network is in the file (default: found by name, EMA first)"
        )
    writes.add_argument("--checkpoint", required=True, metavar="DIR", help="a run, or a step of it")
    writes.add_argument("--ema", metavar="NAME", help="ema_DECAY or params (default: what the run samples)")
    for verb in (writes, frozen):
        verb.add_argument(
            "--dtype", choices=("float32", "bfloat16"), default="float32", help="of the weights"
        )
    writes.add_argument(
        "--layout",
        choices=("original", "diffusers"),
        default="original",
        help="names and files: the authors' (default), or a folder for diffusers (DiT, PixArt-α)",
    )
    for verb in (reads, writes, frozen):
        verb.add_argument("--out", required=True, metavar="DIR", help="folder to make")
        verb.add_argument("--no-verify", action="store_true", help="leave the parity check out")
    for verb in (reads, writes, looks, frozen):
        verb.add_argument("--debug", action="store_true", help="show where an error comes from")
    args, rest = parser.parse_known_args(argv)
    for word in rest:
        if args.verb in ("to-torch", "encoder") or not re.match(r"--config\.[\w.]+=", word):
            parser.error(f"{word!r} is no argument of {args.verb}")
    args.overrides = rest
    return args


def read_config(file: Path, overrides: list[str]) -> Any:
    """The config of a .py file, or of a .json that a run or an export wrote, with overrides.

    Raises:
      ValueError: there is no such file, or it is no config.
    """
    if file.suffix != ".json":
        return cli.parse(["convert", f"--config={file}", *overrides], __doc__ or "")[0]
    if overrides:
        raise ValueError(f"{overrides[0]}: fields are changed with a config file .py, not with {file}")
    if not file.is_file():
        raise ValueError(f"--config={file}: there is no such file")
    content = json_files.read(file, "config")
    try:
        return rules.from_json(json.dumps(content.get("config", content)))
    except ValueError as error:
        raise ValueError(f"--config={file}: {error}") from error


def main(args: argparse.Namespace) -> int:
    """Convert or inspect; returns the exit code."""
    given = {"from-torch": ("config", "out"), "to-torch": ("checkpoint", "out"), "inspect": ("config",)}
    given["encoder"] = ("out",)
    files.resolve(args, *given[args.verb])
    if args.verb in ("from-torch", "inspect"):
        args.weights = files.path(args.weights, "WEIGHTS")
    if args.verb != "inspect":
        files.check_new_folder(args.out, "--out")
    for package in ("torch", "safetensors"):
        if importlib.util.find_spec(package) is None:
            raise cli.RunError(
                f"{package} is not installed; conversions need it: "
                "pip install -r requirements-torch.txt -c constraints.txt"
            )
    from ptdit_jax.convert import conversion, encoders, inspection  # need torch

    if args.verb == "encoder":
        encoders.convert(args.folder, args.out, dtype=args.dtype, verify=not args.no_verify)
        return 0
    if args.verb == "to-torch":
        options = {"ema": args.ema, "dtype": args.dtype, "layout": args.layout, "verify": not args.no_verify}
        conversion.to_torch(args.checkpoint, args.out, **options)
        return 0
    config = None if args.config is None else read_config(args.config, args.overrides)
    if args.verb == "inspect":
        return 0 if inspection.inspect(args.weights, config, args.key) else cli.USER_ERROR
    conversion.from_torch(args.weights, config, args.out, key=args.key, verify=not args.no_verify)
    return 0


if __name__ == "__main__":
    arguments = parse(sys.argv[1:])
    # On the CPU, which both networks are compared on.
    sys.exit(cli.run(lambda: main(arguments), debug=arguments.debug, platforms="cpu"))
