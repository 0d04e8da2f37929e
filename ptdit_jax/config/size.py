"""What a config needs at the very least, by arithmetic alone: what no memory holds is refused before it is built.

All figures are lower bounds: what is above one cannot work, what is below may still be too large, which the exact
shapes of `experiment.program`, `python -m ptdit_jax.cost` and the compiler tell.

Shapes: N tokens, D width.
"""

import math
from collections.abc import Iterator

import ml_dtypes  # noqa: F401  # numpy knows bfloat16 by it
import numpy as np

from ptdit_jax.config.derived import Config, architecture, layout
from ptdit_jax.parallel.axes import AXES, RULES, filled
from ptdit_jax.parallel.chips import GIB, Machine, host_memory

FLOAT = 4  # bytes
MOST_PARAMETERS = 10**13  # of a network for a machine that is not known; no published one has as many
INSIST = "mesh.check_memory=False insists"
INSIST_SAMPLING = "--insist tries"


def network_problems(
    config: Config, frames: int = 0, height: int = 0, width: int = 0, insist: str = INSIST
) -> Iterator[str]:
    """What no machine holds, and what this host cannot describe, a line each; see `sampling_problems` for the sizes."""
    if not config.mesh.check_memory:
        return
    data = config.data
    largest, parameters = _parameters(config)
    if parameters > MOST_PARAMETERS:
        yield f"{largest}: at least {parameters:.3g} parameters, more than any machine holds ({insist})"
    tokens, host = _tokens(config, frames, height, width), host_memory()
    if tokens > host:  # a mask of one byte a token, `Windowing.valid`, is made there
        yield (
            f"data.frames={frames or data.frames}, data.height={height or data.height}, data.width="
            f"{width or data.width}: a mask of {tokens:.3g} tokens alone needs {_gib(tokens, 'the host', host, insist)}"
        )


def training_problems(config: Config, machine: Machine | None) -> Iterator[str]:
    """Why a network cannot be trained as a config says, a line each.

    Args:
      config: the whole config, its network and mesh valid.
      machine: what it is for; None where that is not known: then only what no machine holds is told.
    """
    if not config.mesh.check_memory:
        return
    tokens, problems = _tokens(config), list(network_problems(config))
    yield from problems
    if machine is None or problems:
        return
    sizes = filled({axis: config.mesh[axis] for axis in AXES}, machine.devices)
    data = config.data
    largest, parameters = _parameters(config)
    copies = 4 + len(config.train.ema_decays)  # the parameters, their gradients and two moments, and averages
    state = FLOAT * copies * parameters / (sizes["fsdp"] * sizes["tensor"] * sizes["context"])
    if state > machine.device_bytes:
        yield (
            f"{largest}: parameters, averages, moments and gradients alone need "
            f"{_gib(state, 'a device', machine.device_bytes)}"
        )
    micro = data.batch / config.optimizer.accumulate / math.prod(sizes[axis] for axis in RULES["batch"])
    step = micro * (_sample(config) + _stream(config, tokens) / sizes["context"])
    if step > machine.device_bytes:
        yield (
            f"data.batch={data.batch} with optimizer.accumulate={config.optimizer.accumulate}: {micro:.3g} samples "
            f"of a micro-batch alone need {_gib(step, 'a device', machine.device_bytes)}"
        )
    waiting = _sample(config) * data.batch / machine.processes * data.prefetch
    if waiting > machine.host_bytes:
        yield (
            f"data.batch={data.batch} with data.prefetch={data.prefetch}: the batches that wait need "
            f"{_gib(waiting, 'the host', machine.host_bytes)}"
        )
    asked = {"sampling.count": config.sampling.count}
    if config.evaluation.name != "none":
        asked["evaluation.count"] = config.evaluation.count
    for field, count in asked.items():
        yield from _samples(config, field, count, machine, INSIST)


def sampling_problems(
    config: Config, machine: Machine, *, count: int, frames: int = 0, height: int = 0, width: int = 0
) -> Iterator[str]:
    """Why samples cannot be made, a line each.

    Args:
      config: the whole config, its network valid.
      machine: where they are made; each device holds the network whole.
      count: samples.
      frames: latent frames; 0 = those of `config.data`, here and below.
      height: latent rows.
      width: latent columns.
    """
    if not config.mesh.check_memory:
        return
    problems = list(network_problems(config, frames, height, width, INSIST_SAMPLING))
    yield from problems
    if problems:
        return
    largest, parameters = _parameters(config)
    if FLOAT * parameters > machine.device_bytes:
        needs = _gib(FLOAT * parameters, "a device", machine.device_bytes, INSIST_SAMPLING)
        yield f"{largest}: the parameters need {needs}"
    yield from _samples(config, "--count", count, machine, INSIST_SAMPLING, frames, height, width)
    together = min(config.sampling.batch, count) / machine.devices
    step = together * _stream(config, _tokens(config, frames, height, width))
    if step > machine.device_bytes:
        yield (
            f"sampling.batch={config.sampling.batch}: {together:.3g} samples together need "
            f"{_gib(step, 'a device', machine.device_bytes, INSIST_SAMPLING)}"
        )


def _parameters(config: Config) -> tuple[str, int]:
    """The fields that most parameters come from, and the number of parameters at least."""
    arch = architecture(config)
    block = (4 + 2 * arch.mlp_ratio) * arch.width**2  # of one attention and the MLP, which every family has
    parts = {
        f"model.depth={arch.depth}, model.width={arch.width}": arch.depth * block,
        f"model.classes={arch.classes}": arch.classes * arch.width if arch.condition == "class" else 0,
        f"model.text_dim={arch.text_dim}": arch.text_dim * arch.width if arch.condition == "text" else 0,
    }
    return max(parts, key=lambda part: parts[part]), sum(parts.values())


def _tokens(config: Config, frames: int = 0, height: int = 0, width: int = 0) -> int:
    _, tokens = layout(config, frames=frames, height=height, width=width)
    return math.prod(tokens.grid)


def _stream(config: Config, tokens: int) -> int:
    """Bytes of the residual stream (N, D) of one sample, in the compute dtype."""
    arch = architecture(config)
    return tokens * arch.width * np.dtype(arch.compute_dtype).itemsize


def _sample(config: Config) -> int:
    """Bytes of one record of a batch."""
    data, model = config.data, config.model
    text = model.text_length * model.text_dim if model.condition == "text" else 0
    return FLOAT * (model.channels * data.frames * data.height * data.width + text)


def _samples(
    config: Config,
    field: str,
    count: int,
    machine: Machine,
    insist: str,
    frames: int = 0,
    height: int = 0,
    width: int = 0,
) -> Iterator[str]:
    """Why the host cannot hold this number of samples."""
    data = config.data
    size = (frames or data.frames) * (height or data.height) * (width or data.width)
    needed = FLOAT * config.model.channels * size * count
    if needed > machine.host_bytes:
        yield f"{field}={count}: the samples need {_gib(needed, 'the host', machine.host_bytes, insist)}"


def _gib(needed: float, holder: str, has: float, insist: str = INSIST) -> str:
    return f"{needed / GIB:,.1f} GiB, and {holder} has {has / GIB:,.1f} ({insist})"
