"""Any mesh gives the numbers of one device: outputs, gradients, and the losses of a training run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.parallel.meshes import KERNELS, LOSSES, cases

ROOT = Path(__file__).parents[2]


def run(name):
    """Figures of `meshes.py NAME`, from a process of its own with 4 virtual devices."""
    flags = "--xla_force_host_platform_device_count=4"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-m", "tests.parallel.meshes", name]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


# One test each, however many meshes: their figures are computed together, and pytest's processes would do it twice.


@pytest.mark.parametrize("which", ["networks", pytest.param("full", marks=pytest.mark.full)])
def test_a_mesh_changes_neither_output_nor_gradients(which, subtests):
    networks = run(which)
    assert list(networks) == list(cases(full=which == "full"))
    for case, found in networks.items():
        with subtests.test(case):
            assert found["output"] < 2e-6
            assert found["gradient"] < 2e-5


@pytest.mark.full
def test_kernels_on_a_mesh_compute_what_einsum_does_on_one_device(subtests):
    kernels = run("kernels")
    assert len(kernels) == 2 * len(KERNELS)
    for case, found in kernels.items():
        with subtests.test(case):
            assert found["output"] < 2e-6
            assert found["gradient"] < 2e-5


@pytest.mark.full
def test_a_mesh_changes_neither_what_is_kept_nor_what_reuses_it():
    for case, differences in run("kept").items():
        assert max(differences) < 2e-6, case


def test_twenty_steps_have_the_same_losses_on_a_mesh_and_arrays_are_split_as_it_says(subtests):
    losses = run("losses")
    assert list(losses) == ["1x1x1x1", *LOSSES]
    alone = losses["1x1x1x1"]["loss"]
    assert alone[-1] < 0.9 * alone[0]
    for mesh in LOSSES:
        with subtests.test(mesh):
            np.testing.assert_allclose(losses[mesh]["loss"], alone, rtol=1e-5)
            _, fsdp, tensor, context = map(int, mesh.split("x"))
            layers, width, hidden = losses[mesh]["kernel"]
            assert losses[mesh]["shard"] == [layers, width // (fsdp * context), hidden // tensor]
            assert losses[mesh]["moment"] == losses[mesh]["shard"]
