"""Judge finished samples: FID, sFID, IS, precision, recall and KID, by the definitions of ADM's evaluator.

    python -m ptdit_jax.evaluate --samples SAMPLES --reference REF --inception pt_inception-2015-12-05-6726825d.pth
    python -m ptdit_jax.evaluate --samples pictures/ --metrics is --inception WEIGHTS
    python -m ptdit_jax.evaluate --samples real/ --inception WEIGHTS --write-reference REF.npz

SAMPLES is ADM's .npz (arr_0, uint8 (N, H, W, 3)), such as `launch/sample.sh --npz` writes, or a folder of pictures.
REF is the same, or ADM's file with mu, sigma, mu_s and sigma_s, and arr_0 for precision and recall.  WEIGHTS is the
file of pytorch-fid and torch-fidelity; nothing is downloaded.  The figures, and all that they depend on, are written
to evaluation.json beside the samples, or to --out.

Exit code: 0 done; 1 a file cannot be read or written; 2 the command is wrong.
"""

import argparse
import importlib.metadata
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ptdit_jax import cli, files
from ptdit_jax.evaluate import images, statistics
from ptdit_jax.evaluate.statistics import Statistics
from ptdit_jax.features import inception
from ptdit_jax.metrics import frechet_distance, kernel_distance, manifold, precision_recall
from ptdit_jax.metrics.classes import SPLIT
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.parallel.rules import batch_sharding, replicated
from ptdit_jax.processes import environment
from ptdit_jax.progress import Bar

NEEDS = {
    "fid": {"fid"},
    "sfid": {"sfid"},
    "is": {"is"},
    "precision": {"pairs"},
    "recall": {"pairs"},
    "kid": {"pairs"},
}
"""What each figure needs to be gathered."""
DEFAULT = "fid,sfid,is,precision,recall"
PAIRED = 10_000  # images that a reference keeps for precision and recall, as ADM's
DISTANCES = {"adm": manifold.as_adm, "float64": manifold.in_float64}


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.option_parser("ptdit_jax.evaluate", __doc__ or "")
    add = parser.add_argument
    add("--samples", metavar="PATH", help="what is judged: ADM's .npz, or a folder of pictures")
    add("--reference", metavar="PATH", help="what it is compared with: likewise, or a file of statistics")
    add("--inception", metavar="FILE", help="weights of Inception-v3, pt_inception-2015-12-05-6726825d.pth")
    add("--metrics", default=DEFAULT, help=f"of {', '.join(NEEDS)} (default {DEFAULT})")
    add("--count", type=int, metavar="N", help="judge the first N samples (default: all)")
    add("--split", type=int, default=SPLIT, metavar="N", help=f"images of a split of IS (default {SPLIT})")
    add(
        "--distances", choices=DISTANCES, default="adm", help="of precision and recall (default adm: float16)"
    )
    add("--biased", action="store_true", help="covariances divided by N, not N - 1")
    add("--batch", type=int, default=64, help="images that a device looks at together (default 64)")
    add("--out", metavar="FILE", help="the figures (default: evaluation.json beside the samples)")
    add("--write-reference", metavar="FILE", help="of the samples: an .npz that ADM's evaluator reads")
    add("--debug", action="store_true", help="show where an error comes from")
    args = parser.parse_args(argv)
    for name in ("samples", "inception"):
        if getattr(args, name) is None:
            parser.error(f"the following arguments are required: --{name}")
    for name in ("count", "split", "batch"):
        if (value := getattr(args, name)) is not None and value < 1:
            parser.error(f"--{name}={value} must be at least 1")
    args.metrics = list(dict.fromkeys(args.metrics.split(",")))
    if unknown := [name for name in args.metrics if name not in NEEDS]:
        parser.error(f"--metrics={unknown[0]} must be of {', '.join(NEEDS)}")
    if args.write_reference is None and args.reference is None and set(args.metrics) != {"is"}:
        parser.error(f"--metrics={','.join(args.metrics)} needs --reference; only is can do without")
    files.resolve(args, "samples", "reference", "inception", "out", "write_reference")
    return args


class Network:
    """Inception on all devices of this process: images in, features of the host out."""

    def __init__(self, path: Path, batch: int):
        """Read the weights; `batch` images go to each device together."""
        self.mesh = make_mesh({"data": -1}, environment.devices())
        params, self.digest = inception.load(path)
        self._params = jax.device_put(params, replicated(self.mesh))
        self.rows = batch * self.mesh.size
        self._apply = jax.jit(inception.apply, out_shardings=replicated(self.mesh))

    def __call__(self, part: np.ndarray) -> inception.Features:
        """Features of images (n, H, W, 3); the last part is filled up, so that there is one program."""
        filled = part[np.arange(self.rows).clip(max=len(part) - 1)]
        found = self._apply(self._params, jax.device_put(filled, batch_sharding(self.mesh)))
        return inception.Features(*(np.asarray(each)[: len(part)] for each in found))


