"""The Inception score of films (arXiv 1611.06624, Sec. 5.2): by C3D, fine-tuned on UCF-101, as protocols have it.

Shapes: N films, n of a part, H rows, W columns; C3D sees 16 frames of 112x112 pixels.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ptdit_jax.evaluation import named
from ptdit_jax.evaluation.clips import OFFSETS, PICKS, Clips, Side
from ptdit_jax.evaluation.films import Films
from ptdit_jax.evaluation.network import FILMS_TOGETHER, Network
from ptdit_jax.features import c3d, resize
from ptdit_jax.metrics import InceptionScore, softmax

ORDERS = ("file", "shuffled")
SHUFFLE = 42  # seed of StyleGAN-V's order
TOP = 8  # first row of the square of 112 that is cut of 128


class Input(NamedTuple):
    """How frames become 112x112 pixels.

    Attributes:
      function: of (..., H, W, 3) float32 and (rows, columns).
      size: that they are resized to.
      corner: row and column of the square of 112x112 that is kept of that.
      mean_corner: likewise of the mean, which has 128 rows and 171 columns.
    """

    function: Callable[[jax.Array, tuple[int, int]], jax.Array]
    size: tuple[int, int]
    corner: tuple[int, int]
    mean_corner: tuple[int, int]


INPUTS: dict[str, Input] = {
    "aligned_112": Input(resize.aligned, (112, 112), (0, 0), (TOP, TOP)),
    "cubic_128": Input(resize.cubic, (128, 128), (TOP, TOP), (TOP, 29)),
    "bilinear_128x171": Input(resize.bilinear, (128, 171), (TOP, 29), (TOP, 29)),
}


@dataclasses.dataclass(frozen=True)
class Score:
    """Which films are taken and which of their frames, how C3D sees them, and which films a score is of.

    Attributes:
      stride: frames of the film from one of the 16 that are seen to the next.
      offset: where they start: see `Clips.offset`.
      resize: one of `INPUTS`.
      white: what a pixel of 255 counts as, 255 or 256, before the mean is taken off.
      splits: sets whose scores are averaged.
      order: how films fall into sets: in that of the "file", or "shuffled" as numpy's old generator does by seed 42.
      count: films; None for all.
      pick: which, where there are more: see `Clips.pick`.
      seed: of what is random of offset and pick.

    Raises:
      ValueError: an option is not as above.
    """

    stride: int = 1
    offset: str = "first"
    resize: str = "aligned_112"
    white: int = 256
    splits: int = 10
    order: str = "file"
    count: int | None = None
    pick: str = "first"
    seed: int = 0

    def __post_init__(self) -> None:
        texts = {"offset": OFFSETS, "resize": tuple(INPUTS), "order": ORDERS, "pick": PICKS}
        named.check(self, texts, {"stride": 1, "splits": 1, "seed": 0})
        if self.white not in (255, 256):
            raise ValueError(f"white={self.white} must be 255 or 256")
        if self.count is not None and self.count < max(2, self.splits):
            raise ValueError(
                f"count={self.count} must be at least 2, and splits={self.splits}: each is of a film"
            )

    def side(self) -> Side:
        """The films and frames that are seen."""
        shared = Clips(frames=c3d.FRAMES, stride=self.stride, pick=self.pick, seed=self.seed)
        return Side(shared, self.offset, self.count)


PRESETS: dict[str, Score] = {
    "stylegan_v": Score(order="shuffled", count=2048),
    "tgan2": Score(count=20_480),
    "tgan": Score(resize="cubic_128", splits=1, count=10_000),
    "magvit": Score(white=255, splits=4, count=40_000),
    "caffe": Score(resize="bilinear_128x171", white=255),
}
"""Protocols by name.

- stylegan_v: `isv2048_ucf` of StyleGAN-V (arXiv 2112.14683).  Its network is a program, said to be TGANv2's exactly,
  whose input is bytes; that 255 counts as 256 there, too, is taken from TGANv2.
- tgan2: of TGANv2 (arXiv 1811.09245): the mean of ten scores of 2,048 films each.  Of the mean, rows and columns 8 to
  119 are cut, which is not its middle.
