"""Judges by the networks of the field, rows of the table of judges: "inception", "dinov2", "i3d", "c3d" and "clip".

Their fields are `evaluation.weights`, the network's file or folder; `evaluation.reference`, what samples are compared
with; of "inception" `evaluation.metrics`, some of `figures.NEEDS`, the first of which networks are ranked by; and of
"i3d" `evaluation.clips`, a protocol as `clips.parse` reads it.
"""

import abc
import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from jax.sharding import Mesh

from ptdit_jax.evaluation import clips, figures, films, fvd, fvd_reference, isv, pictures
from ptdit_jax.evaluation.clip_space import Clip
from ptdit_jax.evaluation.dinov2_space import Dinov2
from ptdit_jax.evaluation.interface import Direction, Evaluation
from ptdit_jax.evaluation.statistics import Inception, Statistics
from ptdit_jax.metrics import Moments, frechet_distance
from ptdit_jax.metrics.manifold import NEIGHBOURS
from ptdit_jax.parallel.mesh import make_mesh


@dataclasses.dataclass(frozen=True)
class NetworkReport:
    """The figures of some samples.

    Attributes:
      count: N.
      values: by name.
    """

    count: int
    values: dict[str, float]

    def metrics(self) -> dict[str, float]:
        """Returns the figures by name."""
        return self.values

    def __str__(self) -> str:
        """Returns the figures as a sentence."""
        named = ", ".join(f"{name} {value:.5g}" for name, value in self.values.items())
        note = figures.few(self.count, list(self.values))
        return f"{self.count} samples: {named}." + (f"  Note: {note}." if note else "")


class Judge(abc.ABC):
    """Reads weights and reference when there are samples, once, and uses the devices of this process alone.

    Attributes:
      better: figures and which direction is better.
      of_films: whether samples are films.
      has_reference: whether they are compared with something.
    """

    better: Mapping[str, Direction]
    of_films = False
    has_reference = True

    def __init__(self, section: Any):
        """Take the `evaluation` section of a config."""
        self.section = section
        self.weights, self.reference = (Path(section[name]).expanduser() for name in ("weights", "reference"))

    @functools.cached_property
    def mesh(self) -> Mesh:
        """Devices of this process."""
        return make_mesh({"data": -1}, jax.local_devices())

    def __call__(self, samples: np.ndarray, wanted: Any) -> NetworkReport:
        """Judge samples (N, F, H, W, 3) uint8; `wanted` are captions, where the judge takes those."""
        return NetworkReport(len(samples), self.judge(samples, wanted))

    @abc.abstractmethod
    def prepare(self, size: tuple[int, int, int]) -> None:
        """Read weights and reference for samples of (F, H, W); raises ValueError or OSError where they do not do."""

    @abc.abstractmethod
    def judge(self, samples: np.ndarray, wanted: Any) -> dict[str, float]:
        """The figures by name."""


class ByInception(Judge):
    """FID, sFID, IS, precision, recall, KID."""

    def __init__(self, section: Any):
        """Take the `evaluation` section of a config.

        Raises:
          ValueError: a figure is unknown, or there is none.
        """
        super().__init__(section)
        self.names: Sequence[str] = section.metrics
        known = ", ".join(figures.NEEDS)
        if unknown := [name for name in self.names if name not in figures.NEEDS]:
            raise ValueError(f"evaluation.metrics: {unknown[0]!r} is unknown; it is of {known}")
        if not self.names:
            raise ValueError(f"evaluation.metrics=() must name some of {known}")
        self.better = {name: figures.BETTER[name] for name in self.names}
        self.has_reference = set(self.names) != {"is"}

    @functools.cached_property
    def _network(self) -> Inception:
        return Inception(self.weights, self.mesh)

    @functools.cached_property
    def _of_size(self) -> dict[tuple[int, int], Statistics]:
        return {}

    def prepare(self, size: tuple[int, int, int]) -> None:
        """See `Judge`."""
        _, *sides = size
        place = sides[0], sides[1]
        if self._network and self.has_reference and place not in self._of_size:
            self._of_size[place] = figures.reference_of(
                self.reference, self._network, self.names, flag="evaluation.reference", size=place, bar=None
            )

    def judge(self, samples: np.ndarray, wanted: Any) -> dict[str, float]:
        """Of pictures (N, 1, H, W, 3)."""
        del wanted
        self.prepare((samples.shape[1], samples.shape[2], samples.shape[3]))
        found = pictures.of_array(samples[:, 0], "the samples")
        seen = self._network.of(found, figures.needs(self.names), name=None)
        values = figures.figures(self.names, seen, self._of_size.get(found.size))
        return {name: float(values[name]) for name in self.names}


class ByDinov2(Judge):
    """The Fréchet distance in DINOv2's space."""

    better: ClassVar[Mapping[str, Direction]] = {"fd_dinov2": "lower"}

    @functools.cached_property
    def _network(self) -> Dinov2:
        return Dinov2(self.weights, self.mesh)

    @functools.cached_property
    def _reference(self) -> tuple[pictures.Pictures, Moments]:
        found = pictures.find(self.reference, "evaluation.reference")
        return found, self._network.of(found, name=None)

    def prepare(self, size: tuple[int, int, int]) -> None:
        """See `Judge`."""
        pictures.check_size(self._reference[0], size[1:])

    def judge(self, samples: np.ndarray, wanted: Any) -> dict[str, float]:
        """Of pictures (N, 1, H, W, 3)."""
        del wanted
        found = pictures.of_array(samples[:, 0], "the samples")
        real, reference = self._reference
        pictures.check_size(real, found.size)
        seen = self._network.of(found, name=None)
        return {"fd_dinov2": frechet_distance(reference.gaussian(), seen.gaussian())}


