"""Windows of the token grid and the attention inside them (TCM, Eq. 2 of arXiv 2409.04005).

Shapes: B batch, (f, h, w) token grid, (cf, ch, cw) window, (mf, mh, mw) windows along each axis,
M = mf·mh·mw windows, n = cf·ch·cw tokens a window, D width.  The residual stream of the network is kept as
(B, M, n, D), row-major over windows and row-major inside, so that only the shift moves data.

Context parallelism: `parts` devices along the mesh axis "context" share the windows, cut along one `axis` of the grid
into slabs of whole windows.  Each device then has its M/parts windows, in the same order: m windows, m = M without.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx

from ptdit_jax.models.attention import SelfAttention
from ptdit_jax.parallel.axes import CONTEXT

Triple = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Windowing:
    """How one size of input is cut into windows and proxies; hashable, so it can be a static argument.

    Attributes:
      grid: (f, h, w) real tokens.
      window: (cf, ch, cw) tokens a window covers, clipped to the grid.
      proxy: (pf, ph, pw) proxy ratio inside a window; equal to `window` for one proxy a window.
      parts: slabs, one for each device along "context".
      axis: of the grid, 0 frames, 1 rows, 2 columns, along which slabs are cut.
    """

    grid: Triple
    window: Triple
    proxy: Triple
    parts: int = 1
    axis: int = 0

    @property
    def real_counts(self) -> Triple:
        """Windows along each axis that hold a token."""
        return tuple(-(-s // c) for s, c in zip(self.grid, self.window, strict=True))  # type: ignore[return-value]

    @property
    def counts(self) -> Triple:
        """(mf, mh, mw), windows along each axis: the last one possibly padded, whole ones to fill the slabs."""
        m = list(self.real_counts)
        m[self.axis] = -(-m[self.axis] // self.parts) * self.parts
        return (m[0], m[1], m[2])

    @property
    def slab_counts(self) -> Triple:
        """`counts` in one slab."""
        m = list(self.counts)
        m[self.axis] //= self.parts
        return (m[0], m[1], m[2])

    @property
    def slab_grid(self) -> Triple:
        """(f, h, w) tokens that one device is given: its slab, without the padding of other axes."""
        grid = list(self.grid)
        if self.parts > 1:
            grid[self.axis] = self.padded[self.axis] // self.parts
        return (grid[0], grid[1], grid[2])

    @property
    def padded(self) -> Triple:
        """The grid rounded up to whole windows."""
        return tuple(m * c for m, c in zip(self.counts, self.window, strict=True))  # type: ignore[return-value]

    @property
    def windows(self) -> int:
        """M."""
        return math.prod(self.counts)

    @property
    def window_tokens(self) -> int:
        """n."""
        return math.prod(self.window)

    @property
    def strides(self) -> Triple:
        """(1, sh, sw): proxies a window along each axis; each is the mean of a strided sub-grid (time pools to one)."""
        return (1, self.window[1] // self.proxy[1], self.window[2] // self.proxy[2])

    @property
    def proxies(self) -> int:
        """Proxies in all."""
        return self.windows * math.prod(self.strides)

    @property
    def is_padded(self) -> bool:
        """Whether the last windows hold tokens that do not exist."""
        return self.padded != self.grid

    @functools.cached_property
    def valid(self) -> np.ndarray:
        """(M, n) bool, False on padding."""
        inside = np.ones(self.grid, bool)
        pads = [(0, p - s) for s, p in zip(self.grid, self.padded, strict=True)]
        return partition(np.pad(inside, pads)[None, ..., None], self.window)[0, ..., 0]

    def by_slab(self, array: np.ndarray) -> np.ndarray:
        """A constant of all windows, cut into slabs: (M, ...) -> (parts, m, ...)."""
        grid = array.reshape(*self.counts, *array.shape[1:])
        cut = [*grid.shape[: self.axis], self.parts, -1, *grid.shape[self.axis + 1 :]]
        return np.moveaxis(grid.reshape(cut), self.axis, 0).reshape(self.parts, -1, *array.shape[1:])

    def own(self, array: np.ndarray) -> jax.Array:
        """This device's share of a constant of all windows: (M, ...) -> (m, ...)."""
        if self.parts == 1:
            return jnp.asarray(array)
        return jnp.asarray(self.by_slab(array))[jax.lax.axis_index(CONTEXT)]

    def gather(self, x: jax.Array, *, axis: int) -> jax.Array:
        """Windows (or proxies, or their keys) of all devices along `axis`, slab after slab."""
        return x if self.parts == 1 else jax.lax.all_gather(x, CONTEXT, axis=axis % x.ndim, tiled=True)

    def gathered(self, array: np.ndarray) -> np.ndarray:
        """A constant of all windows (M, ...) in the order of `gather`."""
        return self.by_slab(array).reshape(array.shape)