- tgan: of TGAN (arXiv 1611.06624): one score of 10,000 films, cubic to 128x128, whose middle is kept.
- magvit: of MAGVIT (arXiv 2212.05199): four scores of 10,000 films each; its mean is in its weights, and taken here to
  be cut as TGANv2 does.
- caffe: what C3D was tuned on (arXiv 1412.0767): frames of 128x171, whose middle is kept; no score of films was
  published by it.
"""


def parse(text: str, **changes: Any) -> Score:
    """See `named.parse`, of `PRESETS`."""
    return named.parse(PRESETS, text, **changes)


def network_sees(films: jax.Array, mean: jax.Array, score: Score) -> jax.Array:
    """Films as C3D wants them.

    Args:
      films: (n, 16, H, W, 3) uint8, red first.
      mean: see `c3d.Params`, blue first.
      score: the protocol.

    Returns:
      (n, 16, 112, 112, 3) float32, blue first.
    """
    how = INPUTS[score.resize]
    pixels = how.function(films.astype(jnp.float32)[..., ::-1], how.size)
    # TGAN and TGANv2 have pixels x in -1..1, and show the network 128 x + 128.
    return _square(pixels, how.corner) * (score.white / 255) - _square(mean, how.mean_corner)


def _square(pixels: jax.Array, corner: tuple[int, int]) -> jax.Array:
    top, left = corner
    return pixels[..., top : top + c3d.SIDE, left : left + c3d.SIDE, :]


class C3d:
    """The network, and how it is shown a protocol's films.

    Attributes:
      digest: sha256 of the weights' file, hex.
      score: the protocol.
    """

    def __init__(self, path: Path, score: Score, mesh: Mesh, together: int = FILMS_TOGETHER):
        """Read the weights.

        Args:
          path: see `c3d.load`.
          score: the protocol.
          mesh: see `Network`.
          together: films that a device looks at.

        Raises:
          ValueError: see `c3d.load`.
          OSError: there is no such file.
        """
        params, self.digest = c3d.load(path)
        self.score = score

        def logits(params: c3d.Params, films: jax.Array) -> jax.Array:
            return c3d.apply(params.layers, network_sees(films, params.mean, score))

        self._network = Network(logits, params, mesh, together)

    def of(self, films: Films, *, name: str | None) -> np.ndarray:
        """Logits (N, 101) of the films of the protocol, under a bar if it has a name.

        Raises:
          ValueError: there are too few films, or one is not as `Films.clip` wants it.
          OSError: a file cannot be read.
        """
        count, read = films.clips(self.score.side())
        return np.concatenate(list(self._network.over(read, count, name=name, unit="film")))


def scores(logits: np.ndarray, score: Score) -> dict[str, float]:
    """The mean over splits, and their standard deviation, by name.

    Args:
      logits: (N, 101).
      score: the protocol.

    Raises:
      ValueError: there are fewer films than splits, or a logit is not finite.
    """
    count = len(logits)
    if count < score.splits:
        raise ValueError(f"splits={score.splits} need as many films or more, and there are {count}")
    if not np.isfinite(logits).all():
        raise ValueError(f"logits: {(~np.isfinite(logits)).sum()} of {logits.size} are not finite")
    places = np.arange(count)
    if score.order == "shuffled":
        np.random.RandomState(SHUFFLE).shuffle(places)
    edges = [number * count // score.splits for number in range(1, score.splits)]
    found = []
    for part in np.split(softmax(logits)[places], edges):
        each = InceptionScore(len(part))
        each.add(part)
        found.append(each.value()[0])
    return {"isv": float(np.mean(found)), "isv_deviation": float(np.std(found))}


def told(score: Score, count: int) -> dict[str, Any]:
    """What a score depends on beside weights and films, for evaluation.json; the count is of those that were seen."""
    corner = INPUTS[score.resize].mean_corner
    facts = {"frames": c3d.FRAMES, "channels": "blue, green, red", "mean_corner": list(corner)}
    return dataclasses.asdict(score) | facts | {"count": count}
