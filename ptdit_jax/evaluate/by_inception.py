"""FID, sFID, IS, precision, recall and KID of pictures, as the command asks for them."""

import argparse
import sys
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from ptdit_jax.evaluate import coco
from ptdit_jax.evaluation import figures, pictures, statistics
from ptdit_jax.evaluation.pictures import Pictures

PAIRED = 10_000  # images that a reference keeps for precision and recall, as ADM's


def judge(
    args: argparse.Namespace, found: Pictures, count: int, mesh: Mesh
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures, and what they depend on; all processes come here.

    Args:
      args: the command line.
      found: the samples.
      count: how many of them count.
      mesh: all devices.

    Raises:
      ValueError: the reference does not fit, or lacks something; or an image cannot be read.
      OSError: a file cannot be read.
    """
    names = [name for name in args.metrics if name in figures.NEEDS]
    network = statistics.Inception(args.inception, mesh, args.together or statistics.TOGETHER)
    if jax.process_index() == 0:
        print(f"Inception-v3 of {args.inception}, sha256 {network.digest}", flush=True)
    reference = None
    if args.reference_source is not None and set(names) != {"is"}:
        real = pictures.of_source(args.reference_source, "--reference-source", found.size)
        reference = network.of(real, figures.needs(names) - {"is"}, name="reference", biased=args.biased)
    elif args.reference is not None and set(names) != {"is"}:
        reference = figures.reference_of(
            args.reference,
            network,
            names,
            flag="--reference",
            size=found.size,
            cut=args.cut,
            chosen=chosen(args),
            biased=args.biased,
        )
    wanted = figures.needs(names) | ({"fid", "sfid"} if args.write_reference is not None else set())
    samples = network.of(found, wanted, name="samples", count=count, split=args.split, biased=args.biased)
    if jax.process_index() == 0 and (note := figures.few(count, names)):
        bias = f"; the means alone add {figures.bias_of_means(samples):.4g} to FID" if "fid" in names else ""
        print(f"warning: {note}{bias}", file=sys.stderr)
    if jax.process_index() == 0 and args.write_reference is not None:
        statistics.write(args.write_reference, samples, found.read(np.arange(min(count, PAIRED))))
        print(f"see {args.write_reference}")
    told: dict[str, Any] = {
        "reference_count": None if reference is None else reference.count,
        "inception_sha256": network.digest,
        "resize": "bilinear of TensorFlow 1, in the network",
        "split": args.split,
        "distances": args.distances,
        "covariance": "N" if args.biased else "N - 1",
        "cut": args.cut,
    }
    how = {"distances": args.distances, "bar": "precision and recall"}
    return figures.figures(names, samples, reference, **how), told


def chosen(args: argparse.Namespace) -> list[str] | None:
    """The names of `--reference-names`; None without it."""
    if args.reference_names is None:
        return None
    return args.reference_names.read_text().splitlines()


def chosen_digest(args: argparse.Namespace) -> str | None:
    """The sha256 of `--reference-names`, hex; None without it."""
    return None if args.reference_names is None else coco.digest(args.reference_names)