def split_windows(layout: Windowing, parts: int) -> Windowing:
    """The layout with its windows cut into `parts` slabs, along the axis that needs the least padding for it.

    Among equal ones that is the axis with the most windows.
    """
    if parts == 1:
        return layout
    cuts = [dataclasses.replace(layout, parts=parts, axis=axis) for axis in range(3)]
    return min(cuts, key=lambda cut: (cut.windows, -cut.real_counts[cut.axis]))


def windowing(
    grid: Sequence[int], window: Sequence[int], proxy_ratio: Sequence[int] | None = None
) -> Windowing:
    """Clip a window (and its proxy ratio) to a grid: one frame through a video model gets cf = 1.

    Args:
      grid: (f, h, w) tokens.
      window: (cf, ch, cw), the compression ratio (p_f, p_h, p_w) of Sec. 3.2.3.
      proxy_ratio: (., ph, pw) tokens averaged into each of several proxies a window; None or () for one.

    Raises:
      ValueError: if a triple is not three positive integers, or ph, pw do not divide the clipped window.
    """
    grid = _triple("grid", grid)
    window = _triple("window", window)
    clipped = tuple(min(c, s) for c, s in zip(window, grid, strict=True))
    if not proxy_ratio:
        return Windowing(grid, clipped, clipped)  # type: ignore[arg-type]
    ratio = _triple("proxy_ratio", proxy_ratio)
    proxy = (clipped[0], min(ratio[1], clipped[1]), min(ratio[2], clipped[2]))
    if clipped[1] % proxy[1] or clipped[2] % proxy[2]:
        raise ValueError(
            f"proxy_ratio={ratio} does not divide the window {clipped} (clipped to the grid {grid}): "
            "its last two numbers must divide the window's"
        )
    return Windowing(grid, clipped, proxy)  # type: ignore[arg-type]


def _triple(name: str, value: Sequence[int]) -> Triple:
    triple = tuple(value)
    if len(triple) != 3 or any(int(v) != v or v < 1 for v in triple):
        raise ValueError(f"{name}={triple} must be three positive integers (frames, height, width)")
    return (int(triple[0]), int(triple[1]), int(triple[2]))


def partition(x, window: Triple):
    """Cut a grid that whole windows cover: (B, f, h, w, D) -> (B, M, n, D).  The inverse of `merge`."""
    cf, ch, cw = window
    pattern = "b (mf cf) (mh ch) (mw cw) d -> b (mf mh mw) (cf ch cw) d"
    return rearrange(x, pattern, cf=cf, ch=ch, cw=cw)


def merge(x, counts: Triple, window: Triple):
    """Put windows back: (B, M, n, D) -> (B, f, h, w, D).  The inverse of `partition`."""
    (mf, mh, mw), (cf, ch, cw) = counts, window
    pattern = "b (mf mh mw) (cf ch cw) d -> b (mf cf) (mh ch) (mw cw) d"
    return rearrange(x, pattern, mf=mf, mh=mh, mw=mw, cf=cf, ch=ch, cw=cw)


def pad_and_partition(x: jax.Array, layout: Windowing) -> jax.Array:
    """Pad a slab with zeros to whole windows and cut it: (B, *slab_grid, D) -> (B, m, n, D)."""
    whole = [m * c for m, c in zip(layout.slab_counts, layout.window, strict=True)]
    pads = [(0, 0), *((0, p - s) for s, p in zip(layout.slab_grid, whole, strict=True)), (0, 0)]
    return partition(jnp.pad(x, pads) if any(p for _, p in pads) else x, layout.window)


def merge_and_crop(x: jax.Array, layout: Windowing) -> jax.Array:
    """The inverse of `pad_and_partition`: (B, m, n, D) -> (B, *slab_grid, D)."""
    f, h, w = layout.slab_grid
    return merge(x, layout.slab_counts, layout.window)[:, :f, :h, :w]