class ByI3d(Judge):
    """FVD."""

    better: ClassVar[Mapping[str, Direction]] = {"fvd": "lower"}
    of_films = True

    @functools.cached_property
    def _network(self) -> fvd.I3d:
        protocol = clips.parse(self.section.clips, count=None)
        return fvd.I3d(self.weights, protocol, self.mesh)

    @functools.cached_property
    def _reference(self) -> fvd_reference.Reference:
        return fvd_reference.find(self.reference, self._network, "evaluation.reference", name=None)

    def prepare(self, size: tuple[int, int, int]) -> None:
        """See `Judge`."""
        self._network.clips.side(reference=False).places(size[0], 0, "a sample")  # long enough
        self._reference  # noqa: B018 - is made

    def judge(self, samples: np.ndarray, wanted: Any) -> dict[str, float]:
        """Of films (N, F, H, W, 3)."""
        del wanted
        found = films.of_array(samples, "the samples")
        seen = self._network.of(found, reference=False, name=None)
        return {"fvd": fvd.fvd(self._reference.gaussian, seen, self._network.clips)}


class ByC3d(Judge):
    """The Inception score of films, in the splits and order of `isv.PRESETS["stylegan_v"]`."""

    better: ClassVar[Mapping[str, Direction]] = {"isv": "higher"}
    of_films = True
    has_reference = False

    @functools.cached_property
    def _network(self) -> isv.C3d:
        return isv.C3d(self.weights, isv.parse("stylegan_v", count=None), self.mesh)

    def prepare(self, size: tuple[int, int, int]) -> None:
        """See `Judge`."""
        self._network.score.side().places(size[0], 0, "a sample")  # long enough

    def judge(self, samples: np.ndarray, wanted: Any) -> dict[str, float]:
        """Of films (N, F, H, W, 3)."""
        del wanted
        logits = self._network.of(films.of_array(samples, "the samples"), name=None)
        return {"isv": isv.scores(logits, self._network.score)["isv"]}


class ByClip(Judge):
    """CLIP score of pictures, CLIPSIM of films."""

    better: ClassVar[Mapping[str, Direction]] = {"clip": "higher"}
    has_reference = False

    @functools.cached_property
    def _network(self) -> Clip:
        return Clip(self.weights, self.mesh)

    def prepare(self, size: tuple[int, int, int]) -> None:
        """See `Judge`."""
        del size
        self._network  # noqa: B018 - is made

    def judge(self, samples: np.ndarray, wanted: Any) -> dict[str, float]:
        """Of pictures or films (N, F, H, W, 3), with a caption for each."""
        captions = list(wanted)
        if samples.shape[1] == 1:
            value = self._network.score(pictures.of_array(samples[:, 0], "the samples"), captions, name=None)
        else:
            value, _ = self._network.similarity(films.of_array(samples, "the samples"), captions, name=None)
        return {"clip": value}


JUDGES: Mapping[str, type[Judge]] = {
    "inception": ByInception,
    "dinov2": ByDinov2,
    "i3d": ByI3d,
    "c3d": ByC3d,
    "clip": ByClip,
}


def evaluation(section: Any) -> Evaluation:
    """The judge of `evaluation.name`, one of `JUDGES`.

    Raises:
      ValueError: a field of its own is wrong.
    """
    judge = JUDGES[section.name](section)
    wants = "captions" if section.name == "clip" else "labels"
    return Evaluation(
        judge,
        judge.better,
        functools.partial(_check, judge),
        takes="pictures",
        wants=wants,
        prepare=judge.prepare,
    )


def _check(judge: Judge, config: Any) -> Iterable[str]:
    section, frames = config.evaluation, config.data.frames
    name = f"evaluation.name={section.name!r}"
    if not section.weights or not judge.weights.exists():
        yield f"evaluation.weights={section.weights!r} must be those that {name} needs (docs/evaluation.md)"
    if judge.has_reference and (not section.reference or not judge.reference.exists()):
        yield (
            f"evaluation.reference={section.reference!r} must be what {', '.join(judge.better)} compare with: a file "
            "or a folder (docs/evaluation.md)"
        )
    if judge.of_films and frames == 1:
        yield f"{name} judges films, and data.frames=1 are pictures"
    if section.name in ("inception", "dinov2") and frames > 1:
        yield f"{name} judges pictures, and data.frames={frames} are films"
    if section.name == "i3d":
        try:
            clips.parse(section.clips)
        except ValueError as error:
            yield f"evaluation.clips={section.clips!r}: {error}"
    if section.name == "c3d" and section.count < (least := isv.PRESETS["stylegan_v"].splits):
        yield f"evaluation.count={section.count} must be at least {least}, the sets that {name} makes of them"
    if section.name == "clip" and config.model.condition != "text":
        yield f"{name} judges how samples fit their captions, and model.condition={config.model.condition!r} has none"
    if config.model.channels == 1 and config.data.pixels_per_latent == 1:
        yield f"{name} judges RGB, and model.channels=1 is grey"
    if config.data.pixels_per_latent > 1 and not config.autoencoder.path:
        yield f"{name} judges pictures: latents need autoencoder.path, and it is ''"
    if section.count <= NEIGHBOURS:
        yield f"evaluation.count={section.count} must be above {NEIGHBOURS}"
