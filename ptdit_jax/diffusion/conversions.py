"""What a network may predict, and how each prediction gives every other.

A prediction is p = a x0 + b eps with a row (a, b) of one table.  With x_t = alpha x0 + sigma eps these are
two equations for x0 and eps, so (x_t, t) and any prediction determine all of them.
"""

from collections.abc import Callable

import jax

# name: (alpha, sigma) -> (a, b)
PREDICTIONS: dict[str, Callable] = {
    "x0": lambda alpha, sigma: (1, 0),
    "eps": lambda alpha, sigma: (0, 1),
    "v": lambda alpha, sigma: (-sigma, alpha),  # arXiv 2202.00512, App. D
    "velocity": lambda alpha, sigma: (1, -1),  # towards the data: a sampler adds it
}


def target(prediction: str, x0: jax.Array, eps: jax.Array, alpha: jax.Array, sigma: jax.Array) -> jax.Array:
    """The value of `prediction` for known data and noise; alpha and sigma broadcast against x0."""
    a, b = PREDICTIONS[prediction](alpha, sigma)
    return a * x0 + b * eps


def to_x0_eps(
    prediction: str, value: jax.Array, x_t: jax.Array, alpha: jax.Array, sigma: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The data and the noise that a predicted value implies at x_t.

    Not defined where the prediction says nothing about the other part: "x0" at sigma = 0, "eps" at alpha = 0.
    """
    a, b = PREDICTIONS[prediction](alpha, sigma)
    determinant = alpha * b - sigma * a
    return (b * x_t - sigma * value) / determinant, (alpha * value - a * x_t) / determinant


def convert(
    source: str, wanted: str, value: jax.Array, x_t: jax.Array, alpha: jax.Array, sigma: jax.Array
) -> jax.Array:
    """A prediction of one kind as another kind, at the same x_t; the same kind is returned as it is."""
    if source == wanted:
        return value
    x0, eps = to_x0_eps(source, value, x_t, alpha, sigma)
    return target(wanted, x0, eps, alpha, sigma)


def x0_error_scale(prediction: str, alpha: jax.Array, sigma: jax.Array) -> jax.Array:
    """The factor from an error of the prediction to that of x0: d x0 / d prediction at fixed x_t."""
    a, b = PREDICTIONS[prediction](alpha, sigma)
    return -sigma / (alpha * b - sigma * a)
