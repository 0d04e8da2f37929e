"""The programs of a run, as far as their shapes say."""

import dataclasses

import jax
import pytest

from configs import c2i_digits
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.program import check_state, make_program
from ptdit_jax.parallel import chips
from ptdit_jax.parallel.mesh import make_mesh


def test_a_state_that_a_device_cannot_hold_is_refused_before_it_is_made():
    config = c2i_digits.get_config()
    config.model.update({"depth": 2, "width": 32, "heads": 2})
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    program = make_program(config, build(config, mesh=mesh), mesh)
    state = program.init(jax.random.key(0))
    exact = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert program.state_bytes == exact
    machine = chips.here()
    check_state(program, config, dataclasses.replace(machine, device_bytes=exact))
    with pytest.raises(ValueError, match=r"parameters, averages and moments need .* GiB of a device"):
        check_state(program, config, dataclasses.replace(machine, device_bytes=exact - 1))
    config.mesh.check_memory = False
    check_state(program, config, dataclasses.replace(machine, device_bytes=exact - 1))
