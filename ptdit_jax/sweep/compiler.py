"""The process that compiles and times the points of a sweep before anything is trained.

    python -m ptdit_jax.sweep.compiler [--topology NAME] [--limit BYTES] [--jobs N] < configs > plans

reads a config a line, as JSON, and answers each with a `plans.Plan`, or an error, on a line.  It ends before the first
run starts, which needs the accelerator for itself, and leaves its programs in the compilation cache, where the runs
find them.
"""

import argparse
import dataclasses
import json
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ptdit_jax import cli
from ptdit_jax import config as rules
from ptdit_jax.experiment import by_time, text_cost
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.program import Program, compile_step, make_program, out_of_memory
from ptdit_jax.parallel import chips, topology
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.processes import environment
from ptdit_jax.sweep.counts import count
from ptdit_jax.sweep.plans import Plan

TIMED_STEPS, TIMED_SECONDS = 8, 4.0  # a program is timed until either is reached


def main(argv: Sequence[str]) -> int:
    """Answer each line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--topology")
    parser.add_argument("--limit", type=float, default=0.0)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args(argv)
    if not options.topology:
        environment.devices()  # says what is wrong with them before any plan
    cli.enable_compilation_cache()
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = answer_of(
                rules.from_json(line), options.topology, options.limit, options.jobs
            )
        except ValueError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)
    return 0


def answer_of(config: Any, machine: str | None, limit: float, jobs: int) -> dict[str, float]:
    """A `Plan` of a config, in the process that compiles."""
    if machine:
        devices = topology.devices(topology.parse(machine))
    else:
        devices = environment.devices()
    rules.validate(config, devices=len(devices), check_data=False)
    chip = chips.lookup(devices[0].device_kind)
    limit = limit or (chip.hbm_bytes if chip else chips.host_memory()) / jobs
    mesh = make_mesh(config.mesh, devices)
    experiment = build(config, mesh=mesh)
    programs = [make_program(config, part, mesh) for part in experiment.parts or (experiment,)]
    state = programs[0].state_bytes + programs[0].frozen_bytes
    if state > limit:
        return dataclasses.asdict(Plan(state, limit, math.nan))
    total, seconds = 0, 0.0
    for program, share in zip(programs, by_time.masses(experiment), strict=True):
        try:
            compiled, memory = compile_step(program)
        except jax.errors.JaxRuntimeError as error:
            if (needed := out_of_memory(str(error))) is None:
                raise
            return dataclasses.asdict(Plan(needed, limit, math.nan))
        total = max(total, memory.total)
        if not machine and total <= limit:
            seconds += share * _time(program, compiled, config.numerics.prng)
    if machine or total > limit:
        seconds = math.nan
        if chip:
            text = text_cost.columns(config).get("text_share", 0.0)
            macs = 3 * (1 + text) * config.data.batch * count(config).macs / len(devices)
            seconds = 2 * macs / chip.flops_bf16
    return dataclasses.asdict(Plan(total, limit, float(seconds)))


def _time(program: Program, compiled: Any, prng: str) -> float:
    """Seconds of a step, the median of a few after the first, on arrays of zeros."""

    def zeros(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        return jax.device_put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding)

    state, batch, frozen = jax.tree.map(zeros, (program.state, program.batch, program.frozen))
    key = jax.device_put(jax.random.key(0, impl=prng), program.key.sharding)
    times: list[float] = []
    while len(times) <= TIMED_STEPS and sum(times) < TIMED_SECONDS:
        began = time.perf_counter()
        state, _ = compiled(state, batch, key, *frozen)
        jax.block_until_ready(state)
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:] or times))


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main(sys.argv[1:])))
