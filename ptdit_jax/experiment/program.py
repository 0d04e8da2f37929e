"""The programs of a training run over a mesh: the first state, and the step; compiled by `train`, measured by `plan`.

Shapes: B samples a step over all devices, C channels, F frames, H height, W width, L text tokens, E text features.
"""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import jax
import optax
from jax.sharding import Mesh, NamedSharding

from ptdit_jax.experiment import live_text
from ptdit_jax.experiment.build import Experiment
from ptdit_jax.parallel.chips import GIB, Machine
from ptdit_jax.parallel.rules import batch_sharding, param_shardings, replicated
from ptdit_jax.training import denoising, optimizer, state, step
from ptdit_jax.training.state import Guard, TrainState


@dataclasses.dataclass(frozen=True)
class Program:
    """What is compiled, and the shapes, dtypes and places of what it is called with.

    Attributes:
      init: key -> `TrainState`, jitted, every array made where it belongs.
      step: (state, batch, key) -> (state, metrics), jitted, the state donated; see `training.step.make_step`.
      state: abstract, with shardings.
      batch: abstract, with shardings: x (B, C, F, H, W) float32 and, by the model's condition, label (B,) int32 or
        text (B, L, E) float32 and text_mask (B, L) bool.
      key: abstract.
      batch_sharding: of every array of a batch.
      frozen: abstract, with shardings, what the step is called with after the key: the parameters of a live text
        encoder, whose batches have ids (B, L) int32 in the place of text.
    """

    init: Callable[[jax.Array], TrainState]
    step: Any
    state: Any
    batch: dict[str, jax.ShapeDtypeStruct]
    key: Any
    batch_sharding: NamedSharding
    frozen: tuple[Any, ...] = ()

    @property
    def parameters(self) -> int:
        """Trained numbers of the network."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.state.params))

    @property
    def state_bytes(self) -> int:
        """Of the state, on one device."""
        return _bytes(self.state)

    @property
    def frozen_bytes(self) -> int:
        """Of a live text encoder, on one device; 0 without one."""
        return _bytes(self.frozen)

    def lower(self) -> Any:
        """The step, traced; `.compile()` gives the executable."""
        return self.step.lower(self.state, self.batch, self.key, *self.frozen)


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of one chip; what is donated is an argument and an output in one place, and counts once."""

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int

    @property
    def total(self) -> int:
        """All that lies in memory while the step runs."""
        return self.arguments + self.outputs - self.aliased + self.temporaries + self.code


def make_program(config: Any, experiment: Experiment, mesh: Mesh) -> Program:
    """The programs of a valid config.

    Args:
      config: the whole config.
      experiment: what it describes, built for this mesh; with `compression.by_time`, one of its parts.
      mesh: the devices; those of a compile-only topology serve too.
    """
    assert not experiment.parts, "a step has one ratio: make the programs of `by_time.split`"
    place, whole = batch_sharding(mesh), replicated(mesh)
    direction = optimizer.make_direction(config.optimizer)

    def init(key: jax.Array) -> TrainState:
        return state.create(experiment.init(key), direction, config.train.ema_decays)

    key = jax.eval_shape(lambda: jax.random.key(0, impl=config.numerics.prng))
    abstract = jax.eval_shape(init, key)
    shardings = state_shardings(abstract, param_shardings(experiment.abstract, mesh), direction, mesh)
    # Losses of different times do not compare: the log says which ratio, and so which times, a batch had.
    told = {"window_tokens": experiment.layout.window_tokens} if experiment.objective.spans else {}
    train_step = step.make_step(
        denoising.make_draw(
            experiment.objective,
            null=experiment.null,
            condition_dropout=config.train.condition_dropout,
        ),
        denoising.make_loss(experiment.network, experiment.objective, told),
        direction,
        optimizer.make_schedule(config.optimizer, config.train.steps),
        ema_decays=config.train.ema_decays,
        accumulate=config.optimizer.accumulate,
        explode_factor=config.train.explode_factor,
        constrain=lambda inputs: jax.lax.with_sharding_constraint(inputs, batch_sharding(mesh, leading=1)),
    )
    return Program(
        init=jax.jit(init, out_shardings=shardings),
        step=jax.jit(
            live_text.encoding_first(train_step, config, mesh),
            donate_argnums=0,
            out_shardings=(shardings, whole),
        ),
        state=jax.tree.map(_placed, abstract, shardings),
        batch={
            name: jax.ShapeDtypeStruct((config.data.batch, *shape), dtype, sharding=place)
            for name, (shape, dtype) in experiment.batch.items()
        },
        key=_placed(key, whole),
        batch_sharding=place,
        frozen=live_text.abstract(config, mesh),
    )


def check_state(program: Program, config: Any, machine: Machine) -> None:
    """Refuse a state that a device cannot hold, before it is made.

    Args:
      program: of the config.
      config: the whole config; `mesh.check_memory` may insist.
      machine: where it is to run.

    Raises:
      ValueError: its exact size is above the memory of a device.
    """
    needed, has = program.state_bytes + program.frozen_bytes, machine.device_bytes
    if config.mesh.check_memory and needed > has:
        encoder = f" and the text encoder ({program.frozen_bytes / GIB:,.1f})" if program.frozen_bytes else ""
        raise ValueError(
            f"parameters, averages and moments{encoder} need {needed / GIB:,.1f} GiB of a device, which has "
            f"{has / GIB:,.1f}: a smaller network, fewer train.ema_decays, or mesh.fsdp over more devices need less "
            "(mesh.check_memory=False insists)"
        )


def compile_step(program: Program) -> tuple[Any, Memory]:
    """The executable of a training step, and what a device needs for it."""
    compiled = program.lower().compile()
    stats = compiled.memory_analysis()
    memory = Memory(
        arguments=stats.argument_size_in_bytes,
        outputs=stats.output_size_in_bytes,
        aliased=stats.alias_size_in_bytes,
        temporaries=stats.temp_size_in_bytes,
        code=stats.generated_code_size_in_bytes,
    )
    return compiled, memory


def out_of_memory(message: str) -> float | None:
    """Bytes that the compiler wanted, from "Ran out of memory in memory space hbm. Used 17.5G of 15.75G hbm."."""
    match = re.search(r"memory space hbm\. Used ([\d.]+)([KMGT]?) of", message)
    return float(match[1]) * 1024 ** " KMGT".index(match[2] or " ") if match else None


def state_shardings(
    state: TrainState, params: dict[str, Any], direction: optax.GradientTransformation, mesh: Mesh
) -> Any:
    """A `TrainState` of shardings: averages and moments lie where their parameters do.

    Args:
      state: abstract.
      params: from `param_shardings`.
      direction: the transformation that `state.opt_state` belongs to.
      mesh: the devices.
    """
    whole: Any = replicated(mesh)
    return TrainState(
        step=whole,
        params=params,
        opt_state=optax.tree.map_params(
            direction, lambda _, place: place, state.opt_state, params, transform_non_params=lambda _: whole
        ),
        emas={name: params for name in state.emas},
        guard=Guard(whole, whole),
    )


def _bytes(tree: Any) -> int:
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def _placed(leaf: jax.ShapeDtypeStruct, where: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
