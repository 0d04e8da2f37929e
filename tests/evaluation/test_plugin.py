"""Judges of the user's own: MODULE:NAME, and those by the features of a network."""

import dataclasses

import numpy as np
import pytest

from configs import c2i_digits
from ptdit_jax import config as rules
from ptdit_jax import evaluation
from ptdit_jax.evaluation.distribution import compare

KNOWN = "'digits', 'colored_digits', 'directed_digits', 'solids', 'inception', 'dinov2', 'i3d', 'c3d', 'clip'"
MODULE = """
import numpy as np
from ptdit_jax.evaluation import by_features

WEIGHTS = np.random.default_rng(0).normal(size=(64, 5))
REAL = np.random.default_rng(1).normal(size=(40, 5))
not_one = 3
mine = by_features(lambda samples: samples.reshape(len(samples), -1) @ WEIGHTS, lambda: REAL)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of the user's."""
    (tmp_path / "judges_of_mine.py").write_text(MODULE)
    (tmp_path / "judges_that_fail.py").write_text("import no_such_package_at_all")
    monkeypatch.syspath_prepend(tmp_path)


def section_of(name):
    """The `evaluation` section of a config with a name."""
    section = c2i_digits.get_config().evaluation
    section.name = name
    return section


def test_features_are_compared_with_the_real_ones(module):
    mine = evaluation.find(section_of("judges_of_mine:mine"))
    assert mine is not None
    samples = np.random.default_rng(2).normal(size=(30, 1, 1, 8, 8))
    weights, real = (
        np.random.default_rng(seed).normal(size=size) for seed, size in ((0, (64, 5)), (1, (40, 5)))
    )
    report = mine.judge(samples, None)
    assert report.metrics() == dataclasses.asdict(compare(real, samples.reshape(30, 64) @ weights))
    assert set(mine.better) == set(report.metrics())
    assert "30 samples: Fréchet distance" in str(report)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "faces",
            f"evaluation.name='faces' is unknown; it is one of 'none', {KNOWN}, or MODULE:NAME",
        ),
        ("no_such_module_at_all:x", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        (
            "judges_that_fail:x",
            "evaluation.name='judges_that_fail:x': .*judges_that_fail.py:1: ModuleNotFoundError: .*no_such_package",
        ),
        ("judges_of_mine:yours", "AttributeError: .*'yours'"),
        ("judges_of_mine:not_one", "is a int; it must be a ptdit_jax.evaluation.Evaluation"),
        (":", "evaluation.name=':': ValueError"),
    ],
)
def test_a_judge_that_is_none_is_refused(module, name, message):
    with pytest.raises(ValueError, match=message):
        evaluation.find(section_of(name))


def test_a_config_is_held_to_the_rules_of_its_judge_where_its_data_are(module):
    config = c2i_digits.get_config()
    config.evaluation.name, config.evaluation.count = "judges_of_mine:mine", 3
    with pytest.raises(ValueError, match=r"evaluation\.count=3 must be above 3"):
        rules.validate(config)
    config.evaluation.count = 4
    rules.validate(config)
    config.evaluation.name = "no_such_module_at_all:x"
    with pytest.raises(ValueError, match="no_such_module_at_all"):
        rules.validate(config)
    rules.validate(config, check_data=False)  # a checkpoint can be sampled from without its judge
