"""The judge of generated digits: real ones pass, means, copies and noise are seen for what they are."""

import numpy as np
import pytest

from configs import c2i_digits
from data_pipelines import sources
from data_pipelines.sources import digit_scans, enlarged
from ptdit_jax.evaluation import EVALUATIONS, find
from ptdit_jax.evaluation.digits import judge_digits, split_scans


def held_out():
    _, x, _, labels = split_scans()
    return x.reshape(-1, 1, 1, 8, 8), labels


def test_held_out_real_digits_pass():
    images, labels = held_out()
    report = judge_digits(images, labels)
    assert report.count == 450
    assert report.judge_accuracy >= 0.98
    assert report.recognition == report.judge_accuracy
    assert len(report.recognition_by_class) == 10
    weights = np.bincount(labels) / len(labels)
    assert np.dot(report.recognition_by_class, weights) == pytest.approx(report.recognition)
    assert report.variety == pytest.approx(1, abs=0.03)
    assert report.nearest_generated == 0  # they are real scans, so each is its own copy


def test_shifted_labels_are_not_recognised():
    images, labels = held_out()
    report = judge_digits(images, (labels + 1) % 10)
    assert report.recognition < 0.05


def test_class_means_have_no_variety():
    images, labels = held_out()
    means = np.stack([images[labels == digit].mean(axis=0) for digit in range(10)])
    report = judge_digits(means[labels], labels)
    assert report.recognition > 0.9
    assert report.variety < 1e-6
    jitter = np.random.default_rng(0).normal(scale=0.02, size=images.shape)
    assert judge_digits(means[labels] + jitter, labels).variety < 0.1


def test_noise_is_not_recognised():
    labels = np.arange(500) % 10
    noise = np.random.default_rng(0).normal(size=(500, 1, 1, 8, 8))
    report = judge_digits(noise, labels)
    assert report.recognition < 0.2
    assert report.nearest_generated > 2 * report.nearest_real


def test_features_tell_real_digits_from_means_noise_and_a_missing_class():
    images, labels = held_out()
    real = judge_digits(images, labels)
    assert real.comparison.frechet_distance < 2 * real.frechet_real
    assert (real.comparison.precision, real.comparison.recall > 0.7) == (1, True)
    means = np.stack([images[labels == digit].mean(axis=0) for digit in range(10)])[labels]
    noise = np.random.default_rng(0).normal(size=images.shape)
    no_sevens = np.where((labels == 7)[:, None, None, None, None], images[labels == 1][0], images)
    for worse, recall in ((means, 0.1), (noise, 0.1), (no_sevens, real.comparison.recall - 0.05)):
        report = judge_digits(worse, labels)
        assert report.comparison.frechet_distance > 5 * real.comparison.frechet_distance
        assert report.comparison.recall < recall


def test_enlarged_digits_are_judged_as_what_they_show():
    scans, labels = digit_scans()
    large = enlarged(scans, 16)
    assert large.shape == (1797, 16, 16)
    assert abs(large).max() <= 1
    report = judge_digits(large[:, None, None], labels)
    assert report.recognition > 0.98
    assert report.variety == pytest.approx(1)
    assert report.nearest_generated == 0
    assert report.comparison.frechet_distance == pytest.approx(0, abs=1e-6)


def test_one_bad_class_is_found():
    images, labels = held_out()
    images = images.copy()
    images[labels == 4] = images[labels == 1][0]
    report = judge_digits(images, labels)
    assert report.recognition_by_class[4] == 0
    assert report.variety_by_class[4] == 0
    assert "worst: 4, 0.0%" in str(report)


def test_values_beyond_the_range_are_clipped_as_for_display():
    images, labels = held_out()
    stretched = np.where(abs(images) == 1, 1.5 * images, images)
    assert judge_digits(stretched, labels) == judge_digits(images, labels)


def test_report_is_deterministic_and_complete():
    images, labels = held_out()
    report, again = (judge_digits(images.astype(np.float32), labels) for _ in range(2))
    assert report == again
    assert set(report.metrics()) == {
        "recognition",
        "judge_accuracy",
        "variety",
        "nearest_generated",
        "nearest_real",
        "frechet_distance",
        "precision",
        "recall",
        "frechet_real",
    }
    assert set(EVALUATIONS["digits"].better) < set(report.metrics())
    assert "450 generated digits" in str(report)
    assert find(c2i_digits.get_config().evaluation) is EVALUATIONS["digits"]
    assert EVALUATIONS["digits"].judge is judge_digits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:, 0], y), r"images \(450, 1, 8, 8\)"),
        (lambda x, y: (x[..., :4], y), r"images \(450, 1, 1, 8, 4\)"),
        (lambda x, y: (x, y[:-1]), r"labels \(449,\)"),
        (
            lambda x, y: (np.where(np.arange(450)[:, None, None, None, None] == 3, np.nan, x), y),
            "64 pixels.*not finite",
        ),
        (lambda x, y: (x, np.minimum(y, 8)), r"evaluation\.count = 20"),
        (lambda x, y: (x, y + 1), r"each of the 10 digits"),
    ],
)
def test_wrong_arrays_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        judge_digits(*change(*held_out()))


def test_signals_are_judged_as_the_digits_that_they_unroll():
    source = sources.SignalDigits()
    picked = [np.flatnonzero(sources.digit_scans()[1] == digit)[:2] for digit in range(10)]
    numbers = np.concatenate(picked)
    x = np.stack([source[number]["x"] for number in numbers])
    labels = np.array([source[number]["label"] for number in numbers])
    images = sources.digit_scans()[0][numbers]
    assert x.shape == (20, 1, 1, 1, 64)
    assert np.array_equal(sources.rolled_back(x)[:, 0, 0], images)
    assert np.array_equal(x[3, 0, 0, 0, 8:16], images[3, 1])  # row by row
    assert judge_digits(x, labels) == judge_digits(images[:, None, None], labels)