def half_window(window: Triple) -> Triple:
    """(cf//2, ch//2, cw//2), by which the grid is rolled for shifted windows."""
    return (window[0] // 2, window[1] // 2, window[2] // 2)


def cyclic_shift(x: jax.Array, layout: Windowing, *, backward: bool = False) -> jax.Array:
    """Windows of the grid rolled by minus half a window (plus half when `backward`): (B, m, n, D) -> (B, m, n, D).

    Between slabs only the half window at their border moves, to the neighbour along "context".
    """
    sign = 1 if backward else -1
    shift = [sign * s for s in half_window(layout.window)]
    if not any(shift):
        return x
    grid = merge(x, layout.slab_counts, layout.window)  # (B, f, h, w, D)
    if layout.parts > 1:
        grid = _roll_slabs(grid, shift[layout.axis], layout)
        shift[layout.axis] = 0
    return partition(jnp.roll(grid, shift, axis=(1, 2, 3)), layout.window)


def _roll_slabs(grid: jax.Array, shift: int, layout: Windowing) -> jax.Array:
    """`jnp.roll` of the whole grid along the axis of the slabs, on one device's slab (B, f, h, w, D)."""
    if shift == 0:
        return grid
    axis, parts, size = layout.axis + 1, layout.parts, grid.shape[layout.axis + 1]
    step = 1 if shift > 0 else -1  # tokens leave for the next slab, or for the one before
    border = size - shift if shift > 0 else -shift
    first, second = jnp.split(grid, [border], axis)
    leaving, staying = (second, first) if shift > 0 else (first, second)
    arriving = jax.lax.ppermute(leaving, CONTEXT, [(i, (i + step) % parts) for i in range(parts)])
    return jnp.concatenate((arriving, staying) if shift > 0 else (staying, arriving), axis)


def region_ids(layout: Windowing) -> np.ndarray:
    """(M, n) int32: tokens of the shifted windows may attend to each other when their ids are equal.

    Along an axis of S (padded) tokens and window c: [0, S-c) -> 0, [S-c, S-c//2) -> 1, the rest -> 2, and all 0
    when c = 1 (spec of step 4; Swin, arXiv 2103.14030, Sec. 3.2).  Padding gets ids of its own.
    """
    ids = np.zeros(layout.padded, np.int32)
    real = np.ones(layout.padded, bool)
    for axis, (size, c, s) in enumerate(zip(layout.padded, layout.window, layout.grid, strict=True)):
        position = np.arange(size)
        region = (
            np.where(position < size - c, 0, np.where(position < size - c // 2, 1, 2))
            if c > 1
            else 0 * position
        )
        original = (position + c // 2) % size  # where the token stood before the roll
        shape = [1, 1, 1]
        shape[axis] = size
        ids = 3 * ids + region.reshape(shape)
        real &= (original < s).reshape(shape)
    ids = np.where(real, ids, 27 + ids).astype(np.int32)
    return partition(ids[None, ..., None], layout.window)[0, ..., 0]


def window_regions(layout: Windowing) -> jax.Array | None:
    """Ids (m, n) of window attention, whether a token exists, or None where nothing is masked (no padding)."""
    return layout.own(layout.valid) if layout.is_padded else None


def shifted_window_regions(layout: Windowing) -> jax.Array | None:
    """`region_ids` of this device, (m, n), or None where nothing is masked (windows of one token)."""
    ids = region_ids(layout)
    return None if (ids == ids[:, :1]).all() else layout.own(ids)


class WindowAttention(nnx.Module):
    """Self-attention inside each window, plain (WSA) or shifted by half a window (SWSA): the two terms of Eq. 2."""

    def __init__(self, width: int, heads: int, *, shifted: bool, **options: Any):
        self.attention = SelfAttention(width, heads, **options)
        self.shifted = shifted

    def __call__(self, x: jax.Array, layout: Windowing) -> jax.Array:
        """(B, m, n, D) normed and modulated tokens -> (B, m, n, D), to be gated and added by the block."""
        if not self.shifted:
            return self.attention(x, regions=window_regions(layout))
        x = cyclic_shift(x, layout)
        x = self.attention(x, regions=shifted_window_regions(layout))
        return cyclic_shift(x, layout, backward=True)
