"""What every point of a sweep costs, before anything is trained: compiled and timed in a process of its own.

    python -m ptdit_jax.sweep.plans [--topology NAME] [--limit BYTES] [--jobs N] < configs > plans

reads a config a line, as JSON, and answers each with a line.  The process ends before the first run starts, which
needs the accelerator for itself, and leaves its programs in the compilation cache, where the runs find them.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tqdm

from ptdit_jax import cli, files
from ptdit_jax import config as rules
from ptdit_jax.diffusion.samplers import make_sampler
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.program import Program, compile_step, make_program, out_of_memory
from ptdit_jax.models import complexity
from ptdit_jax.parallel import chips, topology
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.processes import environment
from ptdit_jax.sweep.points import Point, Sweep, some
from ptdit_jax.text_tables import table, triple

MIB = 2**20
TIMED_STEPS, TIMED_SECONDS = 8, 4.0  # a program is timed until either is reached
START = (
    15.0  # seconds of a run outside its steps and samples, on two CPU cores with compiled programs at hand
)
OUTSIDE_STEP = (
    "seed",
    "train.init_from",
    "train.log_every",
    "data.path",
    "checkpoint.",
    "sampling.",
    "evaluation.",
)
"""Fields that do not change the training step."""


@dataclasses.dataclass(frozen=True)
class Figures:
    """What follows from a config alone.

    Attributes:
      parameters: of the network.
      macs: multiply-accumulates of one forward pass of one sample.
      tokens: N.
      window: (p_f, p_h, p_w); None for a network without.
    """

    parameters: int
    macs: int
    tokens: int
    window: tuple[int, int, int] | None

    @property
    def ratio(self) -> int | None:
        """p, tokens a window."""
        return math.prod(self.window) if self.window else None


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the compiler and a few steps say about a config.

    Attributes:
      memory: bytes a device needs for the training step: state, gradients, activations, program.  Of a step that was
        not compiled, because its state alone is over the limit, or because the compiler gave up: what is known.
      limit: bytes that it has.
      step_seconds: of a step on this machine, or what a chip of a topology needs at least; nan where not known.
    """

    memory: float
    limit: float
    step_seconds: float

    @property
    def fits(self) -> bool:
        """Whether a device holds the step."""
        return self.memory <= self.limit

    def seconds(self, config: Any) -> float:
        """Of the whole run, sampling and start included; samples at the speed of a third of a training step."""
        sampling = config.sampling
        rows = make_sampler(rules.make_objective(config), sampling.sampler, steps=sampling.steps).evaluations
        judged = 0 if config.evaluation.name == "none" else config.evaluation.count
        passes = rows * max(sampling.count, judged) * (1 if sampling.guidance == 1 else 2)
        return START + self.step_seconds * (config.train.steps + passes / (3 * config.data.batch))


def figures(config: Any) -> Figures:
    """What follows from a valid config alone."""
    text = _step_fields(config)
    if text not in _FIGURES:
        arch, data = rules.architecture(config), config.data
        network = complexity.abstract(arch)
        ratio, _ = rules.layout(config)
        layout = network.layout((data.frames, data.height, data.width), ratio, config.compression.proxy)
        window = layout.window if config.model.family == "ptdit" else None  # others have no such windows
        macs = complexity.total(complexity.forward(arch, layout, config.model.text_length)).total
        _FIGURES[text] = Figures(complexity.parameters(network), macs, math.prod(layout.grid), window)
    return _FIGURES[text]


_FIGURES: dict[str, Figures] = {}
"""By `_step_fields`: seeds share them."""


def plan(
    sweep: Sweep,
    *,
    machine: str | None,
    limit: float,
    jobs: int,
    environment: Mapping[str, str],
    only_known: bool = False,
) -> dict[str, Plan]:
    """The plan of each point; those made before are kept in the sweep's folder.

    Args:
      sweep: valid points.
      machine: a topology to plan for; None for this machine.
      limit: bytes a device has for a run; 0 = what it says itself, over `jobs`.
      jobs: runs at a time.
      environment: variables of the process that compiles, as for the runs.
      only_known: make no new ones.

    Raises:
      RunError: the compiler fails.
    """
    path = sweep.workdir / "plans.json"
    known: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
    keys = {point.name: _key(point.config, machine, [limit, jobs], environment) for point in sweep.points}
    missing: dict[str, Point] = {}
    for point in sweep.points:
        if keys[point.name] not in known:
            missing.setdefault(keys[point.name], point)
    if missing and not only_known:
        sweep.workdir.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "ptdit_jax.sweep.plans", f"--limit={limit:.0f}", f"--jobs={jobs}"]
        command += [f"--topology={machine}"] if machine else []
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(environment)
        ) as worker:
            assert worker.stdin is not None
            assert worker.stdout is not None
            bar = tqdm.tqdm(missing.items(), desc="plan", unit="network", dynamic_ncols=True)
            for key, point in bar:
                bar.set_postfix_str(point.name)
                try:
                    print(json.dumps(point.config.to_dict()), file=worker.stdin, flush=True)
                    answer = json.loads(worker.stdout.readline() or "null")
                except BrokenPipeError:
                    answer = None
                if answer is None:
                    code = worker.wait()
                    code = code if code == cli.USER_ERROR else cli.FAILURE
                    raise cli.RunError(f"{point.name}: its plan could not be made; see above", code=code)
                if "error" in answer:
                    raise ValueError(f"{point.name}: {answer['error']}")
                known[key] = answer
                files.write(path, lambda draft: draft.write_text(json.dumps(known, indent=1)))
            worker.stdin.close()
    if only_known:  # however the sweep was run
        keys = {name: next((k for k in known if k.startswith(key[:16])), key) for name, key in keys.items()}
    return {name: Plan(**known[key]) for name, key in keys.items() if key in known}


