"""Which implementation computes what, and that all of them compute the same."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import common
from ptdit_jax import config as rules
from ptdit_jax import models
from ptdit_jax.models.attention import attend, choice, cudnn, resolve, seam, splash, tokens, windows
from ptdit_jax.parallel.chips import Machine
from tests.models import tiny
from tests.models.interpreted import interpret

ROOT = Path(__file__).parents[2]
XL = {"head_width": 72, "dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("platform", "changes", "chosen"),
    [
        ("cpu", {}, "einsum"),
        (None, {}, "einsum"),
        ("gpu", {}, "cudnn"),
        ("gpu", {"dtype": "float32"}, "einsum"),
        ("gpu", {"head_width": 44}, "einsum"),
        ("gpu", {"head_width": 144}, "einsum"),
        ("tpu", {}, "splash"),
        ("tpu", {"dtype": "float32", "head_width": 44}, "splash"),
    ],
)
def test_auto_goes_by_the_platform_and_by_what_it_can_do(platform, changes, chosen):
    assert resolve("auto", platform=platform, **XL | changes) == chosen


@pytest.mark.parametrize(
    ("name", "platform", "changes", "says"),
    [
        ("flash", "gpu", {}, "model.attention='flash' is unknown; it is one of 'auto', 'einsum', 'cudnn'"),
        (
            "cudnn",
            None,
            {"dtype": "float32"},
            "bfloat16 only, not model.compute_dtype='float32'; 'einsum' takes any",
        ),
        ("cudnn", None, {"head_width": 44}, "a multiple of 8, at most 128, not 44; 'einsum' takes any"),
        ("cudnn", "tpu", {}, "model.attention='cudnn' runs on GPUs, not on 'tpu'; 'einsum' takes any"),
        ("splash", "cpu", {}, "model.attention='splash' runs on TPUs, not on 'cpu'; 'einsum' takes any"),
        ("pallas", "gpu", {}, "model.attention='pallas' runs on TPUs, not on 'gpu'; 'einsum' takes any"),
    ],
)
def test_what_cannot_be_is_one_line(name, platform, changes, says):
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        resolve(name, platform=platform, **XL | changes)
    assert "\n" not in str(caught.value)


def test_a_config_is_held_against_the_machine():
    config = common.get_config()
    config.model.attention = "splash"
    rules.validate(config, check_data=False)
    for platform, ok in (("tpu", True), ("cpu", False)):
        machine = Machine(1, 2**36, 1, 2**36, platform)
        if ok:
            rules.validate(config, check_data=False, machine=machine)
        else:
            with pytest.raises(ValueError, match=r"model\.attention='splash' runs on TPUs, not on 'cpu'"):
                rules.validate(config, check_data=False, machine=machine)


def test_an_older_config_has_einsum_and_a_run_may_go_on_with_another():
    fields = json.loads(rules.to_json(common.get_config()))
    del fields["model"]["attention"]
    old = rules.from_json(json.dumps(fields))
    assert rules.architecture(old, platform="tpu").attention == "einsum"
    new = rules.from_json(rules.to_json(old))
    new.model.attention = "auto"
    assert rules.architecture(new, platform="tpu").attention == "splash"
    assert not rules.conflicts(old, new)


def test_a_run_says_what_it_computes_with():
    assert choice.line("einsum", "einsum", "tpu") == "attention: einsum"
    assert choice.line("auto", "splash", "tpu") == (
        "attention: splash, einsum within windows below 128 tokens (model.attention='auto' on tpu)"
    )


# q, k, masks: what is asked of each implementation.
TOKENS = ((2, 6, 2, 8), (2, 5, 2, 8), {})
TEXT = ((2, 6, 2, 8), (2, 5, 2, 8), {"keys": np.ones((2, 5), bool)})
SMALL = ((2, 3, 4, 2, 8), (2, 3, 4, 2, 8), {})
SHIFTED = ((2, 3, 4, 2, 8), (2, 3, 4, 2, 8), {"regions": np.zeros((3, 4), int)})
MANY = ((1, 6, 16, 72), (1, 2048, 16, 72), {})
FRAMES = ((2, 3, 128, 2, 8), (2, 3, 128, 2, 8), {})
LARGE = ((2, 3, 128, 2, 8), (2, 3, 128, 2, 8), {"regions": np.zeros((3, 128), int)})
ODD = ((2, 3, 225, 2, 8), (2, 3, 225, 2, 8), {})
GATHERED = ((2, 3, 4, 2, 8), (2, 3, 8, 2, 8), {"keys": np.ones(8, bool)})


@pytest.mark.parametrize(
    ("implementation", "calls"),
    [
        ("einsum", "EEEEEEEEE"),
        ("cudnn", "CCCEECECE"),
        ("splash", "SSSEESSSE"),
        ("pallas", "TTSPPPPSE"),
    ],
)
def test_who_computes_what(implementation, calls, monkeypatch):
    called = []
    for module, name, letter in (
        (cudnn, "cudnn_attention", "C"),
        (splash, "splash_attention", "S"),
        (tokens, "token_attention", "T"),
        (windows, "window_attention", "P"),
        (seam.einsum, "attention", "E"),
    ):

        def record(q, *others, letter=letter, **masks):
            called.append(letter)
            return q

        monkeypatch.setattr(module, name, record)
    for q, k, masks in (TOKENS, TEXT, MANY, SMALL, SHIFTED, FRAMES, LARGE, ODD, GATHERED):
        arrays = (jnp.zeros(shape) for shape in (q, k, k))
        masks = {name: value if name == "keys" else jnp.asarray(value) for name, value in masks.items()}
        assert attend(*arrays, implementation=implementation, **masks).shape == q
    assert "".join(called) == calls


def test_a_network_computes_the_same_with_kernels(monkeypatch):
    """Proxies, injection, windows, shifted windows and text, padded, under remat and a scan, with gradients."""
    interpret(monkeypatch.setattr)
    results = []
    for attention in ("einsum", "pallas"):
        arch = tiny.architecture("text", attention=attention, remat="attention")
        graphdef, params = nnx.split(tiny.network(arch))
        inputs = tiny.inputs(arch, (1, 12, 10))

        def total(params, graphdef=graphdef, inputs=inputs):
            out = nnx.merge(graphdef, params)(*inputs, window=(1, 2, 2))
            return jnp.sum(jnp.sin(out)), out

        results.append(jax.jit(jax.grad(total, has_aux=True), compiler_options=tiny.FAST)(params))
    jax.tree.map(lambda ours, plain: np.testing.assert_allclose(ours, plain, atol=2e-5), *results[::-1])


def test_kernels_run_inside_shard_map():
    """Also where keys are the same on several devices, whose gradients are then summed."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    }
    command = [sys.executable, "-m", "tests.models.attention_meshes"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert len(found) == 6
    assert max(found.values()) < 2e-5, found


def test_every_network_is_built_with_the_implementation():
    for family in models.FAMILIES:
        arch = tiny.architecture(
            "none", family=family, mediators=(1, 2, 2), attention="splash", attention_chunk=3
        )
        module = tiny.abstract(arch)
        attentions = [m for _, m in nnx.iter_modules(module) if isinstance(m, models.attention.Attention)]
        assert attentions
        assert {(m.implementation, m.chunk) for m in attentions} == {("splash", 3)}
