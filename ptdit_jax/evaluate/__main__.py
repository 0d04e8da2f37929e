"""Judge samples: FID, sFID, IS, precision, recall and KID, by the definitions of ADM's evaluator.

    python -m ptdit_jax.evaluate --checkpoint RUN --count 50000 --reference REF --inception WEIGHTS [SAMPLING...]
    python -m ptdit_jax.evaluate --samples SAMPLES --reference REF --inception WEIGHTS
    python -m ptdit_jax.evaluate --samples real/ --inception WEIGHTS --write-reference REF.npz
        [--coordinator HOST:PORT --processes N --process-id I | --cluster auto] [--start-timeout S] [--step-timeout S]

With --checkpoint (or --from-release) samples are drawn as `ptdit_jax.sample.many` draws them, on all processes, into
the folder --samples (default: `judged` in the run's folder); those that are there are not made again.  Alone, --samples
is ADM's .npz (arr_0, uint8 (N, H, W, 3)) or a folder of pictures.  REF is the same, or ADM's file with mu, sigma, mu_s
and sigma_s, and arr_0 for precision and recall.  WEIGHTS is pt_inception-2015-12-05-6726825d.pth of pytorch-fid and
torch-fidelity; nothing is downloaded.  The figures, and all that they depend on, are written to evaluation.json beside
the samples, or to --out; they are the same on any number of devices and processes.

Exit code: 0 done; 1 a file cannot be read or written; 2 the command is wrong; 143 and 130 after SIGTERM and Ctrl-C
while samples are drawn; 75 another process did not come, was lost or has failed; 76 a group took longer than
--step-timeout.
"""

import argparse
import importlib.metadata
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ptdit_jax import cli, files
from ptdit_jax.evaluate import drawn
from ptdit_jax.evaluation import figures, pictures, statistics
from ptdit_jax.evaluation.network import TOGETHER, Network
from ptdit_jax.metrics.classes import SPLIT
from ptdit_jax.parallel.mesh import connect, make_mesh
from ptdit_jax.processes import distributed, environment, peers