def report(sweep: Sweep, plans: Mapping[str, Plan], jobs: int) -> str:
    """Every point with its figures, and the time of all, in Markdown."""
    rows, total = [], 0.0
    for point in sweep.points:
        known = figures(point.config)
        planned = plans.get(point.name, Plan(math.nan, math.inf, math.nan))
        seconds = planned.seconds(point.config)
        total += seconds
        rows.append(
            [
                point.name,
                f"{known.parameters:,}",
                f"{known.macs / 1e6:,.1f}",
                f"{known.tokens:,}",
                triple(known.window) if known.window else "",
                _known(planned.memory / MIB, ",.0f")
                + (" does not fit" if planned.memory > planned.limit else ""),
                _known(1e3 * planned.step_seconds, ",.1f"),
                f"{point.config.train.steps:,}",
                _known(seconds / 60, ",.1f"),
                point.after or "",
            ]
        )
    header = [
        "point",
        "parameters",
        "M MACs",
        "tokens",
        "window",
        "MiB a device",
        "ms a step",
        "steps",
        "minutes",
    ]
    has_order = any(point.after for point in sweep.points)
    header, rows = ([*header, "starts from"], rows) if has_order else (header, [row[:-1] for row in rows])
    text = f"{table(header, rows)}\n\nMACs: one forward pass of one sample."
    if not plans:
        return f"{text}  Memory and time are not known for machines that are neither here nor given by --topology."
    limit = next(iter(plans.values())).limit
    return (
        f"{text}  Memory: the compiled training step, of {limit / MIB:,.0f} MiB that a device has for a run.  Time: "
        "steps as timed here with nothing else running (for a topology: what its chips need at least), samples by the "
        f"same speed, and {START:.0f} s of start.\n\n{len(rows)} runs, "
        f"{duration(total / jobs)} in all, {jobs} at a time."
    )


def check(sweep: Sweep, plans: Mapping[str, Plan]) -> None:
    """That every point fits.

    Raises:
      ValueError: naming those that do not.
    """
    big = [point for point in sweep.points if point.name in plans and not plans[point.name].fits]
    if big:
        worst = max((plans[point.name] for point in big), key=lambda plan: plan.memory)
        raise ValueError(
            f"{some([point.name for point in big])}: the training step needs up to {worst.memory / MIB:,.0f} MiB of a "
            f"device's {worst.limit / MIB:,.0f}; smaller data.batch, larger optimizer.accumulate, "
            "or model.remat='block' need less"
        )


def _known(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def duration(seconds: float) -> str:
    """In minutes, or hours where it is more than two."""
    if math.isnan(seconds):
        return "unknown time"
    return f"{seconds / 3600:,.1f} h" if seconds > 7200 else f"{seconds / 60:,.0f} min"


def _step_fields(config: Any) -> str:
    """What the training step depends on."""
    return json.dumps({f: v for f, v in rules.flatten(config).items() if not f.startswith(OUTSIDE_STEP)})


def _key(config: Any, machine: str | None, options: Sequence[float], environment: Mapping[str, str]) -> str:
    """What a plan depends on, as a short text: the step, and where it runs."""
    where = [machine, options, environment.get("NPROC", str(os.cpu_count())), jax.__version__]
    texts = _step_fields(config), json.dumps(where)
    return "-".join(hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts)


def _answer(config: Any, machine: str | None, limit: float, jobs: int) -> dict[str, float]:
    """A `Plan` of a config, in the process that compiles."""
    if machine:
        devices = topology.devices(topology.parse(machine))
    else:
        devices = environment.devices()
    rules.validate(config, devices=len(devices), check_data=False)
    chip = chips.lookup(devices[0].device_kind)
    limit = limit or (chip.hbm_bytes if chip else environment.host_memory()) / jobs
    mesh = make_mesh(config.mesh, devices)
    program = make_program(config, build(config, mesh=mesh), mesh)
    state = sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(program.state)
    )
    if state > limit:
        return dataclasses.asdict(Plan(state, limit, math.nan))
    try:
        compiled, memory = compile_step(program)
    except jax.errors.JaxRuntimeError as error:
        if (needed := out_of_memory(str(error))) is None:
            raise
        return dataclasses.asdict(Plan(needed, limit, math.nan))
    seconds = math.nan
    if not machine and memory.total <= limit:
        seconds = _time(program, compiled, config.numerics.prng)
    elif chip:
        macs = 3 * config.data.batch * figures(config).macs / len(devices)
        seconds = 2 * macs / chip.flops_bf16
    return dataclasses.asdict(Plan(memory.total, limit, seconds))


def _time(program: Program, compiled: Any, prng: str) -> float:
    """Seconds of a step, the median of a few after the first, on arrays of zeros."""

    def zeros(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        return jax.device_put(np.zeros(leaf.shape, leaf.dtype), leaf.sharding)

    state, batch = jax.tree.map(zeros, (program.state, program.batch))
    key = jax.device_put(jax.random.key(0, impl=prng), program.key.sharding)
    times: list[float] = []
    while len(times) <= TIMED_STEPS and sum(times) < TIMED_SECONDS:
        began = time.perf_counter()
        state, _ = compiled(state, batch, key)
        jax.block_until_ready(state)
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:] or times))


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
            answer: dict[str, Any] = _answer(
                rules.from_json(line), options.topology, options.limit, options.jobs
            )
        except ValueError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main(sys.argv[1:])))