def judge(
    args: argparse.Namespace, network: Network, found: images.Images, count: int, name: str, wanted: set[str]
) -> Statistics:
    """Look at the first images of a set, under a bar."""
    with Bar(count, name, "image") as bar:
        return statistics.of_images(
            _counted(found.parts(count, network.rows), bar),
            network,
            wanted,
            split=args.split,
            biased=args.biased,
        )


def _counted(parts: Iterable[np.ndarray], bar: Bar) -> Iterator[np.ndarray]:
    for part in parts:
        yield part
        bar.update(len(part))


def reference_of(args: argparse.Namespace, network: Network, size: tuple[int, int]) -> Statistics:
    """What the samples are compared with.

    Raises:
      ValueError: it lacks what a figure needs, or its images are of another size.
    """
    path, wanted = args.reference, set().union(*(NEEDS[name] for name in args.metrics)) - {"is"}
    stored = Statistics(None, {})
    if path.is_file():
        stored = statistics.read(path)
    lacking = wanted - set(stored.gaussians)
    if not lacking:
        return stored
    if path.is_file() and not images.has_images(path):
        names = ", ".join(args.metrics)
        raise ValueError(f"--reference={path} has no arr_0, which --metrics={names} needs: {sorted(lacking)}")
    found = images.find(path, "--reference")
    if found.size != size:
        raise ValueError(
            f"--reference={path} has images of {found.size[0]}x{found.size[1]} pixels, the samples {size[0]}x{size[1]}"
        )
    seen = judge(args, network, found, found.count, "reference", lacking)
    return Statistics(seen.count, seen.gaussians | stored.gaussians, None, seen.pooled)


def figures(args: argparse.Namespace, samples: Statistics, reference: Statistics | None) -> dict[str, Any]:
    """The figures by name."""
    found: dict[str, Any] = {}
    if "is" in args.metrics and samples.score is not None:
        found["is"], found["is_deviation"] = samples.score.value()
    if reference is None:
        return found
    for name in ("fid", "sfid"):
        if name in args.metrics:
            found[name] = frechet_distance(reference.gaussians[name], samples.gaussians[name])
    if samples.pooled is None or reference.pooled is None:
        return found
    if {"precision", "recall"} & set(args.metrics):
        near = precision_recall(reference.pooled, samples.pooled, distances=DISTANCES[args.distances])
        found |= {name: value for name, value in near._asdict().items() if name in args.metrics}
    if "kid" in args.metrics:
        size = min(1000, len(samples.pooled), len(reference.pooled))
        distance = kernel_distance(reference.pooled, samples.pooled, size=size)
        found |= {"kid": distance.value, "kid_error": distance.error, "kid_subset": size}
    return found


def main(args: argparse.Namespace) -> int:
    """Judge; returns the exit code."""
    # --- files, before anything is computed
    out = args.out or (args.samples if args.samples.is_dir() else args.samples.parent) / "evaluation.json"
    files.check_file(out, "--out")
    if args.write_reference is not None:
        files.check_file(args.write_reference, "--write-reference", (".npz",))
    found = images.find(args.samples, "--samples")
    count = found.count if args.count is None else args.count
    if count > found.count:
        raise ValueError(f"--count={count:,}: --samples={args.samples} has {found.count:,} images")
    cli.enable_compilation_cache()
    network = Network(args.inception, args.batch)
    print(f"Inception-v3 of {args.inception}, sha256 {network.digest}")
    if count <= inception.FEATURES and {"fid", "sfid"} & set(args.metrics):
        print(
            f"warning: {count:,} samples are not more than the {inception.FEATURES:,} features: FID and sFID are far "
            "too high, and compare with those of as many samples alone",
            file=sys.stderr,
        )

    # --- the reference first: what does not fit shows before the samples are looked at
    reference = None if args.reference is None else reference_of(args, network, found.size)
    wanted = set().union(*(NEEDS[name] for name in args.metrics))
    if args.write_reference is not None:
        wanted |= {"fid", "sfid"}
    samples = judge(args, network, found, count, "samples", wanted)
    if args.write_reference is not None:
        kept = np.concatenate(list(found.parts(min(count, PAIRED), network.rows)))
        statistics.write(args.write_reference, samples, kept)
        print(f"see {args.write_reference}")

    # --- figures
    result = figures(args, samples, reference)
    if not result:
        return 0
    told = {
        "samples": str(args.samples.resolve()),
        "count": count,
        "size": list(found.size),
        "reference": None if args.reference is None else str(args.reference.resolve()),
        "reference_count": None if reference is None else reference.count,
        "inception_sha256": network.digest,
        "resize": "bilinear of TensorFlow 1, in the network",
        "split": args.split,
        "distances": args.distances,
        "covariance": "N" if args.biased else "N - 1",
        "jax": importlib.metadata.version("jax"),
        "device": str(jax.devices()[0].device_kind),
    }
    text = json.dumps({"figures": result, **told}, indent=2) + "\n"
    files.write(out, lambda draft: draft.write_text(text))
    print(f"{count:,} samples: " + ", ".join(f"{name} {value:.6g}" for name, value in result.items()))
    print(f"see {out}")
    return 0


if __name__ == "__main__":
    arguments = parse(sys.argv[1:])
    sys.exit(cli.run(lambda: main(arguments), debug=arguments.debug))
