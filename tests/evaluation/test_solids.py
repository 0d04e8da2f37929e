"""The judge of turntables: real ones pass, wrong solids, other orders and other ways round are seen."""

import numpy as np
import pytest

from configs import common
from data_pipelines.demos import solids
from ptdit_jax.evaluation import EVALUATIONS
from ptdit_jax.evaluation.solids import COVER, _silhouette_errors, covered, judge_solids


@pytest.fixture(scope="module")
def real():
    config = common.get_config()
    config.data.update({"name": "solids", "height": 24, "width": 24, "frames": 24})
    source = EVALUATIONS["solids"].source(config.data)
    return np.stack([source[i]["x"] for i in range(90)]), np.stack([source.facts(i) for i in range(90)])


def test_real_turntables_pass(real):
    report = judge_solids(*real)
    assert report.count == 90
    assert report.right == {"shape": 1, "color": 1, "pattern": 1} == report.held_out
    assert report.silhouette_error == report.azimuth_error == 0
    assert report.view_error == pytest.approx(0, abs=1e-3)
    assert report.consistent == 1
    assert 0 < report.silhouette_error_between < 0.1
    assert set(EVALUATIONS["solids"].better) < set(report.metrics())
    assert "Of 90 turntables right: shape 100.0%" in str(report)


def test_silhouette_errors_are_pixels_counted():
    rng = np.random.default_rng(0)
    found, other = (rng.random((2, 24, 6, 6)) < 0.5 for _ in range(2))
    errors = _silhouette_errors(found, other)
    for sample, view, rotation in ((0, 0, 0), (1, 3, 20), (0, 23, 5)):
        a, b = found[sample, view], other[sample, rotation]
        assert errors[sample, view, rotation] == pytest.approx((a != b).sum() / b.sum())
    pixels = np.ones((2, 2, 3))
    pixels[0, 1] -= 1.01 * COVER / np.sqrt(3)
    pixels[1, 1] -= 0.99 * COVER / np.sqrt(3)
    assert covered(pixels).tolist() == [[False, True], [False, False]]


def test_other_captions_are_met_by_chance(real):
    films, facts = real
    report = judge_solids(films, facts[np.random.default_rng(0).permutation(len(facts))])
    assert report.right["shape"] < 0.35
    assert report.right["color"] < 0.35
    assert report.right["pattern"] < 0.45
    assert report.silhouette_error > 0.1


def test_orders_that_do_not_turn_are_seen(real):
    films, facts = real
    turned = judge_solids(np.roll(films, 2, axis=2), facts)  # begins 30 degrees later
    assert turned.silhouette_error == 0
    assert turned.consistent == 1
    assert turned.azimuth_error > 0
    assert turned.view_error > 0.02
    backwards = judge_solids(films[:, :, ::-1], facts)
    assert backwards.silhouette_error == 0
    assert backwards.view_error > turned.view_error
    order = np.random.default_rng(0).permutation(24)
    assert judge_solids(films[:, :, order], facts).consistent < 0.5
    assert backwards.consistent < 0.3  # a plain ball turns either way
    still = np.repeat(films[:, :, :1], 24, axis=2)
    assert judge_solids(still, facts).consistent < 0.5
    assert solids.VIEWS == 24


def test_noise_is_no_solid(real):
    films, facts = real
    noise = np.random.default_rng(0).normal(size=films.shape)
    report = judge_solids(noise, facts)
    assert report.silhouette_error > 0.5
    assert report.consistent == 0
    faint = judge_solids(films + 0.05 * noise, facts)
    assert faint.right["shape"] == 1
    assert faint.silhouette_error < 0.05
    assert faint.consistent > 0.95


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, f: (x[:, :, :1], f), r"films \(90, 3, 1, 24, 24\): must be \(N, 3, 24, 24, 24\)"),
        (lambda x, f: (x, f[:, 1:]), r"facts \(90, 3\): must be \(90, 4\)"),
        (lambda x, f: (x, None), r"facts \(0,\)"),
        (lambda x, f: (x[:9], f[:9]), "9 samples: at least 30"),
        (lambda x, f: (np.where(x > 0.5, np.inf, x), f), "not finite"),
    ],
)
def test_wrong_arrays_are_refused(real, change, message):
    with pytest.raises(ValueError, match=message):
        judge_solids(*change(*real))


def test_configs_that_cannot_be_judged_are_refused():
    config = common.get_config()
    config.evaluation.count = 29
    first, second = EVALUATIONS["solids"].check(config)
    assert first.startswith("evaluation.name='solids' judges data.name='solids'")
    assert second == "evaluation.count=29 must be at least 30"
