"""Pictures, films and their captions in CLIP's space.

Shapes: N samples, F frames, L tokens, P features.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jax.sharding import Mesh

from ptdit_jax.evaluation.films import Films
from ptdit_jax.evaluation.network import TOGETHER, Network
from ptdit_jax.evaluation.pictures import Pictures
from ptdit_jax.features import clip
from ptdit_jax.metrics import clip_score, clipsim


class Clip:
    """Both towers.

    Attributes:
      digest: sha256 of weights, sizes and preparation, hex.
    """

    def __init__(self, folder: Path, mesh: Mesh, together: int = TOGETHER):
        """Read the weights.

        Args:
          folder: see `clip.load`.
          mesh: see `Network`.
          together: pictures, or captions, that a device looks at.

        Raises:
          ValueError: see `clip.load`.
          OSError: likewise.
        """
        self._opened, self.digest = clip.load(folder)
        arch, params = self._opened.arch, self._opened.params
        self._images = Network(functools.partial(clip.embed_images, arch), params, mesh, together)
        self._texts = Network(
            lambda params, given: clip.embed_texts(arch, params, given[:, 0], given[:, 1] != 0),
            params,
            mesh,
            together,
        )

    def score(self, images: Pictures, captions: Sequence[str], *, name: str | None) -> float:
        """The CLIP score of the first images, one for each caption (N,)."""
        shown = lambda numbers: self._opened.prepare(images.read(numbers))  # noqa: E731
        return clip_score(
            self._of(captions, name), _joined(self._images, shown, len(captions), name, "image")
        )

    def similarity(
        self, films: Films, captions: Sequence[str], *, name: str | None
    ) -> tuple[float, list[int]]:
        """CLIPSIM of the first films, one for each caption (N,), and the frames of each."""
        whole = functools.lru_cache(maxsize=2)(films.whole)
        lengths = [len(whole(number)) for number in range(len(captions))]
        ends = np.cumsum(lengths)

        def frames(numbers: np.ndarray) -> np.ndarray:
            films_of = np.searchsorted(ends, numbers, side="right")
            read = [whole(int(film))[n - ends[film]] for film, n in zip(films_of, numbers, strict=True)]
            return self._opened.prepare(np.stack(read))

        seen = _joined(self._images, frames, int(ends[-1]), name, "frame")
        return clipsim(self._of(captions, name), np.split(seen, ends[:-1])), lengths

    def _of(self, captions: Sequence[str], name: str | None) -> np.ndarray:
        given = np.stack(self._opened.tokens(list(captions)), axis=1).astype(
            np.int32
        )  # (N, 2, L): ids and mask
        bar = None if name is None else "captions"
        return _joined(self._texts, lambda numbers: given[numbers], len(given), bar, "caption")


def _joined(
    network: Network, read: Callable[[np.ndarray], np.ndarray], count: int, name: str | None, unit: str
) -> np.ndarray:
    return np.concatenate(list(network.over(read, count, name=name, unit=unit)))
