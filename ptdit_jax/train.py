"""Train a model.

    python -m ptdit_jax.train [--config FILE] [--config.FIELD=VALUE ...] [--workdir DIR] [--debug]

FILE is a file like those in configs/ (default: configs/c2i_digits.py), FIELD a field of configs/common.py.
DIR, `runs/NAME` for a config NAME.py, gets everything:

    config.json  checkpoints/  metrics.csv  tensorboard/
    loss.png  samples.png (for videos .gif too)  evaluation.json

The same command again continues where the run was, from its last checkpoint and with the same results as if
it had never ended; a run that is done only makes those pictures and figures that are missing.

Exit code: 0 done; 1 the run cannot go on (disk, memory, divergence); 2 the command or the config is wrong;
143 and 130 after SIGTERM and Ctrl-C, which save a checkpoint first (a second one ends at once).
"""

import collections
import dataclasses
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines import make_loader
from ptdit_jax import cli, results
from ptdit_jax import config as rules
from ptdit_jax.experiment import build
from ptdit_jax.parallel.mesh import data_share, make_mesh
from ptdit_jax.program import make_program
from ptdit_jax.training import checkpoint, metrics, signals, state


def main(config: Any, workdir: Path) -> int:
    """Train, then sample and evaluate; returns the exit code."""
    rules.validate(config, devices=jax.device_count())
    cache = cli.enable_compilation_cache()
    workdir.mkdir(parents=True, exist_ok=True)
    with checkpoint.Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep) as checkpoints:
        if checkpoints.last is not None:
            saved = rules.from_json(json.dumps(checkpoint.load_config(checkpoint.find(workdir))))
            if conflicts := rules.conflicts(saved, config):
                rule = f"{workdir} cannot be continued with another config; use another --workdir, or undo:"
                raise ValueError("\n  ".join([rule, *conflicts]))
        if jax.process_index() == 0:
            results.write(workdir / "config.json", lambda draft: draft.write_text(rules.to_json(config)))
            print(f"run folder: {workdir}/  (compiled programs: {cache})")
        return train(config, workdir, checkpoints)


def train(config: Any, workdir: Path, checkpoints: checkpoint.Checkpoints) -> int:
    """Train on from the last checkpoint, then sample and evaluate; returns the exit code."""
    began = time.perf_counter()
    is_host = jax.process_index() == 0

    # --- mesh
    mesh = make_mesh(config.mesh)

    # --- model and data
    data = config.data
    experiment = build(config, mesh=mesh)
    part, parts = data_share(mesh, data.batch)
    loader = make_loader(
        data, seed=config.seed, classes=experiment.classes, process_index=part, process_count=parts
    )

    # --- state
    program = make_program(config, experiment, mesh)
    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    done = 0
    if checkpoints.last is None:
        train_state = program.init(init_key)
        if config.train.init_from:
            source = checkpoint.find(Path(config.train.init_from))
            params = checkpoint.load_params(source, "params", program.state.params)
            emas = {name: jax.tree.map(jnp.copy, params) for name in train_state.emas}
            train_state = dataclasses.replace(train_state, params=params, emas=emas)
    else:
        train_state, progress = checkpoints.restore(program.state)
        loader.set_state(progress.data)
        run_key = jax.random.wrap_key_data(jnp.array(progress.key, jnp.uint32))
        done = progress.step
    if is_host:
        count = sum(leaf.size for leaf in jax.tree.leaves(program.state.params))
        where = "from the start" if done == 0 else f"from {checkpoints.last_path}"
        tokens, window = math.prod(experiment.layout.grid), experiment.layout.window
        size = f"{count / 1e6:.2f} M parameters, {tokens} tokens, window {window}"
        print(f"{config.model.family}: {size}, {mesh.devices.size} device(s), {where}")

    # --- step
    steps = config.train.steps
    if done < steps:
        if is_host:
            results.clear(workdir)
        if is_host:
            print("compiling the training step ...", end=" ", flush=True)
        before = time.perf_counter()
        compiled = program.lower().compile()
        if is_host:
            print(f"{time.perf_counter() - before:.1f} s", flush=True)

        # --- loop
        pending = collections.deque()  # steps whose metrics are still on their way

        def settle(left: int) -> None:
            """Record finished steps until `left` are pending; the device works on those meanwhile."""
            while len(pending) > left:
                number, records, values = pending.popleft()
                values = jax.device_get(values)
                log.write(number, values)
                if values["skipped"]:
                    bad_step(config, log, checkpoints, number, records, values)

        def save(number: int) -> None:
            settle(0)
            log.sync()
            progress = checkpoint.Progress(number, checkpoint.key_data(run_key), loader.get_state())
            checkpoints.save(train_state, progress, json.loads(rules.to_json(config)))

        options = {"images_per_step": data.batch, "log_every": config.train.log_every, "active": is_host}
        with (
            signals.StopRequest() as stop,
            metrics.Progress(workdir, step=done, steps=steps, **options) as log,
        ):
            for number in range(done + 1, steps + 1):
                batch = next(loader)
                on_device = {
                    name: jax.make_array_from_process_local_data(program.batch_sharding, batch[name])
                    for name in program.batch
                }
                train_state, values = compiled(train_state, on_device, run_key)
                pending.append((number, batch["index"], values))
                settle(0 if number == done + 1 else 1)
                if number == done + 1:
                    log.say(f"first step after {time.perf_counter() - began:.1f} s")
                stopping = stop.signal is not None  # asked once: a signal may come at any time
                if number % config.checkpoint.every == 0 or number == steps or stopping:
                    save(number)
                checkpoints.check()
                if stopping:
                    break
            checkpoints.wait()
        if stop.signal:
            print(
                f"{stop.signal.name}: saved in {checkpoints.last_path}; the same command goes on from there"
            )
            return stop.exit_code
        print(f"trained {steps} steps, saved in {checkpoints.last_path}")
    else:
        print(f"training is done: {done} steps in {checkpoints.last_path}")

    # --- finish
    averaged = train_state.emas.get(state.ema_name(config.sampling.ema), train_state.params)
    results.finish(config, workdir, experiment, averaged, mesh)
    return 0


def bad_step(config, log, checkpoints, number: int, records: np.ndarray, values: dict) -> None:
    """Say what is wrong with a step whose update was skipped; ends the run unless it is to go on."""
    some = ", ".join(str(record) for record in records[:8]) + (", ..." if len(records) > 8 else "")
    what = (
        f"step {number}: loss {values['loss']:g}, gradient norm {values['grad_norm']:g}; its update was left "
        f"out.  Batch {number - 1} of data.name={config.data.name!r} with seed={config.seed}: {len(records)} "
        f"records {some}."
    )
    if config.train.on_nonfinite == "stop":
        checkpoints.wait()
        raise cli.RunError(
            f"{what}  Last good checkpoint: {checkpoints.last_path}.  With --config.train.on_nonfinite=skip "
            "the same command goes on without such steps"
        )
    log.say(what)


if __name__ == "__main__":

    def start() -> int:
        """Read the command line and train."""
        config, workdir, debug = cli.parse(sys.argv, __doc__ or "")
        return cli.run(lambda: main(config, workdir), debug=debug)

    sys.exit(cli.run(start))
