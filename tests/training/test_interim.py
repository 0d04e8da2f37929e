"""The average is judged while a run trains: figures beside the loss, the best checkpoint kept, nothing changed."""

import csv
import json
import os
import signal

import numpy as np
import pytest

from ptdit_jax import config as rules
from ptdit_jax import evaluation, train
from ptdit_jax.evaluation.interface import Evaluation
from ptdit_jax.experiment import judging
from ptdit_jax.training import checkpoint
from tests.training import runs

FIELDS = {"train__steps": 10, "evaluation__every": 4, "checkpoint__every": 5, "checkpoint__keep": 1}
SCORES = [0.5, 0.9, 0.7]  # after steps 4, 8, 10


class Report:
    """One figure."""

    def __init__(self, value):
        self.value = value

    def metrics(self):
        """Returns it."""
        return {"score": self.value}

    def __str__(self):
        return f"score {self.value}."


@pytest.fixture
def judge(monkeypatch):
    """A judge that gives `SCORES` in turn, and the samples that it saw."""
    seen = []

    def score(samples, labels):
        seen.append(samples)
        return Report(SCORES[(len(seen) - 1) % len(SCORES)])

    monkeypatch.setitem(evaluation.EVALUATIONS, "digits", Evaluation(score, {"score": "higher"}))
    return seen


def rows(workdir):
    with (workdir / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_figures_lie_beside_the_loss_and_the_best_checkpoint_stays(judge, trained, tiny, tmp_path, capsys):
    workdir = tmp_path / "run"
    config = tiny(**FIELDS)[0]
    assert train.main(config, workdir) == 0
    found = {int(row["step"]): row["evaluation_score"] for row in rows(workdir)}
    assert found == {n: "" for n in range(1, 11)} | {4: "0.5", 8: "0.9", 10: "0.7"}
    losses = [row["loss"] for row in rows(trained)]
    assert [row["loss"] for row in rows(workdir)[: len(losses)]] == losses  # training goes its way
    assert runs.checkpoints(workdir) == {"8", "10", "best"}
    best = workdir / "checkpoints" / "best"
    assert checkpoint.find(best).resolve() == (workdir / "checkpoints" / "8").resolve()
    assert "best score: 0.9 after step 8, kept as checkpoints/best" in capsys.readouterr().out
    assert json.loads((workdir / "evaluation.json").read_text())["score"] == 0.7
    assert len(judge) == 3  # not once more at the end
    assert all(samples.shape == (40, 1, 1, 8, 8) for samples in judge)
    assert np.abs(judge[0] - judge[2]).max() > 1e-4  # of other parameters


def test_a_run_that_goes_on_knows_the_best_and_writes_the_same_bytes(judge, tiny, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train.main(tiny(**FIELDS)[0], whole)

    def stopped(self, params, step):
        if step == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return judge_now(self, params, step)

    judge_now = judging.Interim.__call__
    with monkeypatch.context() as patch:
        patch.setattr(judging.Interim, "__call__", stopped)
        assert train.main(tiny(**FIELDS)[0], parts) == 143
    assert runs.checkpoints(parts) == {"8", "best"}
    assert train.main(tiny(**FIELDS)[0], parts) == 0
    assert (parts / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    assert runs.checkpoints(parts) == {"8", "10", "best"}
    assert len(judge) == 6  # none of them twice


def test_a_reference_that_does_not_fit_shows_before_anything_is_trained(tiny, tmp_path, monkeypatch):
    def prepare(size):
        raise ValueError(f"the reference does not fit {size}")

    judged = Evaluation(lambda *_: pytest.fail("too late"), {"x": "lower"}, takes="pictures", prepare=prepare)
    monkeypatch.setitem(evaluation.EVALUATIONS, "digits", judged)
    with pytest.raises(ValueError, match=r"the reference does not fit \(1, 8, 8\)"):
        train.main(tiny(**FIELDS)[0], tmp_path / "run")
    assert not runs.rows(tmp_path / "run")


def test_samples_that_are_not_finite_are_no_end(tiny, tmp_path, monkeypatch, capsys):
    def broken(*_, **__):
        raise judging.NotFinite("3 of 40 samples are not finite", np.empty(0))

    monkeypatch.setattr(judging, "batches", broken)
    config = tiny(**FIELDS | {"train__steps": 4})[0]
    train.main(config, tmp_path / "run")
    assert rows(tmp_path / "run")[-1]["evaluation_recognition"] == "nan"
    assert "step 4: 3 of 40 samples are not finite" in capsys.readouterr().out
    assert "best" not in runs.checkpoints(tmp_path / "run")


def test_other_figures_do_not_go_on_in_the_same_table(tiny):
    old, new = tiny(evaluation__every=4)[0], tiny()[0]
    assert rules.conflicts(old, new) == ["evaluation.every=0, was 4"]
    new.evaluation.every = 2
    assert not rules.conflicts(old, new)
    new.evaluation.name = "none"
    assert rules.conflicts(old, new) == ["evaluation.name='none', was 'digits'"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"evaluation__every": 2, "evaluation__name": "none"}, "evaluation.every=2 needs evaluation.name"),
        (
            {"evaluation__every": 2, "sampling__cache": "magcache"},
            "evaluation.every=2: sampling.cache='magcache' is calibrated at the end",
        ),
        ({"evaluation__every": -1}, "evaluation.every=-1 must be at least 0"),
        ({"evaluation__name": "inception"}, "evaluation.weights='' must be those that"),
        (
            {"evaluation__name": "inception", "evaluation__metrics": ("fvd",)},
            "evaluation.metrics: 'fvd' is unknown",
        ),
    ],
)
def test_what_is_wrong_is_a_line(tiny, fields, message):
    with pytest.raises(ValueError, match=message):
        rules.validate(tiny(**fields)[0])
