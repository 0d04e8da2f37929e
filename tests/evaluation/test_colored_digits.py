"""The judges of coloured digits: real pictures and films pass, wrong captions, colours and ways are seen."""

import numpy as np
import pytest

from configs import common
from data_pipelines.demos import words
from data_pipelines.demos.digits import FACTS, MOVING_FACTS
from ptdit_jax.evaluation import EVALUATIONS, colored_digits, ink


@pytest.fixture(scope="module")
def pictures():
    return real("colored_digits", 600)


@pytest.fixture(scope="module")
def films():
    return real("directed_digits", 150)


def real(name, count):
    config = common.get_config()
    config.data.update({"name": name, "height": 24, "width": 24, "frames": 16})
    source = EVALUATIONS[name].source(config.data)
    records = range(30_000, 30_000 + count)
    return np.stack([source[i]["x"] for i in records]), np.stack([source.facts(i) for i in records])


def shuffled(facts):
    return facts[np.random.default_rng(0).permutation(len(facts))]


def test_real_pictures_pass(pictures):
    report = colored_digits.judge_pictures(*pictures)
    assert report.count == 600
    assert report.judge_accuracy >= 0.985
    for found in (report.right, report.held_out):
        assert set(found) == set(FACTS)
        assert all(value >= 0.985 for value in found.values())
        assert all(found[name] == 1 for name in ("color", "place", "background"))
    assert set(report.metrics()) == {*FACTS, *(f"held_out_{name}" for name in FACTS), "judge_accuracy"}
    assert set(EVALUATIONS["colored_digits"].better) < set(report.metrics())
    assert "Of 600 samples right" in str(report)


def test_real_films_pass(films):
    report = colored_digits.judge_films(*films)
    for found in (report.right, report.held_out):
        assert set(found) == set(MOVING_FACTS)
        assert found["digit"] >= 0.95
        assert all(found[name] == 1 for name in ("color", "direction", "background"))
    assert set(EVALUATIONS["directed_digits"].better) < set(report.metrics())


def test_held_out_real_digits_are_recognised():
    assert ink.fit_judge(24).accuracy >= 0.985
    assert ink.fit_judge(24).weight_accuracy >= 0.98


def test_other_captions_are_met_by_chance(pictures, films):
    found = colored_digits.judge_pictures(pictures[0], shuffled(pictures[1])).right
    words_of = {"digit": 10, "color": 6, "place": 5, "weight": 2, "background": 3}
    for name, number in words_of.items():
        assert abs(found[name] - 1 / number) < 0.13, name
    found = colored_digits.judge_films(films[0], shuffled(films[1])).right
    assert found["direction"] < 0.3
    assert found["digit"] < 0.25


def test_each_fact_is_judged_alone(pictures, films):
    images, facts = pictures
    mirrored = colored_digits.judge_pictures(images[..., ::-1], facts).right  # left is right
    assert abs(mirrored["place"] - 0.2) < 0.1  # the centre alone
    assert mirrored["color"] == 1
    others = colored_digits.judge_pictures(np.roll(images, 1, axis=1), facts).right  # red is green is blue
    assert others["place"] == 1
    assert others["color"] < 0.5
    backwards = colored_digits.judge_films(films[0][:, :, ::-1], films[1]).right
    assert backwards["direction"] == 0
    assert backwards["digit"] >= 0.95
    still = np.repeat(films[0][:, :, :1], 16, axis=2)
    assert colored_digits.judge_films(still, films[1]).right["direction"] == 0


def test_faint_noise_on_the_samples_is_seen_through_and_noise_alone_is_not(pictures):
    rng = np.random.default_rng(0)
    images, facts = pictures
    found = colored_digits.judge_pictures(images + rng.normal(scale=0.05, size=images.shape), facts).right
    assert min(found["digit"], found["color"], found["place"]) > 0.95
    found = colored_digits.judge_pictures(rng.normal(size=images.shape), facts).right
    assert found["digit"] < 0.3
    assert found["color"] < 0.4


def test_what_a_caption_leaves_open_is_not_judged(pictures):
    images, facts = pictures
    facts = facts.copy()
    facts[:, 2:] = words.UNSAID
    assert set(colored_digits.judge_pictures(images, facts).right) == {"digit"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, f: (x[:, :1], f), r"images \(600, 1, 1, 24, 24\).*RGB"),
        (lambda x, f: (x, f[:, 1:]), r"facts \(600, 5\): must be \(600, 6\)"),
        (lambda x, f: (x, None), r"facts \(0,\)"),
        (lambda x, f: (np.where(np.arange(24) == 3, np.nan, x), f), "not finite"),
        (lambda x, f: (x[:9], f[:9]), "9 samples: at least 30"),
    ],
)
def test_wrong_arrays_are_refused(pictures, change, message):
    with pytest.raises(ValueError, match=message):
        colored_digits.judge_pictures(*change(*pictures))


def test_a_picture_is_no_film(pictures):
    with pytest.raises(ValueError, match="2 frames"):
        colored_digits.judge_films(pictures[0], pictures[1][:, : 1 + len(MOVING_FACTS)])


def test_configs_that_cannot_be_judged_are_refused():
    config = common.get_config()
    config.evaluation.count = 29
    for name in ("colored_digits", "directed_digits"):
        problems = list(EVALUATIONS[name].check(config))
        assert problems[0].startswith(f"evaluation.name='{name}' judges data.name='{name}'")
        assert problems[1] == "evaluation.count=29 must be at least 30"
