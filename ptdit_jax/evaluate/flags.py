"""The command line of `ptdit_jax.evaluate`."""

import argparse
from collections.abc import Sequence

from ptdit_jax import cli, files
from ptdit_jax.evaluate import drawn, protocols
from ptdit_jax.evaluation import clips, figures, isv
from ptdit_jax.evaluation.network import FILMS_TOGETHER, TOGETHER
from ptdit_jax.metrics.classes import SPLIT

NETWORKS = {
    **dict.fromkeys(figures.NEEDS, "inception"),
    "fd_dinov2": "dinov2",
    "fvd": "i3d",
    "isv": "c3d",
    "clip_score": "clip",
    "clipsim": "clip",
}
"""What each figure is seen by, which is the flag of its weights."""
OF_FILMS = ("fvd", "isv", "clipsim")  # the other figures are of pictures
ALONE = ("is", "isv", "clip_score", "clipsim")  # figures that need no reference
FILES = ("reference", "reference_names", "inception", "dinov2", "i3d", "c3d", "clip", "captions")
WRITTEN = ("inception", "i3d")  # networks whose statistics of samples a file keeps as a reference
CLIPS = ISV = "stylegan_v"


def parse(argv: Sequence[str], about: str) -> argparse.Namespace:
    """The command line without what `distributed.parse` takes.

    Args:
      argv: without the name of the program.
      about: the docstring of the entry point.

    Raises:
      ValueError: an option is missing or wrong.
    """
    parser = cli.option_parser("ptdit_jax.evaluate", about)
    add = parser.add_argument
    add("--samples", metavar="PATH", help="what is judged: an .npz, or a folder of pictures or films")
    add("--reference", metavar="PATH", help="what it is compared with: likewise, or a file of statistics")
    add("--samples-source", metavar="NAME:PATH", help="in place of --samples: a raw source, cut to --size")
    add(
        "--reference-source",
        metavar="NAME:PATH",
        help="in place of --reference: a raw source, as of encode.sh",
    )
    add("--reference-names", metavar="FILE", help="files of the folder --reference that count, a name a line")
    add(
        "--cut",
        action="store_true",
        help="resize the pictures of the folder --reference and cut off their sides",
    )
    add(
        "--protocol",
        choices=list(protocols.PROTOCOLS),
        help="metrics and options by name: docs/evaluation.md",
    )
    default = ",".join(figures.DEFAULT)
    add("--metrics", default=default, help=f"of {', '.join(NETWORKS)} (default {default})")
    add("--inception", metavar="FILE", help="Inception-v3, pt_inception-2015-12-05-6726825d.pth")
    add("--dinov2", metavar="DIR", help="DINOv2, a folder of transformers")
    add("--i3d", metavar="FILE", help="Inception-3D, i3d_pretrained_400.pt")
    add("--c3d", metavar="FILE", help="C3D, what ptdit_jax.evaluate.c3d makes")
    add("--clip", metavar="DIR", help="CLIP, a folder of transformers")
    add("--captions", metavar="FILE", help="of the samples, a line each (default: what the files say)")
    add(
        "--clips",
        metavar="NAME[?OPTION=VALUE&...]",
        default=CLIPS,
        help=f"of fvd: {', '.join(clips.PRESETS)}, and options of one's own (default {CLIPS})",
    )
    add(
        "--isv",
        metavar="NAME[?OPTION=VALUE&...]",
        default=ISV,
        help=f"of isv: {', '.join(isv.PRESETS)}, and options of one's own (default {ISV})",
    )
    add("--split", type=int, default=SPLIT, metavar="N", help=f"images of a split of IS (default {SPLIT})")
    add(
        "--distances", choices=figures.DISTANCES, default="adm", help="of precision and recall (adm: float16)"
    )
    add("--biased", action="store_true", help="covariances of pictures divided by N, not N - 1")
    help_together = f"samples that a device looks at (default {TOGETHER}, of films {FILMS_TOGETHER})"
    add("--together", type=int, help=help_together)
    add("--out", metavar="FILE", help="the figures (default: evaluation.json beside the samples)")
    add("--write-reference", metavar="FILE", help="of the samples: an .npz for --reference")
    drawn.add_options(parser)
    args = parser.parse_args(argv)
    for name in ("count", "split", "together"):
        if (value := getattr(args, name)) is not None and value < 1:
            parser.error(f"--{name}={value} must be at least 1")
    protocols.apply(args, {name for name in vars(args) if getattr(args, name) != parser.get_default(name)})
    args.metrics = list(dict.fromkeys(args.metrics.split(",")))
    if unknown := [name for name in args.metrics if name not in NETWORKS]:
        parser.error(f"--metrics={unknown[0]} must be of {', '.join(NETWORKS)}")
    compared = args.write_reference or args.reference or args.reference_source
    if not compared and (need := set(args.metrics) - set(ALONE)):
        parser.error(f"--metrics={min(need)} needs --reference; only {', '.join(ALONE)} can do without")
    for one, other in (("reference", "reference_source"), ("samples", "samples_source")):
        if getattr(args, one) is not None and getattr(args, other) is not None:
            parser.error(f"--{one} and --{other.replace('_', '-')} do not go together")
    if args.write_reference is not None and not set(WRITTEN) & set(networks(args)):
        parser.error(
            f"--write-reference needs a figure of Inception, or fvd, and --metrics={','.join(args.metrics)} has none"
        )
    is_of_films = args.write_reference is not None and "fvd" in args.metrics
    if is_of_films and args.count is not None and not drawn.is_asked(args):
        parser.error(
            f"--count={args.count} does not go with --write-reference of fvd: it is of reference_count films, as in "
            f"--clips 'stylegan_v?reference_count={args.count}'"
        )
    for name, read in (("clips", clips.parse), ("isv", isv.parse)):
        try:
            read(getattr(args, name))
        except ValueError as error:
            parser.error(f"--{name}: {error}")
    for network in networks(args):
        if getattr(args, network) is None:
            parser.error(f"--{network} is missing: the weights that {', '.join(_by(args, network))} need")
    files.resolve(args, "samples", "out", "write_reference", *FILES)
    drawn.check(args)
    if args.samples is None and args.samples_source is None:
        parser.error("the following arguments are required: --samples, or --checkpoint")
    if args.samples_source is not None and (args.size is None or not (args.out or args.write_reference)):
        parser.error("--samples-source needs --size HxW, and --out or --write-reference")
    if args.samples_source is not None and drawn.is_asked(args):
        parser.error("--samples-source does not go with --checkpoint")
    return args


def networks(args: argparse.Namespace) -> list[str]:
    """The networks of what is asked for, each once."""
    return list(dict.fromkeys(NETWORKS[name] for name in args.metrics))


def check_kind(args: argparse.Namespace, *, is_film: bool) -> None:
    """See that the figures are of such samples.

    Raises:
      ValueError: one is not.
    """
    wrong = [name for name in args.metrics if (name in OF_FILMS) != is_film]
    if wrong:
        kinds = ("pictures", "films") if is_film else ("films", "pictures")
        raise ValueError(
            f"--metrics={wrong[0]} is of {kinds[0]}, and --samples={args.samples} are {kinds[1]}"
        )


def check_count(args: argparse.Namespace, count: int) -> None:
    """See `protocols.check_count`; films whose statistics are written alone may be of any number."""
    if "fvd" in args.metrics and args.write_reference is not None and args.reference is None:
        return
    protocols.check_count(args.protocol, count)


def _by(args: argparse.Namespace, network: str) -> list[str]:
    return [name for name in args.metrics if NETWORKS[name] == network]
