"""What is known of a set of images once Inception has seen them, or once a file of statistics is read.

Shapes: N images, D = 2048 pooled and S = 2023 spatial features.
"""

import dataclasses
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from ptdit_jax.evaluation import npz
from ptdit_jax.evaluation.network import TOGETHER, Network
from ptdit_jax.evaluation.pictures import Pictures
from ptdit_jax.features import inception
from ptdit_jax.metrics import Gaussian, InceptionScore, Moments, softmax
from ptdit_jax.metrics.classes import SPLIT

FILE = {"fid": ("mu", "sigma"), "sfid": ("mu_s", "sigma_s")}
"""Arrays of ADM's file of statistics that a figure takes."""
SIZES = {"fid": inception.FEATURES, "sfid": 17 * 17 * inception.SPATIAL_CHANNELS}


@dataclasses.dataclass
class Statistics:
    """Of a set of images.

    Attributes:
      count: N; None of a file that does not say it.
      gaussians: "fid" and "sfid" to mean and covariance.
      score: of the Inception score; None of a file.
      pooled: (N, D) float32, where pairs are compared; else None.
    """

    count: int | None
    gaussians: dict[str, Gaussian]
    score: InceptionScore | None = None
    pooled: np.ndarray | None = None


class Inception:
    """The network of the field's figures of pictures.

    Attributes:
      digest: sha256 of the weights' file, hex.
    """

    def __init__(self, path: Path, mesh: Mesh, together: int = TOGETHER):
        """Read the weights.

        Args:
          path: see `inception.load`.
          mesh: see `Network`.
          together: pictures that a device looks at.

        Raises:
          ValueError: see `inception.load`.
          OSError: likewise.
        """
        params, self.digest = inception.load(path)
        self._network = Network(inception.apply, params, mesh, together)

    def of(
        self,
        images: Pictures,
        wanted: set[str],
        *,
        name: str | None,
        count: int | None = None,
        split: int = SPLIT,
        biased: bool = False,
    ) -> Statistics:
        """Look at the first images of a set.

        Args:
          images: the set.
          wanted: see `of_features`, as the rest.
          name: of the bar; None for no bar.
          count: of images; None: all.
          split: see there.
          biased: see there.

        Raises:
          ValueError: an image cannot be read, or a feature is not finite.
          OSError: a file cannot be read.
        """
        found = self._network.over(images.read, images.count if count is None else count, name=name)
        return of_features(found, wanted, split=split, biased=biased)


def of_features(
    parts: Iterable[inception.Features], wanted: set[str], *, split: int, biased: bool = False
) -> Statistics:
    """Gather what figures need, a part of the images at a time.

    Args:
      parts: features of n images each.
      wanted: "fid", "sfid", "is", "pairs": what is gathered.
      split: images of a split of the Inception score.
      biased: covariances are divided by N.

    Raises:
      ValueError: a feature is not finite.
    """
    moments = {name: Moments.none(SIZES[name]) for name in FILE if name in wanted}
    score = InceptionScore(split) if "is" in wanted else None
    kept, count = [], 0
    for found in parts:
        count += len(found.pooled)
        for name, features in (("fid", found.pooled), ("sfid", found.spatial)):
            if name in moments:
                moments[name] += Moments.of(features)
        if score is not None:
            score.add(softmax(found.logits))
        if "pairs" in wanted:
            kept.append(np.asarray(found.pooled, np.float32))
    gaussians = {name: each.gaussian(biased=biased) for name, each in moments.items()}
    return Statistics(count, gaussians, score, np.concatenate(kept) if kept else None)


def read(path: Path, flag: str) -> Statistics:
    """Means and covariances of ADM's file of statistics, as far as it has them; it may hold images, too.

    Args:
      path: of the `.npz`.
      flag: the flag or field that named it, for messages.

    Raises:
      ValueError: it is no .npz, or an array has another shape.
      OSError: it cannot be read.
    """
    found = {}
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{flag}={path} is no .npz")
    with np.load(path, allow_pickle=False) as arrays:
        for name, (mean, covariance) in FILE.items():
            if mean not in arrays.files or covariance not in arrays.files:
                continue
            each = Gaussian(arrays[mean].astype(np.float64), arrays[covariance].astype(np.float64))
            size = SIZES[name]
            if each.mean.shape != (size,) or each.covariance.shape != (size, size):
                raise ValueError(
                    f"{flag}={path}: {mean} {each.mean.shape} and {covariance} {each.covariance.shape} must be of "
                    f"{size} features"
                )
            found[name] = each
    return Statistics(None, found)


def write(path: Path, statistics: Statistics, images: np.ndarray | None) -> None:
    """Write a file that ADM's evaluator reads as a reference.

    Args:
      path: of the `.npz`.
      statistics: with both of `FILE`.
      images: uint8 (n, H, W, 3) of precision and recall, or None.
    """
    arrays: dict[str, Any] = {} if images is None else {"arr_0": images}
    for name, (mean, covariance) in FILE.items():
        arrays |= {mean: statistics.gaussians[name].mean, covariance: statistics.gaussians[name].covariance}
    npz.write(path, arrays)
