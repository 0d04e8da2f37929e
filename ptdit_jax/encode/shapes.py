"""Which shape a raw record is encoded in: pixels that an autoencoder and the windows of a network divide.

F frames (or views), H rows, W columns: of pixels, unless they are said to be latent.
"""

import dataclasses
import math
from typing import Any

from data_pipelines import buckets
from data_pipelines.raw import Unusable
from ptdit_jax import config as rules


@dataclasses.dataclass(frozen=True)
class Shapes:
    """The shapes of a config, and what may be done to a record to fill one.

    Attributes:
      latent: (H, W) latent of every shape.
      factor: pixels of a latent along frames, rows and columns.
      pixel_frames: F that are taken of a film.
      views: of an object.
      max_aspect: see `config.encode`.
      max_enlarge: see `config.encode`.
    """

    latent: tuple[tuple[int, int], ...]
    factor: tuple[int, int, int]
    pixel_frames: int
    views: int
    max_aspect: float
    max_enlarge: float

    def target(self, rows: int, columns: int) -> tuple[int, int]:
        """The (H, W) in pixels that a picture of so many rows and columns is resized and cut to.

        Raises:
          Unusable: with reason "aspect" or "too_small".
        """
        aspect = max(rows, columns) / min(rows, columns)
        if self.max_aspect and aspect > self.max_aspect:
            raise Unusable("aspect", f"{columns} x {rows} pixels; max_aspect={self.max_aspect:g}")
        height, width = buckets.nearest(list(self.latent), rows, columns)
        height, width = height * self.factor[1], width * self.factor[2]
        enlarge = max(height / rows, width / columns)
        if self.max_enlarge and enlarge > self.max_enlarge:
            raise Unusable(
                "too_small",
                f"{columns} x {rows} pixels are enlarged {enlarge:.2f} times to fill {width} x {height}; "
                f"max_enlarge={self.max_enlarge:g}",
            )
        return height, width


def make_shapes(config: Any, factor: tuple[int, int, int]) -> Shapes:
    """The shapes of a config.

    Args:
      config: the whole config.
      factor: pixels of a latent along frames, rows and columns, of the autoencoder.

    Raises:
      ValueError: naming the field that does not go with the autoencoder or with others.
    """
    data, encode = config.data, config.encode
    nominal = (data.height, data.width)
    latent = (nominal,)
    if encode.aspects:
        if config.model.patch_height not in (0, config.model.patch):
            raise ValueError(
                f"encode.aspects=True needs model.patch_height={config.model.patch_height} to be 0: shapes of other "
                "aspects have patches as wide as high"
            )
        window, tokens = rules.layout(config)
        windows = math.prod(tokens.grid[1:]) // math.prod(window[1:])
        latent = tuple(buckets.bucket_shapes(windows, window[1:], config.model.patch))
        if nominal not in latent:
            raise ValueError(
                f"encode.aspects=True needs data.height={data.height} and data.width={data.width} among the shapes "
                f"of {windows} windows, {', '.join(f'{h}x{w}' for h, w in latent)}; use one of these or aspects=False"
            )
    frames = data.pixel_frames or (data.frames - 1) * factor[0] + 1
    if latent_frames(frames, factor[0]) != data.frames:
        raise ValueError(
            f"data.pixel_frames={frames} must be {(data.frames - 1) * factor[0] + 1}: the autoencoder makes "
            f"data.frames={data.frames} latent frames of so many"
        )
    return Shapes(latent, factor, frames, data.frames, encode.max_aspect, encode.max_enlarge)


def latent_frames(frames: int, factor: int) -> int:
    """Latent frames of pixel frames: one of the first, and one of each `factor` of the others."""
    return (frames - 1) // factor + 1