PAIRED = 10_000  # images that a reference keeps for precision and recall, as ADM's


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line without what `distributed.parse` takes.

    Args:
      argv: without the name of the program.

    Raises:
      ValueError: an option is missing or wrong.
    """
    parser = cli.option_parser("ptdit_jax.evaluate", __doc__ or "")
    add = parser.add_argument
    add("--samples", metavar="PATH", help="what is judged: ADM's .npz, or a folder of pictures")
    add("--reference", metavar="PATH", help="what it is compared with: likewise, or a file of statistics")
    add("--inception", metavar="FILE", help="weights of Inception-v3, pt_inception-2015-12-05-6726825d.pth")
    default = ",".join(figures.DEFAULT)
    add("--metrics", default=default, help=f"of {', '.join(figures.NEEDS)} (default {default})")
    add("--split", type=int, default=SPLIT, metavar="N", help=f"images of a split of IS (default {SPLIT})")
    add(
        "--distances",
        choices=figures.DISTANCES,
        default="adm",
        help="of precision and recall (default adm: float16)",
    )
    add("--biased", action="store_true", help="covariances divided by N, not N - 1")
    add("--together", type=int, default=TOGETHER, help=f"images that a device looks at (default {TOGETHER})")
    add("--out", metavar="FILE", help="the figures (default: evaluation.json beside the samples)")
    add("--write-reference", metavar="FILE", help="of the samples: an .npz that ADM's evaluator reads")
    drawn.add_options(parser)
    args = parser.parse_args(argv)
    for name in ("count", "split", "together"):
        if (value := getattr(args, name)) is not None and value < 1:
            parser.error(f"--{name}={value} must be at least 1")
    args.metrics = list(dict.fromkeys(args.metrics.split(",")))
    if unknown := [name for name in args.metrics if name not in figures.NEEDS]:
        parser.error(f"--metrics={unknown[0]} must be of {', '.join(figures.NEEDS)}")
    if args.write_reference is None and args.reference is None and set(args.metrics) != {"is"}:
        parser.error(f"--metrics={','.join(args.metrics)} needs --reference; only is can do without")
    if args.inception is None:
        parser.error("the following arguments are required: --inception")
    files.resolve(args, "samples", "reference", "inception", "out", "write_reference")
    drawn.check(args)
    if args.samples is None:
        parser.error("the following arguments are required: --samples, or --checkpoint")
    return args


def main(args: argparse.Namespace, launch: distributed.Launch = distributed.ALONE) -> int:
    """Draw and judge; returns the exit code.

    Args:
      args: the command line.
      launch: how the command was started.
    """
    # --- files, before anything is computed
    is_drawn = drawn.is_asked(args)
    out = args.out or (args.samples.parent if args.samples.is_file() else args.samples) / "evaluation.json"
    if not is_drawn or args.out is not None:  # the folder of the samples may not be there yet
        files.check_file(out, "--out")
    if args.write_reference is not None:
        files.check_file(args.write_reference, "--write-reference", (".npz",))
    for flag in ("inception", "reference"):
        if (path := getattr(args, flag)) is not None and not path.exists():
            raise FileNotFoundError(f"--{flag}={path}: there is no such file or folder")

    # --- samples
    if is_drawn:
        if code := drawn.draw(args, launch):
            return code
        distributed.meet("judge the samples", drawn.DAY)
    else:
        distributed.meet("start JAX's devices")
        environment.devices()
        connect(make_mesh({"data": -1}))
    is_host = jax.process_index() == 0
    found = pictures.find(args.samples, "--samples")
    count = found.count if is_drawn or args.count is None else args.count
    if count > found.count:
        raise ValueError(f"--count={count:,}: --samples={args.samples} has {found.count:,} images")
    cli.enable_compilation_cache()
    network = Network(args.inception, make_mesh({"data": -1}), args.together)
    if is_host:
        print(f"Inception-v3 of {args.inception}, sha256 {network.digest}", flush=True)
        if note := figures.few(count, args.metrics):
            print(f"warning: {note}", file=sys.stderr)

    # --- the reference first: what does not fit shows before the samples are looked at
    reference = None
    if args.reference is not None:
        reference = figures.reference_of(
            args.reference, network, args.metrics, flag="--reference", size=found.size, biased=args.biased
        )
    wanted = figures.needs(args.metrics) | ({"fid", "sfid"} if args.write_reference is not None else set())
    samples = network.of(found, wanted, name="samples", count=count, split=args.split, biased=args.biased)
    if is_host and args.write_reference is not None:
        kept = found.read(np.arange(min(count, PAIRED)))
        statistics.write(args.write_reference, samples, kept)
        print(f"see {args.write_reference}")

    # --- figures
    if not is_host:
        return 0
    result = figures.figures(args.metrics, samples, reference, distances=args.distances)
    if not result:
        return 0
    told: dict[str, Any] = {
        "samples": str(args.samples),
        "count": count,
        "size": list(found.size),
        "reference": None if args.reference is None else str(args.reference),
        "reference_count": None if reference is None else reference.count,
        "inception_sha256": network.digest,
        "resize": "bilinear of TensorFlow 1, in the network",
        "split": args.split,
        "distances": args.distances,
        "covariance": "N" if args.biased else "N - 1",
        "jax": importlib.metadata.version("jax"),
        "device": str(jax.devices()[0].device_kind),
        "made_by": drawn.settings(args.samples),
    }
    write(out, {"figures": result, **told})
    print(f"{count:,} samples: " + ", ".join(f"{name} {value:.6g}" for name, value in result.items()))
    print(f"see {out}")
    return 0


def write(path: Path, content: dict[str, Any]) -> None:
    """Write the figures and what they depend on."""
    text = json.dumps(content, indent=2) + "\n"
    files.write(path, lambda draft: draft.write_text(text))


def start(argv: Sequence[str]) -> int:
    """Read the command line, meet the other processes and judge; returns the exit code."""
    launch, rest = distributed.parse(argv)
    args = parse(rest[1:])
    try:
        others = distributed.initialize(launch)
    except peers.Missing as error:
        raise cli.RunError(str(error), code=peers.LOST) from error
    return distributed.run(others, lambda: cli.run(lambda: main(args, launch), debug=args.debug))


if __name__ == "__main__":
    sys.exit(cli.run(lambda: start(sys.argv)))
