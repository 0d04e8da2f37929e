"""Train a model.

    python -m ptdit_jax.train [--config FILE] [--config.FIELD=VALUE ...] [--workdir DIR] [--debug]
        [--coordinator HOST:PORT --processes N --process-id I | --cluster auto] [--start-timeout S] [--step-timeout S]

FILE is a file like those in configs/ (default: configs/c2i_digits.py), FIELD a field of configs/common.py.
DIR, `runs/NAME` for a config NAME.py, gets everything:

    config.json  checkpoints/  metrics.csv  tensorboard/  null_text.npz (with text: the empty caption)
    loss.png  samples.png (for videos .gif too)  evaluation.json
    profile/ (with profile.steps)  hang-pI.txt (stacks of process I, when a step took too long)
    bad_step_STEP.json (the records of a step that was not finite though they are)

The same command again continues where the run was, from its last checkpoint and with the same results as if
it had never ended; a run that is done only makes those pictures and figures that are missing.

A run of several processes starts each with its own I (HOST is where process 0 runs, and PORT is free there), or with
`--cluster auto` under SLURM, Open MPI, Cloud TPU or Kubernetes; `launch/run.sh --simulate` starts some on one machine.

Exit code: 0 done; 1 the run cannot go on (disk, memory, divergence); 2 the command or the config is wrong;
143 and 130 after SIGTERM and Ctrl-C to any process, which save a checkpoint first (a second one ends at once);
75 another process did not come within --start-timeout seconds (300), was lost or has failed; 76 a step took longer
than --step-timeout seconds (0 = no limit; the first may take --start-timeout longer).  After 75 and 76 the same
command may be tried again, on all processes.
"""

import collections
import dataclasses
import functools
import json
import math
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines import make_loader
from ptdit_jax import cli, files
from ptdit_jax import config as rules
from ptdit_jax.experiment import by_time, judging, live_text, null_text, records, results, shapes
from ptdit_jax.experiment.build import attention_line
from ptdit_jax.experiment.initial import Initial, find_initial
from ptdit_jax.experiment.program import check_state, make_program
from ptdit_jax.parallel import chips
from ptdit_jax.parallel.mesh import connect, data_share, make_mesh
from ptdit_jax.processes import distributed, environment, signals, watchdog
from ptdit_jax.training import checkpoint, metrics, profile, state


def main(config: Any, workdir: Path, launch: distributed.Launch = distributed.ALONE) -> int:
    """Train, then sample and evaluate; returns the exit code.

    Args:
      config: the whole config.
      workdir: the run's folder.
      launch: how the run was started; its timeouts count here.
    """
    distributed.meet("start JAX's devices")
    devices = environment.devices()
    if jax.process_index() == 0:
        print(f"devices: {environment.describe(devices, chips.host_memory())}", flush=True)
    rules.validate(config, machine=chips.here())
    shapes.check_data(config)
    distributed.meet("connect their devices")
    connect(make_mesh(config.mesh))
    cache = cli.enable_compilation_cache()
    files.make_folder(workdir, "--workdir")
    kept = config.checkpoint
    with checkpoint.Checkpoints(
        workdir / "checkpoints", keep=kept.keep, on_damage=kept.on_damage
    ) as checkpoints:
        if checkpoints.last is not None:
            saved = rules.from_json(json.dumps(checkpoint.load_config(checkpoint.find(workdir))))
            if conflicts := rules.conflicts(saved, config):
                rule = f"{workdir} cannot be continued with another config; use another --workdir, or undo:"
                raise ValueError("\n  ".join([rule, *conflicts]))
        is_new = checkpoints.last is None  # a run that goes on has its own parameters
        initial = find_initial(config) if is_new and config.train.init_from else None
        null = null_text.of_data(config)
        if null is not None:
            null_text.keep(config, workdir, null, started=not is_new)
        if jax.process_index() == 0:
            files.write(workdir / "config.json", lambda draft: draft.write_text(rules.to_json(config)))
            print(f"run folder: {workdir}/" + (f"  (compiled programs: {cache})" if cache else ""))
            for line in rules.warnings(config):
                print(f"warning: {line}", file=sys.stderr)
        return train(config, workdir, checkpoints, launch, null, initial)


