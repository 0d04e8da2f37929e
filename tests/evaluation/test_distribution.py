"""Fréchet distance and precision/recall against closed forms and brute force."""

import numpy as np
import pytest

from ptdit_jax.evaluation.distribution import compare, frechet_distance
from ptdit_jax.metrics import precision_recall
from ptdit_jax.metrics.manifold import NEIGHBOURS


def whitened(count, width, seed=0):
    """Samples whose mean is 0 and whose covariance is the identity, exactly."""
    x = np.random.default_rng(seed).normal(size=(count, width))
    x -= x.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False))
    return x @ vectors / np.sqrt(values)


def test_frechet_distance_of_gaussians_is_the_closed_form():
    x, scales, shift = whitened(60, 4), np.array([0.5, 1, 2, 3]), np.array([1.0, -2, 0, 0.5])
    # Covariances that commute: |shift|² + the sum of (σ - τ)².
    expected = (shift**2).sum() + ((1 - scales) ** 2).sum()
    assert frechet_distance(x, whitened(50, 4, seed=1) * scales + shift) == pytest.approx(expected)


def test_frechet_distance_of_correlated_gaussians_is_that_of_the_definition():
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(80, 5)) @ rng.normal(size=(5, 5)) for _ in range(2))
    c, s = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(c @ s).real).sum()
    shift = x.mean(axis=0) - y.mean(axis=0)
    expected = shift @ shift + np.trace(c) + np.trace(s) - 2 * root
    assert frechet_distance(x, y) == pytest.approx(expected)
    assert frechet_distance(y, x) == pytest.approx(expected)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-10)


def test_features_that_do_not_vary_are_no_error():
    x = np.concatenate([whitened(40, 2), np.ones((40, 1))], axis=1)
    assert frechet_distance(x, x + 1) == pytest.approx(3)
    assert frechet_distance(x[:, :1], x[:, :1] + 2) == pytest.approx(4)


def test_precision_and_recall_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    real, generated = rng.normal(size=(40, 3)), rng.normal(loc=1.5, size=(30, 3))

    def covered(points, members):
        inside = 0
        for point in points:
            for i, member in enumerate(members):
                others = sorted(np.linalg.norm(member - other) for j, other in enumerate(members) if j != i)
                if np.linalg.norm(point - member) <= others[NEIGHBOURS - 1]:
                    inside += 1
                    break
        return inside / len(points)

    precision, recall = precision_recall(real, generated)
    assert (precision, recall) == (covered(generated, real), covered(real, generated))
    assert 0 < recall != precision > 0


def test_few_kinds_of_samples_are_precise_and_lack_recall():
    real = np.random.default_rng(0).normal(size=(200, 2))
    same = compare(real, real)
    assert (same.precision, same.recall) == (1, 1)
    copies = compare(real, np.repeat(real[:2], 50, axis=0))
    assert (copies.precision, copies.recall) == (1, 2 / 200)
    far = compare(real, real + 100)
    assert (far.precision, far.recall) == (0, 0)
    assert same.frechet_distance < copies.frechet_distance < far.frechet_distance


@pytest.mark.parametrize(
    ("generated", "message"),
    [
        (np.zeros((9, 3)), r"generated features \(9, 3\)"),
        (np.zeros((NEIGHBOURS, 2)), r"generated features \(3, 2\): .* more than 3 samples"),
        (np.full((9, 2), np.nan), "generated features: 18 are not finite"),
    ],
)
def test_wrong_features_are_refused(generated, message):
    with pytest.raises(ValueError, match=message):
        compare(np.zeros((9, 2)), generated)
