"""FID, sFID, IS, precision, recall and KID of two sets of images, by the definitions of ADM's evaluator.

Shapes: N images, H rows, W columns.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ptdit_jax.evaluation import npz, pictures, statistics
from ptdit_jax.evaluation.statistics import Inception, Statistics
from ptdit_jax.features import inception
from ptdit_jax.metrics import frechet_distance, kernel_distance, manifold, precision_recall
from ptdit_jax.progress import track

NEEDS: Mapping[str, set[str]] = {
    "fid": {"fid"},
    "sfid": {"sfid"},
    "is": {"is"},
    "precision": {"pairs"},
    "recall": {"pairs"},
    "kid": {"pairs"},
}
"""What each figure needs to be gathered, see `statistics.of_features`."""
BETTER: Mapping[str, Literal["lower", "higher"]] = {
    "fid": "lower",
    "sfid": "lower",
    "is": "higher",
    "precision": "higher",
    "recall": "higher",
    "kid": "lower",
}
DEFAULT = ("fid", "sfid", "is", "precision", "recall")
DISTANCES = {"adm": manifold.as_adm, "float64": manifold.in_float64}
SUBSET = 1000  # images of a subset of KID


def needs(names: Sequence[str]) -> set[str]:
    """What is gathered of the samples for some figures."""
    return set().union(*(NEEDS[name] for name in names))


def few(count: int, names: Sequence[str]) -> str | None:
    """What to know of figures of so few samples; None where there are enough."""
    if count > inception.FEATURES or not {"fid", "sfid"} & set(names):
        return None
    return (
        f"{count:,} samples are not more than the {inception.FEATURES:,} features: FID and sFID are far too high, and "
        "compare with those of as many samples alone"
    )


def bias_of_means(samples: Statistics) -> float:
    """What the samples' number adds to an expected FID by the means alone, tr(C) / N; that of covariances comes on top.

    E|μ̂ - ν|² = |μ - ν|² + tr(C) / N of a mean μ̂ of N samples with covariance C.
    """
    assert samples.count is not None
    return float(samples.gaussians["fid"].covariance.trace()) / samples.count


def reference_of(
    path: Path,
    network: Inception,
    names: Sequence[str],
    *,
    flag: str,
    size: tuple[int, int],
    cut: bool = False,
    chosen: list[str] | None = None,
    biased: bool = False,
    bar: str | None = "reference",
) -> Statistics:
    """What samples are compared with.

    Args:
      path: ADM's file of images or statistics, or a folder of pictures.
      network: looks at the images, where a figure needs what the file does not have.
      names: of the figures.
      flag: the flag or field that named the path, for messages.
      size: (H, W) of the samples.
      cut: pictures of a folder are made of that size; see `pictures.read_picture`.
      chosen: names of the pictures of a folder that count; None for all.
      biased: covariances of images are divided by N.
      bar: name of the bar; None for none.

    Raises:
      ValueError: it lacks what a figure needs, or its images are of another size.
      OSError: it cannot be read.
    """
    wanted, stored = needs(names) - {"is"}, Statistics(None, {})
    if path.is_file():
        stored = statistics.read(path, flag)
    lacking = wanted - set(stored.gaussians)
    if not lacking:
        return stored
    if path.is_file() and not npz.has_array(path):
        raise ValueError(f"{flag}={path} has no arr_0, which {', '.join(names)} need: {sorted(lacking)}")
    found = pictures.find(path, flag, size=size if cut else None, names=chosen)
    pictures.check_size(found, size)
    seen = network.of(found, lacking, name=bar, biased=biased)
    return Statistics(seen.count, seen.gaussians | stored.gaussians, None, seen.pooled)


def figures(
    names: Sequence[str],
    samples: Statistics,
    reference: Statistics | None,
    *,
    distances: str = "adm",
    bar: str | None = None,
) -> dict[str, Any]:
    """The figures by name; "is" with its deviation over splits, "kid" with its error.

    Args:
      names: which.
      samples: has what they need.
      reference: likewise; None: only "is" is given.
      distances: of precision and recall, one of `DISTANCES`.
      bar: name of a bar for precision and recall, which take minutes of 50,000 samples; None for none.
    """
    found: dict[str, Any] = {}
    if "is" in names and samples.score is not None:
        found["is"], found["is_deviation"] = samples.score.value()
    if reference is None:
        return found
    for name in ("fid", "sfid"):
        if name in names:
            found[name] = frechet_distance(reference.gaussians[name], samples.gaussians[name])
    if samples.pooled is None or reference.pooled is None:
        return found
    if {"precision", "recall"} & set(names):
        how: dict[str, Any] = {"distances": DISTANCES[distances]}
        if bar is not None:
            how["watch"] = lambda rows: track(rows, len(rows), bar, "row of tiles")
        near = precision_recall(reference.pooled, samples.pooled, **how)
        found |= {name: value for name, value in near._asdict().items() if name in names}
    if "kid" in names:
        size = min(SUBSET, len(samples.pooled), len(reference.pooled))
        distance = kernel_distance(reference.pooled, samples.pooled, size=size)
        found |= {"kid": distance.value, "kid_error": distance.error, "kid_subset": size}
    return found