def train(
    config: Any,
    workdir: Path,
    checkpoints: checkpoint.Checkpoints,
    launch: distributed.Launch,
    null: null_text.NullText | None,
    initial: Initial | None,
) -> int:
    """Train on from the last checkpoint, then sample and evaluate; returns the exit code."""
    began = time.perf_counter()
    is_host = jax.process_index() == 0

    # --- mesh
    mesh = make_mesh(config.mesh)

    # --- model and data
    data = config.data
    experiments = shapes.build_all(config, mesh=mesh, null_text=null)
    experiment = next(iter(experiments.values()))  # of the shape of `config.data`, which samples have
    if (checkpoints.last or 0) < config.train.steps:
        records.look(config)
    part, parts = data_share(mesh, data.batch)
    loader = make_loader(
        data,
        seed=config.seed,
        classes=experiment.classes,
        text=experiment.text,
        tokens=live_text.tokens(config),
        posterior=config.autoencoder.posterior,
        process_index=part,
        process_count=parts,
    )

    # --- state
    steps_of = by_time.split(experiments)
    programs = {key: make_program(config, each, mesh) for key, each in steps_of.items()}
    program = programs[experiment.shape, 0]
    check_state(program, config, chips.here())
    frozen = live_text.params(config, mesh) if (checkpoints.last or 0) < config.train.steps else ()
    init_key, run_key = jax.random.split(jax.random.key(config.seed, impl=config.numerics.prng))
    done, best = 0, None
    if checkpoints.last is None:
        train_state = program.init(init_key)
        if initial is not None:
            params = initial.load(train_state.params)
            emas = {name: jax.tree.map(jnp.copy, params) for name in train_state.emas}
            train_state = dataclasses.replace(train_state, params=params, emas=emas)
    else:
        train_state, progress = checkpoints.restore(program.state)
        loader.set_state(progress.data)
        run_key = jax.random.wrap_key_data(jnp.array(progress.key, jnp.uint32), impl=config.numerics.prng)
        done, best = progress.step, progress.best
    key_data = checkpoint.key_data(run_key)
    wrap = functools.partial(jax.random.wrap_key_data, impl=config.numerics.prng)
    place_key = jax.jit(wrap, out_shardings=program.key.sharding)
    run_key = place_key(np.array(key_data, np.uint32))  # the same on every process
    if is_host:
        count = program.parameters
        where = f"from {checkpoints.last_path}" if done else initial.line if initial else "from the start"
        tokens, window = math.prod(experiment.layout.grid), experiment.layout.window
        size = f"{count / 1e6:.2f} M parameters, {tokens} tokens, window {window}"
        print(f"{config.model.family}: {size}, {mesh.devices.size} device(s), {where}")
        print(attention_line(config, mesh))

    # --- step
    steps = config.train.steps
    if done < steps:
        if is_host:
            results.clear(workdir)
        compiled = shapes.compile_all(config, experiments, programs)
        interim = (
            judging.Interim(config, workdir, experiment, mesh, best) if config.evaluation.every else None
        )
        works = {key: shapes.work_of_step(config, each) for key, each in steps_of.items()}

        # --- loop
        pending = collections.deque()  # steps whose metrics are still on their way

        def settle(left: int) -> None:
            """Record finished steps until `left` are pending; the device works on those meanwhile."""
            while len(pending) > left:
                number, key, indices, values = pending.popleft()
                values = jax.device_get(values)
                hang.beat(number)
                log.write(number, values, works[key])
                if values["skipped"]:
                    bad_step(config, workdir, log, checkpoints, number, indices, values)

        def fetch() -> tuple[np.ndarray, shapes.Shape, dict[str, jax.Array], dict[str, Any]]:
            """The next batch on its way to the devices: records, shape, arrays, and the loader's state after it."""
            with log.waiting("data"):
                batch = next(loader)
            arrays = {
                name: jax.make_array_from_process_local_data(program.batch_sharding, batch[name])
                for name in program.batch
            }
            return batch["index"], batch["x"].shape[1:], arrays, loader.get_state()

        def save(number: int, data_state: dict[str, Any]) -> None:
            settle(0)
            log.sync()
            progress = checkpoint.Progress(number, key_data, data_state, interim and interim.best)
            with log.waiting("checkpoint"):
                checkpoints.save(train_state, progress, json.loads(rules.to_json(config)))

        traced = rules.profiled_steps(config) if is_host else range(0)
        agree = signals.Agreement()
        with (
            signals.StopRequest() as stop,
            profile.Profile(workdir / "profile", traced) as trace,
            watchdog.Watchdog(
                launch.step_timeout,
                workdir / f"hang-p{jax.process_index()}.txt",
                step=done,
                first=launch.start_timeout,
            ) as hang,
            metrics.Progress(
                workdir,
                step=done,
                steps=steps,
                work=works[experiment.shape, 0],
                log_every=config.train.log_every,
                active=is_host,
                seldom=interim.columns if interim else (),
            ) as log,
        ):
            upcoming = fetch()
            for number in range(done + 1, steps + 1):
                indices, shape, batch, data_state = upcoming
                key = by_time.key_of_batch(experiments[shape], config.seed, number)
                with trace.step(number), jax.transfer_guard("disallow"):
                    train_state, values = compiled[key](train_state, batch, run_key, *frozen)
                pending.append((number, key, indices, values))
                if number < steps:
                    upcoming = fetch()  # the devices work on this step meanwhile
                judge = interim if interim is not None and interim.is_due(number) else None
                if judge is not None:
                    settle(1)
                    with hang.paused(), log.apart():
                        figures, line = judge(state.averaged(train_state, config.sampling.ema), number)
                    values |= figures
                    if is_host:
                        log.say(line)
                settle(0 if number == done + 1 or trace.ends_with(number) else 1)
                if number == done + 1:
                    log.say(f"first step after {time.perf_counter() - began:.1f} s")
                if trace.ends_with(number):
                    trace.stop()
                stopping = agree(stop.signal or 0)  # asked once: a signal may come at any time
                if number % config.checkpoint.every == 0 or number == steps or stopping or judge:
                    save(number, data_state)
                checkpoints.check()
                if stopping:
                    break
            checkpoints.wait()
            stopping = stopping or agree.now(stop.signal or 0)
        if stopping:
            if is_host:
                name = signal.Signals(stopping).name
                print(f"{name}: saved in {checkpoints.last_path}; the same command goes on from there")
            return signals.exit_code(stopping)
        if is_host:
            print(f"trained {steps} steps, saved in {checkpoints.last_path}")
            if interim and interim.line:
                print(interim.line)
    elif is_host:
        print(f"training is done: {done} steps in {checkpoints.last_path}")

    # --- finish
    del frozen  # which samples may need the place of
    results.finish(config, workdir, experiment, state.averaged(train_state, config.sampling.ema), mesh)
    return 0


def bad_step(
    config: Any, workdir: Path, log: Any, checkpoints: Any, number: int, batch: np.ndarray, values: dict
) -> None:
    """Say what is wrong with a step whose update was skipped; ends the run unless it is to go on."""
    what = (
        f"step {number}: loss {values['loss']:g}, gradient norm {values['grad_norm']:g}; its update was left "
        f"out.  Batch {number - 1} of data.name={config.data.name!r} with seed={config.seed}: {config.data.batch} "
        f"records.  {records.blame(config, workdir, number, batch)}."
    )
    if config.train.on_nonfinite == "stop":
        checkpoints.wait()
        raise cli.RunError(
            f"{what}  Last good checkpoint: {checkpoints.last_path}.  With --config.train.on_nonfinite=skip "
            "the same command goes on without such steps"
        )
    log.say(what)


def start(argv: Sequence[str]) -> int:
    """Read the command line, meet the other processes and train; returns the exit code."""
    launch, rest = distributed.parse(argv)
    config, workdir, debug = cli.parse(rest, __doc__ or "")
    return cli.run_with_others(launch, lambda: main(config, workdir, launch), debug=debug)


if __name__ == "__main__":
    sys.exit(cli.run(lambda: start(sys.argv)))
