"""Resizes as the networks that judge images were fed with; each moves their figures.

Shapes: N images, H rows, W columns, C channels.
"""

import jax
import jax.numpy as jnp
import numpy as np


def tensorflow1(images: jax.Array, side: int) -> jax.Array:
    """Bilinear as TensorFlow 1 has it: pixel i lies at i times the ratio of the sides, half a pixel off from others.

    Args:
      images: (N, H, W, C) float32.
      side: pixels of a side that come out.

    Returns:
      (N, side, side, C) float32.
    """
    for axis in (2, 1):  # columns first, as the graph does
        size = images.shape[axis]
        place = np.arange(side, dtype=np.float32) * np.float32(size / side)
        low = np.minimum(place.astype(np.int32), size - 1)
        high = np.minimum(low + 1, size - 1)
        share = (place - low).reshape(-1, *[1] * (3 - axis))
        before, after = jnp.take(images, low, axis=axis), jnp.take(images, high, axis=axis)
        images = before + (after - before) * share
    return images


def bilinear(images: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Bilinear as PyTorch has it by default: pixels have their middles at halves, and nothing is smoothed before.

    Args:
      images: (..., H, W, C) float32.
      size: rows and columns that come out.

    Returns:
      (..., rows, columns, C) float32.
    """
    for axis, side in _axes(images, size):
        length = images.shape[axis]
        images = _between(images, axis, np.maximum(_middles(length, side), 0))
    return images


def aligned(images: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Bilinear as Chainer has it: the first and the last pixel of a side stay where they are; as `bilinear`."""
    for axis, side in _axes(images, size):
        step = np.float32((images.shape[axis] - 1) / max(side - 1, 1))
        images = _between(images, axis, np.arange(side, dtype=np.float32) * step)
    return images


def cubic(images: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Cubic as OpenCV and PyTorch have it, with a = -3/4: middles at halves, nothing smoothed before; as `bilinear`.

    What comes out may lie beyond what came in.
    """
    a = np.float32(-0.75)
    for axis, side in _axes(images, size):
        length = images.shape[axis]
        place = _middles(length, side)
        low = np.floor(place)
        share = place - low
        near = [(a + 2) * x**3 - (a + 3) * x**2 + 1 for x in (share, 1 - share)]
        far = [a * (x**3 - 5 * x**2 + 8 * x - 4) for x in (1 + share, 2 - share)]
        taps = zip((-1, 0, 1, 2), (far[0], near[0], near[1], far[1]), strict=True)
        behind = [1] * (images.ndim - 1 - axis)
        images = sum(
            (
                jnp.take(images, np.clip(low.astype(np.int32) + tap, 0, length - 1), axis=axis)
                * weight.reshape(-1, *behind)
                for tap, weight in taps
            ),
            start=jnp.zeros((), images.dtype),
        )
    return images


def _axes(images: jax.Array, size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """The axis of the columns and their number, and those of the rows."""
    return (images.ndim - 2, size[1]), (images.ndim - 3, size[0])


def _middles(length: int, side: int) -> np.ndarray:
    """Where the middles of `side` pixels lie among those of `length`, (side,) float32."""
    middles = (np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32(length / side)
    return middles - np.float32(0.5)


def _between(images: jax.Array, axis: int, place: np.ndarray) -> jax.Array:
    """Images at places along an axis, at least 0, between the pixels before and behind."""
    length = images.shape[axis]
    low = np.minimum(place.astype(np.int32), length - 1)
    high = np.minimum(low + 1, length - 1)
    share = (place - low).reshape(-1, *[1] * (images.ndim - 1 - axis))
    before, after = jnp.take(images, low, axis=axis), jnp.take(images, high, axis=axis)
    return before + (after - before) * share
