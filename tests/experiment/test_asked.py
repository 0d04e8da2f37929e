"""What the samples of a demonstration are asked for: captions of the judge's own, with their facts."""

import types

import numpy as np

from configs import t2i_demo
from data_pipelines import open_source
from data_pipelines.text import caption_of
from ptdit_jax import evaluation
from ptdit_jax.experiment import judging, live_text


def test_a_judge_with_a_source_is_asked_its_captions_and_facts(monkeypatch):
    config, said = t2i_demo.get_config(), []

    def encode(config, captions, mesh):
        said.extend(captions)
        return np.zeros((len(captions), 48, 128), np.float32), np.ones((len(captions), 48), bool)

    monkeypatch.setattr(live_text, "encode", encode)
    experiment = types.SimpleNamespace(text=(48, 128), classes=None)
    source = evaluation.find(config.evaluation).source(config.data)
    asked = judging.ask(config, experiment, 9)
    assert said == [caption_of(source[record]) for record in range(9)]
    assert asked.facts.tolist() == [source.facts(record).tolist() for record in range(9)]
    assert asked.facts[:, 0].tolist() == [0, 0, 1] * 3
    assert asked.labels.tolist() == asked.facts[:, 1].tolist()  # digits name the samples in the picture

    config.evaluation.name = "none"
    said.clear()
    asked = judging.ask(config, experiment, 4)
    assert asked.facts is None
    data = open_source(config.data)
    assert said == [data.caption(record) for record in range(4)]
