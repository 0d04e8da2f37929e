"""FD in DINOv2's space, FVD, the Inception score of films, CLIP score and CLIPSIM, as the command asks for them.

All take the command line, the samples, how many of them count and all devices, and give the figures and what they
depend on; they raise as `by_inception.judge`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from ptdit_jax.evaluate import by_inception
from ptdit_jax.evaluation import clips, fvd, fvd_reference, isv, pictures
from ptdit_jax.evaluation.clip_space import Clip
from ptdit_jax.evaluation.dinov2_space import Dinov2
from ptdit_jax.evaluation.films import Films
from ptdit_jax.evaluation.network import FILMS_TOGETHER, TOGETHER
from ptdit_jax.evaluation.pictures import Pictures
from ptdit_jax.features import stored
from ptdit_jax.metrics import frechet_distance

Result = tuple[dict[str, Any], dict[str, Any]]
"""The figures, and what they depend on."""


def by_dinov2(args: argparse.Namespace, found: Pictures, count: int, mesh: Mesh) -> Result:
    """The Fréchet distance in DINOv2's space."""
    network = Dinov2(args.dinov2, mesh, args.together or TOGETHER)
    _say("DINOv2", args.dinov2, network.digest)
    if args.reference_source is not None:
        real = pictures.of_source(args.reference_source, "--reference-source", found.size)
    else:
        size = found.size if args.cut else None
        real = pictures.find(args.reference, "--reference", size=size, names=by_inception.chosen(args))
    pictures.check_size(real, found.size)
    reference = network.of(real, name="reference").gaussian(biased=args.biased)
    samples = network.of(found, name="samples", count=count).gaussian(biased=args.biased)
    told = {
        "reference_count": real.count,
        "dinov2_sha256": network.digest,
        "covariance": "N" if args.biased else "N - 1",
        "cut": args.cut,
    }
    return {"fd_dinov2": frechet_distance(reference, samples)}, told


def by_i3d(args: argparse.Namespace, found: Films, count: int, mesh: Mesh) -> Result:
    """FVD by the protocol `args.clips`; the samples' statistics are written where the command asks for that."""
    protocol = clips.parse(args.clips, count=count)
    network = fvd.I3d(args.i3d, protocol, mesh, args.together or FILMS_TOGETHER)
    _say("Inception-3D", args.i3d, network.digest)
    told = {"i3d_sha256": network.digest, "clips": args.clips}
    if args.write_reference is not None:
        real = fvd_reference.seen(found, network, str(args.samples), name="samples as a reference")
        if jax.process_index() == 0:
            fvd_reference.write(args.write_reference, real, protocol, network.digest)
            print(f"see {args.write_reference}")
    if args.reference is None:
        return {}, told
    reference = fvd_reference.find(args.reference, network, "--reference", name="reference")
    samples = network.of(found, reference=False, name="samples")
    told |= fvd.told(protocol, reference.count, samples.count) | {"reference_source": reference.source}
    return {"fvd": fvd.fvd(reference.gaussian, samples, protocol)}, told


def check_reference(args: argparse.Namespace) -> None:
    """See that a file of FVD's statistics fits the command, before anything is drawn.

    Raises:
      ValueError: see `fvd_reference.read`.
      OSError: likewise.
    """
    if args.reference is not None and "fvd" in args.metrics and fvd_reference.is_file(args.reference):
        fvd_reference.read(args.reference, clips.parse(args.clips), stored.sha256(args.i3d), "--reference")


def by_c3d(args: argparse.Namespace, found: Films, count: int, mesh: Mesh) -> Result:
    """The Inception score of films by the protocol `args.isv`; what it depends on stands under "isv"."""
    protocol = isv.parse(args.isv, count=count)
    network = isv.C3d(args.c3d, protocol, mesh, args.together or FILMS_TOGETHER)
    _say("C3D", args.c3d, network.digest)
    logits = network.of(found, name="samples")
    told = {"c3d_sha256": network.digest, "isv": {"protocol": args.isv} | isv.told(protocol, len(logits))}
    return isv.scores(logits, protocol), told


def by_clip(args: argparse.Namespace, found: Pictures | Films, captions: Sequence[str], mesh: Mesh) -> Result:
    """CLIP score of pictures or CLIPSIM of films, of which as many count as there are captions."""
    network = Clip(args.clip, mesh, args.together or TOGETHER)
    _say("CLIP", args.clip, network.digest)
    told = {"clip_sha256": network.digest}
    if isinstance(found, Pictures):
        return {"clip_score": network.score(found, captions, name="samples")}, told
    value, frames = network.similarity(found, captions, name="samples")
    return {"clipsim": value}, told | {"frames": frames}


def _say(name: str, path: Path, digest: str) -> None:
    if jax.process_index() == 0:
        print(f"{name} of {path}, sha256 {digest}", flush=True)
