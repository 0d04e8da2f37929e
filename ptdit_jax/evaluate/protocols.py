"""Protocols by name: what of a figure's options they fix.  docs/evaluation.md has a section for each."""

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Options of the command line that a name stands for.

    Attributes:
      about: where it is from.
      count: samples that it is of; None where it does not say.
      options: by the name of the flag, "metrics" among them.
    """

    about: str
    count: int | None
    options: Mapping[str, Any]


PROTOCOLS: Mapping[str, Protocol] = {
    "adm_imagenet_256": Protocol(
        "ADM (arXiv 2105.05233): 50,000 samples of ImageNet's classes against its file of statistics",
        50_000,
        {
            "metrics": "fid,sfid,is,precision,recall",
            "split": 5000,
            "distances": "adm",
            "biased": False,
            "cut": False,
        },
    ),
    "coco_fid30k": Protocol(
        "FID-30K of COCO: one caption of each of 30,000 pictures of val2014, the middle square of the real ones",
        30_000,
        {"metrics": "fid", "biased": False, "cut": True},
    ),
    "stylegan_v": Protocol(
        "fvd2048_16f of StyleGAN-V (arXiv 2112.14683)", 2048, {"metrics": "fvd", "clips": "stylegan_v"}
    ),
    "make_a_video": Protocol(
        "FVD of Make-A-Video on UCF-101 (arXiv 2209.14792)",
        10_000,
        {"metrics": "fvd", "clips": "make_a_video"},
    ),
    "common_metrics": Protocol(
        "FVD of common_metrics_on_video_quality", None, {"metrics": "fvd", "clips": "common_metrics"}
    ),
    "isv2048_ucf": Protocol(
        "isv2048_ucf of StyleGAN-V (arXiv 2112.14683)", 2048, {"metrics": "isv", "isv": "stylegan_v"}
    ),
    "msrvtt_clipsim": Protocol(
        "CLIPSIM on MSR-VTT's test set (arXiv 2104.14806): a film of each of 2,990 captions, every frame of it",
        2990,
        {"metrics": "clipsim"},
    ),
}


def apply(args: argparse.Namespace, given: set[str]) -> None:
    """Fill in the options of `args.protocol`.

    Args:
      args: the command line.
      given: names of the options that are on it.

    Raises:
      ValueError: one of them is fixed by the protocol, and another.
    """
    if args.protocol is None:
        return
    for name, value in PROTOCOLS[args.protocol].options.items():
        if name in given and getattr(args, name) != value:
            raise ValueError(
                f"--{name}={getattr(args, name)} is not --protocol={args.protocol}, which has {value}; leave one out"
            )
        setattr(args, name, value)


def check_count(name: str | None, count: int) -> None:
    """See that there are as many samples as a protocol is of.

    Raises:
      ValueError: there are not.
    """
    wanted = None if name is None else PROTOCOLS[name].count
    if wanted not in (None, count):
        raise ValueError(f"--protocol={name} is of {wanted:,} samples, and there are {count:,}")
