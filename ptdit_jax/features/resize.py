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
    for axis, side in zip((images.ndim - 2, images.ndim - 3), reversed(size)):
        length = images.shape[axis]
        middles = (np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32(length / side)
        place = np.maximum(middles - np.float32(0.5), 0)
        low = np.minimum(place.astype(np.int32), length - 1)
        high = np.minimum(low + 1, length - 1)
        share = (place - low).reshape(-1, *[1] * (images.ndim - 1 - axis))
        before, after = jnp.take(images, low, axis=axis), jnp.take(images, high, axis=axis)
        images = before + (after - before) * share
    return images
