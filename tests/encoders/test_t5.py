"""T5's encoder beside those of `transformers`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers.models.t5.modeling_t5 import T5Attention

from ptdit_jax.encoders import t5, t5_layout, t5_weights, text
from tests.encoders import folders
from tests.models.tiny import FAST

ROOT = Path(__file__).parents[2]
LENGTHS = (1, 7, 120, 200, 512)


def read(folder):
    arch = t5.read_architecture(json.loads((folder / "config.json").read_text()), "config.json")
    return arch, t5_layout.open_folder(folder, arch)


def inputs(length, vocabulary=384):
    ids = np.random.default_rng(length).integers(0, vocabulary, (3, length)).astype(np.int32)
    return ids, np.arange(length) < np.array([[length], [1], [(length + 1) // 2]])


@pytest.mark.parametrize("kind", folders.KINDS)
def test_states_are_those_of_transformers(kind, tmp_path):
    encoder = folders.module(kind)
    arch, weights = read(folders.write(tmp_path / "t5", encoder))
    assert (arch.own_bias, arch.gated) == (kind == "UMT5", kind != "T5 v1.0")
    params, _ = t5_weights.load(dict(weights), arch, dtype=jnp.float32)
    run = jax.jit(text.make_apply(arch, "float32"), compiler_options=FAST)
    for length in LENGTHS:
        ids, mask = inputs(length)
        ours, theirs = np.asarray(run(params, ids, mask)), folders.states(encoder, ids, mask)
        assert ours.dtype == np.float32
        assert np.abs(ours - theirs).max() < 1e-4, length  # states of padding too
    np.testing.assert_allclose(
        t5_weights.encode_exactly(weights, arch, *inputs(7)), folders.states(encoder, *inputs(7)), atol=1e-4
    )


@pytest.mark.parametrize(("buckets", "furthest"), [(32, 128), (64, 128), (32, 256), (8, 20)])
def test_buckets_are_those_of_transformers(buckets, furthest):
    place = torch.arange(600)
    theirs = T5Attention._relative_position_bucket(place[None] - place[:, None], True, buckets, furthest)
    assert (t5.relative_buckets(600, buckets, furthest) == theirs.numpy()).all()


def test_padding_changes_no_state(tmp_path):
    arch, weights = read(folders.write(tmp_path / "t5", folders.module("T5 v1.1")))
    ids, mask = inputs(16)
    ids, mask = ids[:1], np.arange(16)[None] < 5
    alone = t5_weights.encode_exactly(weights, arch, ids[:, :5], mask[:, :5])
    np.testing.assert_allclose(t5_weights.encode_exactly(weights, arch, ids, mask)[:, :5], alone, atol=1e-5)


def test_bfloat16_stays_finite_where_float16_overflows(tmp_path):
    encoder = folders.module("T5 v1.1")
    with torch.no_grad():
        encoder.encoder.block[0].layer[1].DenseReluDense.wo.weight.mul_(1e5)
    ids, mask = inputs(7)
    hidden = []
    hook = encoder.encoder.block[0].register_forward_hook(lambda *a: hidden.append(a[2][0].abs().max()))
    theirs = folders.states(encoder, ids, mask)
    hook.remove()
    assert hidden[0] > np.finfo(np.float16).max  # the float16 of others would be infinite here
    arch, weights = read(folders.write(tmp_path / "t5", encoder))
    params, _ = t5_weights.load(dict(weights), arch, dtype=jnp.bfloat16)
    assert params["blocks"]["wo"].dtype == jnp.bfloat16
    states = np.asarray(jax.jit(text.make_apply(arch, "bfloat16"))(params, ids, mask))
    assert states.dtype == jnp.bfloat16
    ours = states.astype(np.float32)
    assert np.isfinite(ours).all()
    assert np.linalg.norm(ours - theirs) < 0.03 * np.linalg.norm(theirs)


def test_four_devices_split_columns_and_rows_and_give_the_states_of_one():
    flags = "--xla_force_host_platform_device_count=4"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-m", "tests.encoders.meshes"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    for mesh, found in json.loads(done.stdout).items():
        fsdp, tensor = {"fsdp 2, tensor 2": (2, 2), "tensor 4": (1, 4), "fsdp 4": (4, 1)}[mesh]
        assert found["difference"] < 1e-5, mesh
        assert found["wi"] == [2, 128 // fsdp, 256 // tensor], mesh  # columns
        assert found["wo"] == [2, 256 // tensor, 128 // fsdp], mesh  # rows
        assert found["q"] == [2, 128 // fsdp, 128 // tensor], mesh
        assert found["bias"] == [32, 4 // tensor], mesh
        assert found["listed"], mesh


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "clip"}, "model_type is 'clip'; it must be one of 't5', 'mt5', 'umt5'"),
        ({"d_model": "48"}, "d_model is '48'; it must be a whole number"),
        ({"feed_forward_proj": "gated-tanh"}, "feed_forward_proj is 'gated-tanh'; it must be one of relu"),
        ({"layer_norm_epsilon": 0}, "layer_norm_epsilon is 0"),
        ({"relative_attention_num_buckets": 30}, "relative_attention_num_buckets is 30"),
    ],
)
def test_a_config_of_another_network_is_one_line(changes, message):
    facts = {"model_type": "t5", **folders.SMALL} | changes
    with pytest.raises(ValueError, match=message) as caught:
        t5.read_architecture(facts, "config.json")
    assert "\n" not in str(caught.value)
