"""Pictures and films in overlapping tiles, blended where they overlap, as the released code and diffusers do it.

Time is cut first, into chunks that share one frame with the next; then each chunk's frames into tiles.  Norms and
attention are those of each tile, so the result is another one than that of the whole.

Tiles go through the network one after the other, in one loop for all of one shape, so that memory is that of one tile
and each shape is compiled once.  At the lower and right border tiles are clipped, to slivers too.

Shapes: B samples, F frames, H rows, W columns, C channels.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Network = Callable[[jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Cut:
    """How one direction, encoding or decoding, is cut.

    Attributes:
      size: rows and columns of a tile of the input.
      stride: from one tile to the next.
      blend: rows and columns of the output that neighbours are blended over.
      keep: rows and columns of the output that a tile adds to the result.
      frames: of a chunk of the input; 0 = time is not cut.
    """

    size: int
    stride: int
    blend: int
    keep: int
    frames: int

    def applies(self, shape: tuple[int, ...]) -> bool:
        """Whether (B, F, H, W, C) is larger than a tile."""
        return max(shape[2:4]) > self.size or bool(self.frames and shape[1] > self.frames)


@dataclasses.dataclass(frozen=True)
class Tiling:
    """Tiles of both directions.

    Attributes:
      size: S, pixels a side.
      overlap: r, share of a tile that the next one covers, too.
      frames: frames of a tile, 4k+1 where four are a latent; 0 = time is not cut.
      latent_frames: latent frames of a tile.
      factor: pixels a latent along rows and columns.
    """

    size: int
    overlap: float
    frames: int
    latent_frames: int
    factor: int

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % self.factor or not 0 <= self.overlap < 1:
            raise ValueError(
                f"tiles of {self.size} pixels: the side must be a multiple of {self.factor}, the pixels a latent"
            )
        latent = self.size // self.factor
        if not float(latent * self.overlap).is_integer():  # else steps and seams do not meet
            raise ValueError(
                f"tiles of {self.size} pixels: their overlap, {self.overlap} of {latent} latents, must be a whole "
                "number of latents"
            )
        if self.frames == 1 or self.latent_frames == 1:
            raise ValueError("tiles of 1 frame: chunks share one frame with the next, and need two at least")

    def _cut(self, size: int, out: int, frames: int) -> Cut:
        blend = int(out * self.overlap)
        return Cut(size, int(size * (1 - self.overlap)), blend, out - blend, frames)

    @property
    def encoding(self) -> Cut:
        """Of pixels."""
        return self._cut(self.size, self.size // self.factor, self.frames)

    @property
    def decoding(self) -> Cut:
        """Of latents."""
        return self._cut(self.size // self.factor, self.size, self.latent_frames)


def chunks(length: int, frames: int) -> list[tuple[int, int]]:
    """Start and end of each chunk of `length` frames; neighbours share one."""
    if not frames:
        return [(0, length)]
    starts = list(range(0, length, frames - 1))
    found = [(start, after + 1) for start, after in itertools.pairwise(starts)]
    if not found or found[-1][1] < length:
        found.append((starts[-1] if found else 0, length))
    return found


def tiled(network: Network, x: jax.Array, cut: Cut) -> jax.Array:
    """The output of a network in tiles: x (B, F, H, W, C) -> (B, F', H', W', C').

    Args:
      network: (B, f, h, w, C) -> (B, f', h', w', C').
      x: its input, pure numbers that may be traced.
      cut: the tiles.
    """
    times = chunks(x.shape[1], cut.frames)
    rows, columns = (range(0, extent, cut.stride) for extent in x.shape[2:4])
    places = [(start, i, j) for start, _ in times for i in rows for j in columns]
    ends = dict(times)

    def size(place: tuple[int, int, int]) -> tuple[int, int, int]:
        start, i, j = place
        return ends[start] - start, min(cut.size, x.shape[2] - i), min(cut.size, x.shape[3] - j)

    outputs: dict[tuple[int, int, int], jax.Array] = {}
    for shape in dict.fromkeys(map(size, places)):
        same = [place for place in places if size(place) == shape]
        made = _each(network, x, same, shape)
        outputs |= {place: made[k] for k, place in enumerate(same)}
    films = [_blended([[outputs[start, i, j] for j in columns] for i in rows], cut) for start, _ in times]
    return jnp.concatenate([film[:, bool(k) :] for k, film in enumerate(films)], axis=1)


def _each(network: Network, x: jax.Array, places: list[Any], shape: tuple[int, int, int]) -> Any:
    """The network's output of tiles of one shape, one after the other."""
    whole = (x.shape[0], *shape, x.shape[4])

    def one(place: jax.Array) -> jax.Array:
        return network(jax.lax.dynamic_slice(x, (0, place[0], place[1], place[2], 0), whole))

    if len(places) == 1:
        return [one(jnp.asarray(places[0]))]
    return jax.lax.map(one, jnp.asarray(places))


def _blended(tiles: list[list[jax.Array]], cut: Cut) -> jax.Array:
    """One picture of the outputs of its tiles, in rows."""
    for i, row in enumerate(tiles):
        for j, tile in enumerate(row):
            if i > 0:
                tile = _blend(tiles[i - 1][j], tile, 2, cut.blend)
            if j > 0:
                tile = _blend(row[j - 1], tile, 3, cut.blend)
            row[j] = tile  # later ones are blended with what this one has become
    kept = [jnp.concatenate([tile[:, :, : cut.keep, : cut.keep] for tile in row], axis=3) for row in tiles]
    return jnp.concatenate(kept, axis=2)


def _blend(before: jax.Array, tile: jax.Array, axis: int, extent: int) -> jax.Array:
    """A tile whose first positions go over from the last ones of that before it."""
    extent = min(extent, before.shape[axis], tile.shape[axis])
    if not extent:
        return tile
    shape = [1] * tile.ndim
    shape[axis] = extent
    share = (jnp.arange(extent, dtype=jnp.float32) / extent).reshape(shape)
    length = before.shape[axis]
    old = jax.lax.slice_in_dim(before, length - extent, length, axis=axis)
    new, rest = jnp.split(tile, [extent], axis)
    return jnp.concatenate([old * (1 - share) + new * share, rest], axis)
