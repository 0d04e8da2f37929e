"""Figures of features: equal to other implementations, to brute force, and the same however the features come."""

import itertools

import numpy as np
import pytest
import torch
from scipy import linalg

from ptdit_jax import metrics
from ptdit_jax.metrics import Gaussian, InceptionScore, Moments, gaussian, kernel, manifold
from tests.features import published

fid, kid = (published.torchmetrics(f"image.{name}") for name in ("fid", "kid"))


def features(count, width=6, seed=0, shift=0.0):
    """Correlated features."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(width, width))
    return (rng.normal(size=(count, width)) @ mix + shift).astype(np.float32)


# --- means and covariances


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_moments_of_batches_in_any_order_are_those_of_all(shift):
    found = features(500, shift=shift)
    parts = [Moments.of(part) for part in np.split(found, [1, 2, 40, 311])]
    exact = found.astype(np.float64)
    for order in itertools.islice(itertools.permutations(parts), 0, None, 17):
        whole = sum(order, Moments.none(6))
        mean, covariance = whole.gaussian()
        assert whole.count == 500
        np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(covariance, np.cov(exact, rowvar=False), rtol=1e-9)
        biased = whole.gaussian(biased=True).covariance
        np.testing.assert_allclose(biased, np.cov(exact, rowvar=False, ddof=0), rtol=1e-9)


def test_the_distance_of_diagonal_normals_is_that_of_their_deviations():
    one = Gaussian(np.array([1.0, 2.0]), np.diag([4.0, 9.0]))
    other = Gaussian(np.array([1.5, 0.0]), np.diag([1.0, 16.0]))
    assert gaussian.frechet_distance(one, other) == pytest.approx(0.25 + 4 + (2 - 1) ** 2 + (3 - 4) ** 2)
    assert gaussian.frechet_distance(one, one) == 0


@pytest.mark.parametrize("count", [500, 5])
def test_the_distance_is_that_of_others(count):
    """Also of fewer samples than features, where the covariances are singular."""
    one, other = (Moments.of(features(count, 16, seed, seed)).gaussian() for seed in (0, 1))
    found = metrics.frechet_distance(one, other)
    tensors = [torch.from_numpy(array) for array in (*one, *other)]
    assert found == pytest.approx(fid._compute_fid(*tensors).item(), rel=1e-6)
    root = linalg.sqrtm(one.covariance @ other.covariance).real
    wanted = ((one.mean - other.mean) ** 2).sum() + np.trace(one.covariance + other.covariance - 2 * root)
    assert found == pytest.approx(wanted, rel=1e-5)


def test_a_singular_covariance_loses_no_digits():
    """Of two that have nothing in common, and of one with itself."""
    one = Gaussian(np.zeros(200), np.diag(np.r_[np.ones(100), np.zeros(100)]))
    other = Gaussian(np.zeros(200), np.diag(np.r_[np.zeros(100), np.ones(100)]))
    turn = linalg.qr(np.random.default_rng(0).normal(size=(200, 200)))[0]
    turned = [Gaussian(each.mean, turn @ each.covariance @ turn.T) for each in (one, other)]
    assert metrics.frechet_distance(*turned) == pytest.approx(200, abs=1e-10)
    assert metrics.frechet_distance(turned[0], turned[0]) == pytest.approx(0, abs=1e-10)


# --- precision and recall


def brute_force(real, generated, distances):
    """Both shares by the whole matrices."""
    found = []
    for members, asked in ((real, generated), (generated, real)):
        own = np.sort(distances(members, members), axis=1)[:, 3]
        found.append((distances(asked, members) <= own).any(axis=1).mean())
    return tuple(found)


@pytest.mark.parametrize("tile", [7, 64, 1000])
@pytest.mark.parametrize("distances", [manifold.in_float64, manifold.as_adm])
def test_shares_by_tiles_are_those_of_the_whole_matrix(tile, distances):
    real, generated = features(150, seed=0), features(120, seed=0, shift=0.7)[::-1] * 1.1
    found = metrics.precision_recall(real, generated, distances=distances, tile=tile)
    assert found == pytest.approx(brute_force(real, generated, distances))
    assert 0.2 < found.precision < 1
    assert 0.2 < found.recall < 1


def test_distances_of_adm_are_rounded_and_wide_where_they_must_be():
    """Terms of float16 as a plain restatement has them; one that overflows makes the whole tile float32."""
    rows, columns = features(5, 4, 0), features(3, 4, 1)
    half, single = np.float16, np.float32

    def squares(x):
        return (x.astype(half) ** 2).astype(single).sum(axis=1).astype(half)

    products = (rows.astype(half).astype(single) @ columns.astype(half).astype(single).T).astype(half)
    wanted = np.maximum(squares(rows)[:, None] - half(2) * products + squares(columns)[None], half(0))
    found = manifold.as_adm(rows, columns)
    np.testing.assert_array_equal(found, wanted.astype(single))
    exact = ((rows[:, None].astype(np.float64) - columns[None]) ** 2).sum(axis=2)
    assert 1e-5 < np.abs(found - exact).max() < 0.1
    np.testing.assert_allclose(manifold.in_float64(rows, columns), exact, rtol=1e-9)
    rows[0, 0] = 1000
    exact = ((rows[:, None].astype(np.float64) - columns[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(manifold.as_adm(rows, columns), exact, rtol=1e-4, atol=0.1)


# --- Inception score


def probabilities(count, classes=10):
    """Rows that are distributions, some with classes that cannot be."""
    logits = np.random.default_rng(0).normal(size=(count, classes)) * 3
    found = np.exp(logits) * (logits > -3)
    return (found / found.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 30, 50, 107])
def test_the_score_of_splits_in_file_order(batch):
    given, wanted = probabilities(107).astype(np.float64), []
    for start in range(0, 107, 50):
        part = given[start : start + 50]
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = part * (np.log(part) - np.log(part.mean(axis=0, keepdims=True)))
        wanted.append(np.exp(np.where(part > 0, terms, 0).sum(axis=1).mean()))
    score = InceptionScore(split=50)
    for start in range(0, 107, batch):
        score.add(given[start : start + batch])
    np.testing.assert_allclose(score.scores(), wanted, rtol=1e-12)
    np.testing.assert_allclose(score.value(), (np.mean(wanted), np.std(wanted)), rtol=1e-12)


def test_the_score_of_a_sure_and_even_classifier_is_the_number_of_classes():
    score = InceptionScore()
    score.add(np.eye(8, dtype=np.float32)[np.arange(80) % 8])
    assert score.value()[0] == pytest.approx(8)


# --- kernel distance


def test_the_kernel_distance_of_a_subset_is_that_of_others():
    one, other = features(64, 8, 0), features(64, 8, 1, 0.3)
    kernels = [(x @ y.T / 8 + 1) ** 3 for x, y in ((one, one), (one, other), (other, other))]
    wanted = kid.maximum_mean_discrepancy(*(torch.from_numpy(k.astype(np.float64)) for k in kernels)).item()
    assert kernel.squared_mmd(one, other) == pytest.approx(wanted, rel=1e-5)
    whole = metrics.kernel_distance(one, other, subsets=3, size=64)
    assert whole.value == pytest.approx(wanted, rel=1e-5)
    assert whole.deviation == pytest.approx(0, abs=1e-9 * wanted)


def test_kernel_distances_of_subsets_scatter_about_that_of_all():
    one, other = features(600, 8, 0), features(600, 8, 0, 0.5)
    found = metrics.kernel_distance(one, other, subsets=40, size=100)
    assert abs(found.value - kernel.squared_mmd(one, other)) < 4 * found.error
    assert found.error == pytest.approx(found.deviation / 40**0.5)
    assert found == metrics.kernel_distance(one, other, subsets=40, size=100)
    assert found != metrics.kernel_distance(one, other, subsets=40, size=100, seed=1)


# --- what is wrong

WRONG = np.full((5, 2), np.nan)
FEW, SQUARE = np.zeros((3, 2)), np.eye(3)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: Moments.of(WRONG), "10 of 10 are not finite"),
        (lambda: Moments.of(np.zeros(3)), r"features \(3,\): must be \(samples, features\)"),
        (lambda: Moments.of(FEW) + Moments.of(SQUARE), "2 and 3 features: must be as many"),
        (lambda: Moments.of(FEW[:1]).gaussian(), "1 samples have no covariance"),
        (
            lambda: metrics.frechet_distance(Gaussian(np.zeros(3), SQUARE), Gaussian(np.zeros(2), SQUARE)),
            r"the second distribution: mean \(2,\) and covariance \(3, 3\) must be of",
        ),
        (
            lambda: metrics.frechet_distance(
                Gaussian(np.zeros(3), SQUARE * np.nan), Gaussian(np.zeros(3), SQUARE)
            ),
            "the first distribution has numbers that are not finite",
        ),
        (lambda: metrics.precision_recall(FEW, FEW), "more than 3 samples"),
        (lambda: metrics.precision_recall(np.zeros((5, 2)), WRONG), "generated features: 10 are not finite"),
        (lambda: InceptionScore(0), "split=0 must be at least 1"),
        (lambda: InceptionScore().value(), "there are no samples"),
        (lambda: InceptionScore().add(FEW), "each row a distribution"),
        (lambda: metrics.kernel_distance(FEW, FEW), r"size=1000 must be in \[2, 3\], the real samples"),
        (lambda: metrics.kernel_distance(FEW, SQUARE, size=2), r"generated features \(3, 3\)"),
        (lambda: metrics.kernel_distance(FEW, FEW, size=3, subsets=0), "subsets=0 must be at least 1"),
    ],
)
def test_what_is_wrong_is_a_line(call, line):
    with pytest.raises(ValueError, match=line):
        call()
