"""The text encoder inside the training step: the same losses as with its states stored, on one device and on four."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from configs import t2i_digits, t2i_xl_256, uncond_digits
from data_pipelines import make_loader, open_source
from data_pipelines.text import caption_of
from ptdit_jax import config as rules
from ptdit_jax.encoders.t5 import T5Architecture
from ptdit_jax.experiment import live_text, text_cost

ROOT = Path(__file__).parents[2]


def live(**changes):
    config = t2i_digits.get_config()
    small = {
        "data.text": "live",
        "text_encoder.path": "bytes",
        "text_encoder.dtype": "float32",
        "model.text_dim": 128,
    }
    small |= {
        "model.variant": "custom",
        "model.depth": 1,
        "model.width": 32,
        "model.heads": 4,
        "data.batch": 8,
    }
    config.update_from_flattened_dict(small | {"model.shift_every": 1, "optimizer.accumulate": 2} | changes)
    return config


@pytest.fixture(scope="module")
def figures():
    flags = "--xla_force_host_platform_device_count=4"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-m", "tests.experiment.live_runs"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_live_encoder_trains_as_its_stored_states_do(figures):
    np.testing.assert_allclose(figures["live"], figures["stored"], rtol=1e-5)
    assert figures["live"][-1] != figures["live"][0]


def test_a_mesh_changes_no_loss_and_splits_the_encoder(figures):
    np.testing.assert_allclose(figures["live, fsdp 2, tensor 2"], figures["live"], rtol=1e-5)
    assert figures["shard"] == [2, 128 // 2, 256 // 2]


def test_no_checkpoint_holds_the_encoder(figures):
    assert figures["state"] == figures["state, stored"]


def test_the_loader_gives_tokens_and_reads_no_states():
    config = live()
    batch = next(make_loader(config.data, seed=0, text=(32, 128), tokens=live_text.tokens(config)))
    assert {"x", "ids", "text_mask"} <= set(batch)
    assert "text" not in batch
    assert "caption" not in batch
    first = "".join(chr(i - 3) for i in batch["ids"][0][batch["text_mask"][0]][:-1])
    assert any(word in first for word in ("digit", "hand", "scan", "o", "e", "i"))
    assert batch["ids"].dtype == np.int32


def test_a_caption_that_is_too_long_stops_a_run_with_its_record_unless_it_may_be_cut():
    config = live(**{"model.text_length": 20})
    source = open_source(config.data)
    lengths = [len(caption_of(source[record]).encode()) + 1 for record in range(64)]
    long = [record for record, length in enumerate(lengths) if length > 20]
    assert 0 < len(long) < 64
    with pytest.raises(
        ValueError, match=r"record \d+ has a caption of 2\d tokens; model\.text_length = 20 takes"
    ):
        live_text.look(config, source)
    given = make_loader(config.data, seed=0, text=(20, 128), tokens=live_text.tokens(config))
    with pytest.raises(ValueError, match=r"'captioned_digits': record \d+ has a caption of 2\d tokens"):
        next(given)
    config.data.truncate_text = True
    live_text.look(config, source)
    batch = next(make_loader(config.data, seed=0, text=(20, 128), tokens=live_text.tokens(config)))
    assert batch["text_mask"].all(axis=1).any()
    full = batch["ids"][batch["text_mask"].all(axis=1)]
    assert (full[:, -1] == 1).all()  # the end is kept


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_encoder.path": ""}, "data.text='live' needs text_encoder.path"),
        (
            {"model.text_dim": 288},
            "model.text_dim=288 must be 128, the features of text_encoder.path='bytes'",
        ),
        (
            {"data.name": "digits", "evaluation.name": "none"},
            "data.text='live' needs captions; the records of data.name='digits' have none",
        ),
        ({"data.text": "alive"}, "data.text='alive' is unknown; it is one of 'stored', 'live'"),
        ({"text_encoder.clean": "soap"}, "text_encoder.clean='soap' is unknown"),
        ({"text_encoder.path": "/nowhere"}, "text_encoder.path=/nowhere: there is no such folder"),
    ],
)
def test_what_cannot_run_live_is_one_line(changes, message):
    with pytest.raises(ValueError) as caught:
        rules.validate(live(**changes))
    assert message in str(caught.value)


def test_stored_and_live_cost_what_the_specification_says():
    assert abs(2 * text_cost.macs(text_cost.XXL, 40) / 1e12 - 0.38) < 0.01
    assert text_cost.stored_bytes(4096, 40) == 327_680
    shown = text_cost.report(t2i_xl_256.get_config())
    assert "16.4 TB for 50 M captions" in shown
    assert isinstance(text_cost.XXL, T5Architecture)
    row = next(line for line in shown.splitlines() if "live, 40 tokens" in line)
    assert 15 < float(row.split("+")[1].split("%")[0]) < 30  # "22% of a 256 px step of XL"


def test_what_text_costs_is_there_for_programs_and_tables():
    config = t2i_xl_256.get_config()
    found, shown = text_cost.as_json(config), text_cost.report(config)
    assert found["stored"][0] == {"tokens": 40, "bytes_a_caption": 327_680, "terabytes": 16.384}
    for each in found["live"]["lengths"]:
        assert f"+{each['share_of_step']:.1%}" in shown
    assert found["live"]["bytes_a_device"] / 2**30 == pytest.approx(8.87, abs=0.005)
    stored = {
        "text": "stored",
        "text_mib": 0,
        "text_share": 0,
        "text_terabytes": found["stored"][-1]["terabytes"],
    }
    assert text_cost.columns(config) == stored
    config.data.text = "live"
    known = text_cost.columns(config)
    assert known["text_mib"] == found["live"]["bytes_a_device"] / 2**20
    assert known["text_share"] == found["live"]["lengths"][-1]["share_of_step"]
    assert (known["text"], known["text_terabytes"]) == ("live", 0)
    assert text_cost.columns(uncond_digits.get_config()) == {}
    assert text_cost.as_json(uncond_digits.get_config()) is None
