"""The guided step is one program: for every scale, seed and prompt, and on any number of devices."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from ptdit_jax.experiment import live_text, null_text
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.generate import batches, sample_keys
from ptdit_jax.experiment.sampling_steps import Steps
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.sample import conditions
from ptdit_jax.sample.prompts import Prompt
from tests.sample.conftest import parameters, small

ROOT = Path(__file__).parents[2]


def made(steps, params, wanted, seed):
    numbers, samples = zip(*batches(steps, params, wanted, seed=seed, description=None), strict=True)
    np.testing.assert_array_equal(np.concatenate(numbers), np.arange(len(wanted.labels)))
    return np.concatenate(samples)


def prepared(devices=None):
    """Steps, parameters, and what encodes prompts for them."""
    config = small()
    null = null_text.padded(config, live_text.null(config))
    mesh = make_mesh({"data": -1}, devices)
    experiment = build(config, mesh=mesh, null_text=null)

    def ask(*prompts, count=3):
        given = conditions.Conditions(conditions.wanted(prompts, count, 1), null, prompts)
        return given.encoded(config).wanted

    return config, Steps(experiment, config.sampling, mesh), parameters(experiment), ask


def test_nothing_is_compiled_again():
    config, steps, params, ask = prepared()
    first = made(steps, params, ask(Prompt("a three")), seed=1)
    config.sampling.guidance = 5.5
    stronger = made(steps, params, ask(Prompt("a three")), seed=1)
    for wanted, seed in (
        (ask(Prompt("the digit 8", number=4), Prompt("nine", "eight", number=6), count=4), 1),
        (ask(Prompt("a three", seed=9)), 2**32 - 1),
    ):
        made(steps, params, wanted, seed)
    assert steps.traces == {True: 1, False: 0}
    assert np.abs(stronger - first).max() > 1e-2
    config.sampling.guidance = 1.0  # half the work, so another program; once
    for seed in (1, 2):
        made(steps, params, ask(Prompt("a three")), seed)
    assert steps.traces == {True: 1, False: 1}


def test_seeds_of_samples_are_seeds():
    """Large ones too."""
    labels = np.array([3, 4, 3])
    for seed in (0, 7, 2**31, 2**32 - 1):
        one = sample_keys(seed, labels, "threefry2x32")
        many = sample_keys(np.full(3, seed, np.uint32), labels, "threefry2x32")
        np.testing.assert_array_equal(*(np.asarray(jax.random.key_data(keys)) for keys in (one, many)))


def on_devices():
    """Samples of one device and of four, for `test_devices_make_no_difference`."""
    found = []
    for count in (1, 4):
        _, steps, params, ask = prepared(jax.devices()[:count])
        found.append(made(steps, params, ask(Prompt("a three"), Prompt("seven", number=1)), seed=2))
    return float(np.abs(found[1] - found[0]).max()), float(found[0].std())


@pytest.mark.full  # a process that imports and compiles everything again
def test_devices_make_no_difference():
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    }
    code = "import json; from tests.sample import test_steps; print(json.dumps(test_steps.on_devices()))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    difference, spread = json.loads(done.stdout.splitlines()[-1])
    assert difference < 1e-5 < spread


def of_two_blocks(unroll):
    config = small(model__depth=2, model__unroll=unroll)
    null = null_text.padded(config, live_text.null(config))
    mesh = make_mesh({"data": -1}, jax.devices()[:1])
    experiment = build(config, mesh=mesh, null_text=null)
    return Steps(experiment, config.sampling, mesh), parameters(experiment)


def test_blocks_without_a_loop_draw_the_same():
    """Their parameters lie by themselves, and the program takes no slices of them: `models.stack.split_repeats`."""
    _, _, _, ask = prepared()
    wanted = ask(Prompt("a three"))
    looped, params = of_two_blocks(unroll=1)
    unrolled, _ = of_two_blocks(unroll=0)
    drawn = made(looped, params, wanted, seed=1)
    np.testing.assert_allclose(made(unrolled, params, wanted, seed=1), drawn, atol=1e-5)
    shapes = {",".join(map(str, leaf.shape[1:])) for leaf in jax.tree.leaves(params["blocks"])}
    sliced = {True: set(), False: set()}
    for is_split in sliced:
        if not is_split:
            unrolled, _ = of_two_blocks(unroll=0)
            unrolled._split = None
            made(unrolled, params, wanted, seed=1)
        (program,) = [full for full, _ in unrolled._compiled.values()]
        sliced[is_split] = shapes & set(re.findall(r"= f32\[1,([\d,]+)\]\S+ slice\(", program.as_text()))
    assert not sliced[True]
    assert sliced[False]
