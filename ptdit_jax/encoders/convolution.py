"""Layers of the autoencoders: convolutions, group norm and attention over the positions of a frame, channels last.

Shapes: B samples, F frames, N = B·F frames of all samples, H rows, W columns, C channels, P = H·W positions; `...`
leading axes.  Arrays are (N, H, W, C) where frames do not see each other, (B, F, H, W, C) where they do.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ptdit_jax.encoders import winograd
from ptdit_jax.models.layers import parameter, zeros

EPSILON = 1e-6  # of every norm
SCORES = 2**26  # attention weights that exist at once, in all frames together (256 MiB of float32)

Padding = Sequence[tuple[int, int]]


def _precision(dtype: Any) -> Any:
    """Float32 is float32 on every device; other dtypes multiply as the device does."""
    return jax.lax.Precision.HIGHEST if jnp.dtype(dtype) == jnp.float32 else None


def convolve(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, strides: Sequence[int], padding: Padding
) -> jax.Array:
    """Cross-correlation: x (N, *space, C), kernel (*window, C, D), bias (D,) -> (N, *space', D) in x's dtype."""
    letters = "DHW"[3 - len(strides) :]
    layout = (f"N{letters}C", f"{letters}IO", f"N{letters}C")

    def direct(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=layout, precision=_precision(x.dtype)
        )

    same = kernel.shape[:-2] == (3, 3) and tuple(strides) == (1, 1) and all(p == (1, 1) for p in padding)
    if same and winograd.pays(x, kernel):
        return jax.lax.platform_dependent(x, kernel, cpu=winograd.convolve, default=direct) + bias
    return direct(x, kernel) + bias


class Conv(nnx.Module):
    """A convolution with a bias, zero padding and stride 1 unless the call says otherwise.

    Args:
      inputs: C.
      outputs: D.
      window: of the kernel, odd; () or only ones is a matrix product a position.
      dtype: compute dtype; the parameters are float32.
      rngs: source of the initial values.
    """

    def __init__(self, inputs: int, outputs: int, window: Sequence[int], *, dtype, rngs: nnx.Rngs):
        self.window, self.dtype = tuple(window), dtype
        # The wider side is split over a mesh: the narrow one may be three pixels.
        sides = (None, "embed") if outputs >= inputs else ("embed", None)
        shape = (*self.window, inputs, outputs)
        self.kernel = parameter(
            nnx.initializers.lecun_normal(), rngs, shape, (*[None] * len(self.window), *sides)
        )
        self.bias = parameter(zeros, rngs, (outputs,), sides[1:])

    def weights(self) -> tuple[jax.Array, jax.Array]:
        """Kernel in float32, and bias in the compute dtype."""
        return self.kernel[...], self.bias[...].astype(self.dtype)

    def __call__(
        self, x: jax.Array, *, strides: Sequence[int] | None = None, padding: Padding | None = None
    ) -> jax.Array:
        """x (N, *space, C), or any axes before C where the window is one position -> (N, *space', D)."""
        (kernel, bias), x = self.weights(), x.astype(self.dtype)
        kernel = kernel.astype(self.dtype)
        if all(size == 1 for size in self.window):
            y = jnp.matmul(x, kernel.reshape(kernel.shape[-2:]), precision=_precision(self.dtype))
            return y + bias
        strides = strides or (1,) * len(self.window)
        padding = padding or [(size // 2, size // 2) for size in self.window]
        return convolve(x, kernel, bias, strides, padding)


class CausalConv(nnx.Module):
    """A convolution of films that sees no later frame: two copies of the first frame stand before it.

    Args:
      inputs: C.
      outputs: D.
      window: of the kernel along time, rows and columns.
      dtype: compute dtype.
      rngs: source of the initial values.
    """

    def __init__(self, inputs: int, outputs: int, window: Sequence[int], *, dtype, rngs: nnx.Rngs):
        self.conv = Conv(inputs, outputs, window, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        *,
        strides: tuple[int, int, int] = (1, 1, 1),
        padding: Padding | None = None,
    ) -> jax.Array:
        """x (B, F, H, W, C) -> (B, F', H', W', D); `padding` is that of rows and columns."""
        conv, (time, *window) = self.conv, self.conv.window
        if all(size == 1 for size in conv.window):
            return conv(x)
        padding = padding or [(size // 2, size // 2) for size in window]
        kernel, bias = conv.weights()
        x = x.astype(conv.dtype)
        if x.shape[1] == 1 or time == 1:  # a kernel that sees one frame several times is the sum of its parts
            flat = kernel.sum(0).astype(conv.dtype)
            return unfolded(convolve(folded(x), flat, bias, strides[1:], padding), x.shape[0])
        x = jnp.concatenate([x[:, :1]] * (time - 1) + [x], axis=1)
        return convolve(x, kernel.astype(conv.dtype), bias, strides, [(0, 0), *padding])


class GroupNorm(nnx.Module):
    """Group norm with scale and bias: statistics over a group of consecutive channels and all axes but the first.

    Args:
      width: C.
      groups: of channels; divides C.
      rngs: source of the initial values.
    """

    def __init__(self, width: int, groups: int, *, rngs: nnx.Rngs):
        self.groups = groups
        self.scale = parameter(nnx.initializers.ones_init(), rngs, (width,), (None,))
        self.bias = parameter(zeros, rngs, (width,), (None,))

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (N, ..., C) -> the same, in its dtype; float32 inside."""
        y = x.astype(jnp.float32).reshape(x.shape[0], -1, x.shape[-1])  # (N, M, C)
        # Means of channels first, then of groups: sums over the leading axis alone are fast on a CPU.
        centred = y - self._of_groups(y.mean(1))
        variance = self._of_groups((centred * centred).mean(1))
        scale = jax.lax.rsqrt(variance + EPSILON) * self.scale[...]
        return (centred * scale + self.bias[...]).astype(x.dtype).reshape(x.shape)

    def _of_groups(self, channels: jax.Array) -> jax.Array:
        """(N, C) -> (N, 1, C), each channel the mean of its group."""
        groups = channels.reshape(len(channels), self.groups, -1)
        return jnp.broadcast_to(groups.mean(-1, keepdims=True), groups.shape).reshape(len(channels), 1, -1)


class ResnetBlock(nnx.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), with a 1x1 convolution of x where the width changes.

    Args:
      inputs: C.
      outputs: D.
      conv: `Conv` or `CausalConv`, of windows of three along each of their axes.
      groups: of the norms.
      dtype: compute dtype.
      rngs: source of the initial values.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        conv: type[Conv] | type[CausalConv],
        groups: int,
        dtype,
        rngs: nnx.Rngs,
    ):
        axes = 2 if conv is Conv else 3
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        self.norm1 = GroupNorm(inputs, groups, rngs=rngs)
        self.conv1 = conv(inputs, outputs, (3,) * axes, **options)
        self.norm2 = GroupNorm(outputs, groups, rngs=rngs)
        self.conv2 = conv(outputs, outputs, (3,) * axes, **options)
        self.shortcut = conv(inputs, outputs, (1,) * axes, **options) if inputs != outputs else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (N, ..., C) -> (N, ..., D)."""
        h = self.conv1(nnx.silu(self.norm1(x)))
        h = self.conv2(nnx.silu(self.norm2(h)))
        return (x if self.shortcut is None else self.shortcut(x)) + h


class FrameAttention(nnx.Module):
    """x + out(attention(norm(x))) with one head: every position of a frame sees all of that frame.

    Args:
      width: C.
      groups: of the norm.
      conv: makes the projections: `Conv` with the window `window`, or `CausalConv`.
      window: of the projections: ones, or () where their weights are matrices.
      dtype: compute dtype; the softmax is float32.
      rngs: source of the initial values.
    """

    def __init__(
        self,
        width: int,
        groups: int,
        *,
        conv: type[Conv] | type[CausalConv],
        window: Sequence[int],
        dtype,
        rngs: nnx.Rngs,
    ):
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        self.norm = GroupNorm(width, groups, rngs=rngs)
        self.q, self.k, self.v, self.out = (conv(width, width, window, **options) for _ in range(4))

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (N, H, W, C) or (B, F, H, W, C) -> the same; the norm's statistics are over all axes but the first."""
        y = self.norm(x)
        *_, rows, columns, width = x.shape
        q, k, v = (each(y).reshape(-1, rows * columns, width) for each in (self.q, self.k, self.v))
        return x + self.out(attend(q, k, v).reshape(x.shape))


def attend(q: jax.Array, k: jax.Array, v: jax.Array, *, scores: int = SCORES) -> jax.Array:
    """softmax(q·kᵀ/√C)·v in float32, of as many queries at a time as have `scores` weights: each (N, P, C)."""
    precision = _precision(q.dtype)

    def some(q: jax.Array) -> jax.Array:
        weights = jnp.einsum("nqc,nkc->nqk", q, k, precision=precision, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(weights * q.shape[-1] ** -0.5, axis=-1).astype(v.dtype)
        return jnp.einsum("nqk,nkc->nqc", weights, v, precision=precision)

    count, positions, width = q.shape
    chunk = max(scores // (count * positions), 1)
    if chunk >= positions:
        return some(q)
    parts = -(-positions // chunk)
    chunk = -(-positions // parts)
    padded = jnp.pad(q, [(0, 0), (0, parts * chunk - positions), (0, 0)])
    chunks = padded.reshape(count, parts, chunk, width).swapaxes(0, 1)  # (parts, N, chunk, C)
    out = jax.lax.map(some, chunks).swapaxes(0, 1)
    return out.reshape(count, parts * chunk, width)[:, :positions]


def nearest_then_conv(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Rows and columns doubled by repetition, then a 3x3 convolution with zero padding.

    A window of three doubled pixels covers two pixels, one of them twice.  So each of the four outputs of a pixel is
    a 2x2 convolution of x whose kernel adds what meets the same pixel: 16 products where the doubled picture has 36.

    Args:
      x: (N, H, W, C).
      kernel: (3, 3, C, D) float32.
      bias: (D,) in x's dtype.

    Returns:
      (N, 2H, 2W, D).
    """
    count, rows, columns, _ = x.shape
    pads = ((1, 0), (0, 1))  # the even output begins a pixel earlier

    def halves(kernel: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
        first, second, third = jnp.split(kernel, 3, axis)
        return jnp.concatenate([first, second + third], axis), jnp.concatenate([first + second, third], axis)

    outputs = [
        convolve(x, part.astype(x.dtype), bias, (1, 1), (pads[i], pads[j]))
        for i, row in enumerate(halves(kernel, 0))
        for j, part in enumerate(halves(row, 1))
    ]
    y = jnp.stack(outputs, 3).reshape(count, rows, columns, 2, 2, -1)
    return y.swapaxes(2, 3).reshape(count, 2 * rows, 2 * columns, -1)


def doubled(x: jax.Array, axis: int) -> jax.Array:
    """An axis of twice the length, interpolated linearly between the middles of its elements."""
    last = x.shape[axis] - 1
    before = jnp.take(x, jnp.maximum(jnp.arange(last + 1) - 1, 0), axis)
    after = jnp.take(x, jnp.minimum(jnp.arange(last + 1) + 1, last), axis)
    pairs = jnp.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis + 1)
    return pairs.reshape(*x.shape[:axis], 2 * (last + 1), *x.shape[axis + 1 :])


def folded(x: jax.Array) -> jax.Array:
    """(B, F, ...) -> (B·F, ...)."""
    return x.reshape(-1, *x.shape[2:])


def unfolded(x: jax.Array, samples: int) -> jax.Array:
    """(B·F, ...) -> (B, F, ...)."""
    return x.reshape(samples, -1, *x.shape[1:])
