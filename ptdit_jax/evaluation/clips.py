"""What of a film FVD (arXiv 1812.01717) sees: protocols by name, and each of their options.

Two FVDs compare only where all of these options, the weights and the two sets of films are the same.

Shapes: n films of a part, F frames, H rows, W columns.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ptdit_jax.evaluation import named
from ptdit_jax.features import i3d, resize

OFFSETS = ("first", "middle", "random")
PICKS = ("first", "random")
COVARIANCES = ("biased", "unbiased")


@dataclasses.dataclass(frozen=True)
class Clips:
    """Which films are taken, which of their frames, and how these are resized and gathered.

    Attributes:
      frames: F, at least 9, which the network takes.
      stride: frames of the film from one that is seen to the next; frames a second count nowhere.
      offset: where the clip of a film that is judged starts: at its "first" frame, so that the clip lies in its
        "middle", or at "random", all starts being alike.
      reference_offset: the same of the films that they are compared with.
      resize: "bilinear_whole": both sides to 224, whatever the shape; "short_side_crop": the shorter one to 224, and
        the middle of the longer one.
      covariance: "biased" divides by N, "unbiased" by N - 1.
      count: films that are judged; None for all.
      reference_count: films that they are compared with; None for all.
      pick: where there are more films than count: the "first" by name, or some at "random".
      seed: of what is random.

    Raises:
      ValueError: an option is not as above.
    """

    frames: int = 16
    stride: int = 1
    offset: str = "first"
    reference_offset: str = "first"
    resize: str = "short_side_crop"
    covariance: str = "unbiased"
    count: int | None = None
    reference_count: int | None = None
    pick: str = "first"
    seed: int = 0

    def __post_init__(self) -> None:
        texts = {"offset": OFFSETS, "reference_offset": OFFSETS, "covariance": COVARIANCES, "pick": PICKS}
        named.check(self, texts | {"resize": tuple(RESIZES)}, {"frames": i3d.FRAMES, "stride": 1, "seed": 0})
        for name in ("count", "reference_count"):
            if (value := getattr(self, name)) is not None and value < 2:
                raise ValueError(f"{name}={value} must be at least 2: one film has no covariance")

    @property
    def span(self) -> int:
        """Frames that a film must have."""
        return (self.frames - 1) * self.stride + 1

    def side(self, *, reference: bool) -> "Side":
        """The options of one of the two sets."""
        if reference:
            return Side(self, self.reference_offset, self.reference_count)
        return Side(self, self.offset, self.count)


@dataclasses.dataclass(frozen=True)
class Side:
    """The options of the films that are judged, or of those that they are compared with.

    Attributes:
      clips: what both share.
      offset: see `Clips`.
      count: see `Clips`.
    """

    clips: Clips
    offset: str
    count: int | None

    def chosen(self, total: int, name: str) -> np.ndarray:
        """Numbers of the films that are taken, (count,), which go up.

        Args:
          total: how many there are.
          name: of the set, for messages.

        Raises:
          ValueError: there are too few.
        """
        count = total if self.count is None else self.count
        if not 2 <= count <= total:
            raise ValueError(f"{name} has {total:,} films; {max(count, 2):,} are wanted")
        if self.clips.pick == "first":
            return np.arange(count)
        return np.sort(np.random.default_rng(self.clips.seed).permutation(total)[:count])

    def places(self, total: int | None, number: int, name: str) -> range:
        """Numbers of the frames of a film that are seen.

        Args:
          total: how many it has; None where the clip starts at the first, and nobody counted.
          number: of the film in its set, which chance goes by.
          name: of the film, for messages.

        Raises:
          ValueError: it is too short.
        """
        span, stride = self.clips.span, self.clips.stride
        if total is not None and total < span:
            raise ValueError(
                f"{name} has {total} frames; {self.clips.frames} with a stride of {stride} need {span}"
            )
        start = 0
        if self.offset != "first":
            if total is None:
                raise ValueError(f"{name}: an offset of {self.offset} needs the number of frames")
            spare = total - span
            start = spare // 2
            if self.offset == "random":
                start = int(np.random.default_rng((self.clips.seed, number)).integers(spare + 1))
        return range(start, start + span, stride)


def network_sees(films: jax.Array, option: str) -> jax.Array:
    """Films as the network wants them.

    Args:
      films: (n, F, H, W, 3) uint8.
      option: `Clips.resize`.

    Returns:
      (n, F, 224, 224, 3) float32, -1..1.
    """
    return RESIZES[option](films.astype(jnp.float32)) * (2 / 255) - 1


def whole(films: jax.Array) -> jax.Array:
    """Films (n, F, H, W, C) float32 to 224x224, whatever their shape, as in StyleGAN-V (arXiv 2112.14683)."""
    return resize.bilinear(films, (i3d.SIDE, i3d.SIDE))


def short_side(films: jax.Array) -> jax.Array:
    """The same to 224 along the shorter side, and the middle of the longer one, as in VideoGPT (arXiv 2104.10157).

    The longer side is rounded up in float64, as there: of some squares one side comes out as 225, whose last row of
    pixels is cut.
    """
    rows, columns = films.shape[-3:-1]
    ratio = i3d.SIDE / min(rows, columns)
    if rows < columns:
        size = i3d.SIDE, math.ceil(columns * ratio)
    else:
        size = math.ceil(rows * ratio), i3d.SIDE
    top, left = ((side - i3d.SIDE) // 2 for side in size)
    return resize.bilinear(films, size)[..., top : top + i3d.SIDE, left : left + i3d.SIDE, :]


RESIZES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "bilinear_whole": whole,
    "short_side_crop": short_side,
}

PRESETS: dict[str, Clips] = {
    "stylegan_v": Clips(
        reference_offset="random",
        resize="bilinear_whole",
        covariance="biased",
        count=2048,
        reference_count=2048,
    ),
    "make_a_video": Clips(reference_offset="random", count=10_000),
    "common_metrics": Clips(),
}
"""Protocols by name.

- stylegan_v: `fvd2048_16f` of StyleGAN-V (arXiv 2112.14683).  Real clips start at random, generated ones at their first
  frame; of more real films the first by name are taken.  Real films that are too short are left out there, and an
  error here.  Its generator is drawn with seeds of its own, and its chance is not repeated.
- make_a_video: zero-shot UCF-101 of Make-A-Video (arXiv 2209.14792): 10,000 films of prompts that are a template
  sentence for each class, in the distribution of classes of the training set.  Not published, and ours here: the
  sentences, frames, stride, offset, resize and covariance, and which real films, of which split and how many.
- common_metrics: common_metrics_on_video_quality of J. Hu: the first frames of as many films as there are.
"""


def preset(name: str, **changes: Any) -> Clips:
    """See `named.preset`, of `PRESETS`."""
    return named.preset(PRESETS, name, **changes)


def parse(text: str, **changes: Any) -> Clips:
    """See `named.parse`, of `PRESETS`."""
    return named.parse(PRESETS, text, **changes)
