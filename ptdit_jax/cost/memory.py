"""What a training step keeps in the memory of one device, by part: traced, not run.

The state is counted from its shapes.  Activations are what JAX's own differentiation of the training loss keeps for
the backward pass under the config's remat policy: the loss is linearised abstractly, and every array that leaves the
forward for the backward pass is put down to the part of the block that made it.  Nothing is allocated.  The backward
pass of a block is taken to need as much again as the block keeps, a gradient for each array, which is a rule and no
count.  What a compiler fuses away or copies is not known here: `python -m benchmarks.memory_estimate` puts XLA's
figures beside these; they were little above, and the farther below, the larger one block's part.
"""

import copy
import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import Literal

from ptdit_jax import config as rules
from ptdit_jax import models
from ptdit_jax.experiment.build import Experiment, build
from ptdit_jax.models.layers import in_compute_dtype
from ptdit_jax.models.stack import REMAT_POLICIES
from ptdit_jax.training import denoising, optimizer
from ptdit_jax.training.step import Draw, Loss

STREAM = "stream"  # the part of what no submodule made: block inputs, norms, modulation, gates, sums
ERROR = 17  # percent between this and what XLA of jax 0.10 needed at most, networks of six blocks in that benchmark
INPUTS = "inputs"  # of the loss: latents, noise, times, condition
ENDS = "ends"  # outside the blocks: embeddings, final layer, loss
HOST = "host"  # offloaded from whichever part
SUBMODULES = {  # submodules of a block whose part of the cost has another name than they have
    "self_attention": "proxies",
    "cross_attention": "injection",
    "expand": "injection",
    "linear_1": "injection",
    "window_attention": "windows",
    "shifted_attention": "shifted",
    "linear_2": "shifted",
    "text_attention": "text",
    "attention": "full",
    "modulation": STREAM,
}

Bytes = dict[str, int]
"""Bytes by part."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on one device that holds the whole network.

    Attributes:
      parameters: float32.
      averages: of the parameters, one for each EMA decay.
      moments: of AdamW.
      gradients: those of blocks in the dtype that they are computed in, others, and sums over micro-batches, float32.
      weights: what the backward pass keeps whatever the batch: weights in the compute dtype, masks.
      saved: by part, kept from the forward to the backward pass, a sample.
      offloaded: kept in the host's memory instead, a sample.
      block: by part, what one block keeps when nothing is computed again, a sample.
      samples: of a micro-batch.
      remat: the policy.
    """

    parameters: int
    averages: int
    moments: int
    gradients: int
    weights: int
    saved: Bytes
    offloaded: int
    block: Bytes
    samples: int
    remat: str

    @property
    def state(self) -> int:
        """What lies in memory between two steps."""
        return self.parameters + self.averages + self.moments

    @property
    def recomputed(self) -> Bytes:
        """By part, of the one block whose backward pass runs, where remat has it computed again, a sample."""
        return {} if self.remat == "none" else self.block

    @property
    def backward(self) -> int:
        """Gradients of that block's activations, a sample: as much as the activations themselves."""
        return sum(self.block.values())

    @property
    def per_sample(self) -> int:
        """What one sample more needs."""
        return sum(self.saved.values()) + sum(self.recomputed.values()) + self.backward

    @property
    def total(self) -> int:
        """During the backward pass of the largest block."""
        return self.state + self.gradients + self.weights + self.samples * self.per_sample


def measure(config: Any, *, frames: int = 0, height: int = 0, width: int = 0) -> Memory:
    """The memory of a valid config's training step; see `policies` for the arguments."""
    remat = config.model.remat
    return policies(config, (remat,), frames=frames, height=height, width=width)[remat]


def policies(
    config: Any,
    names: Iterable[str] = ("none", *REMAT_POLICIES),
    *,
    frames: int = 0,
    height: int = 0,
    width: int = 0,
) -> dict[str, Memory]:
    """The memory of a valid config's training step under each of these remat policies.

    Args:
      config: the whole config; read are all sections but `mesh`.
      names: values of `config.model.remat`.
      frames: latent frames of a sample; 0 = those of `config.data`, here and below.
      height: latent rows.
      width: latent columns.
    """
    config = copy.deepcopy(config)
    data = config.data
    data.frames, data.height, data.width = frames or data.frames, height or data.height, width or data.width
    built, module = build(config), _labelled(config)
    arch, params = module.arch, nnx.to_pure_dict(nnx.split(module, nnx.Param)[1])
    size = _bytes(params)
    collected = _collected(module, size)
    moments = _bytes(jax.eval_shape(optimizer.make_direction(config.optimizer).init, params))
    kept = {remat: _kept(config, built, module, remat) for remat in dict.fromkeys(("none", *names))}
    having = {"shifted": arch.groups}  # blocks that have a part, where not all do
    block = {
        part: count // having.get(part, arch.depth)
        for part, count in kept["none"][0].items()
        if part not in (INPUTS, ENDS)
    }
    return {
        remat: Memory(
            parameters=size,
            averages=len(config.train.ema_decays) * size,
            moments=moments,
            gradients=collected if config.optimizer.accumulate == 1 else size,
            weights=kept[remat][1],
            saved={part: count for part, count in kept[remat][0].items() if part != HOST},
            offloaded=kept[remat][0].get(HOST, 0),
            block=block,
            samples=data.batch // config.optimizer.accumulate,
            remat=remat,
        )
        for remat in names
    }


def _collected(module: models.PTDiT, size: int) -> int:
    """Bytes of the gradients of all parameters, `size` as they are stored, when the loop over blocks ends."""
    graphdef, params = nnx.split(module, nnx.Param)

    def blocks(params: nnx.State, cast: Callable[[nnx.Module], nnx.Module]) -> Any:
        return [nnx.to_pure_dict(nnx.state(cast(block))) for block in nnx.merge(graphdef, params).blocks]

    stored, computed = (
        _bytes(jax.eval_shape(lambda params, cast=cast: blocks(params, cast), params))
        for cast in (lambda block: block, in_compute_dtype)
    )
    return size - stored + computed


class Named(nnx.Module):
    """A submodule whose operations carry the name of its part."""

    def __init__(self, module: nnx.Module, part: str):
        self.module = module
        self.part = part

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As the module."""
        with jax.named_scope(f"part={self.part}"):
            return self.module(*args, **kwargs)  # type: ignore[operator]


def _labelled(config: Any) -> models.PTDiT:
    """The abstract network of a config with every submodule of its blocks named, and blocks that keep everything."""
    window, _ = rules.layout(config)
    config = copy.deepcopy(config)
    config.model.remat = "none"

    def create() -> models.PTDiT:
        network = models.create(
            config.model, window=window, rngs=nnx.Rngs(0), learn_variance=config.diffusion.learn_variance
        )
        for block in network.blocks:
            _label(block)
        return network

    return nnx.eval_shape(create)


def _label(module: nnx.Module) -> None:
    for name, child in list(vars(module).items()):
        if name == "giim" and child is not None:
            _label(child)
        elif isinstance(child, nnx.Module):
            setattr(module, name, Named(child, SUBMODULES.get(name, name)))


def _kept(config: Any, built: Experiment, module: models.PTDiT, remat: str) -> tuple[Bytes, int]:
    """(bytes a sample by part, bytes whatever the batch) that the forward pass leaves to the backward pass.

    One trace has a sample, another two: what does not grow is no sample's.
    """
    # One loop over equal groups of blocks: what they keep is stacked, and known by that.
    module.arch = dataclasses.replace(module.arch, remat=remat, unroll=1)
    graphdef, params = nnx.split(module, nnx.Param)
    network = denoising.make_network(
        graphdef, window=rules.layout(config)[0], proxy_ratio=config.compression.proxy
    )
    loss = denoising.make_loss(network, built.objective)
    draw = denoising.make_draw(
        built.objective, null=built.null, condition_dropout=config.train.condition_dropout
    )
    one, two = (
        _residuals(loss, nnx.to_pure_dict(params), _inputs(draw, built, samples)) for samples in (1, 2)
    )
    grown = {part: two[part] - one[part] for part in two}
    return {part: count for part, count in grown.items() if count}, sum(one.values()) - sum(grown.values())


def _inputs(draw: Draw, built: Experiment, samples: int) -> denoising.Inputs:
    """What the loss of some samples is a function of, abstract."""
    batch = {n: jax.ShapeDtypeStruct((samples, *shape), dtype) for n, (shape, dtype) in built.batch.items()}
    return jax.eval_shape(lambda batch: draw(jax.random.key(0, impl=built.prng), batch), batch)


def _residuals(loss: Loss, params: Any, inputs: denoising.Inputs) -> Bytes:
    """Bytes by part of every array that differentiation keeps, and of the inputs."""

    def linearise(params: Any, inputs: denoising.Inputs) -> Any:
        return jax.linearize(lambda params: loss(params, inputs)[0], params)[1]

    jaxpr = jax.make_jaxpr(linearise)(params, inputs).jaxpr
    given = set(jaxpr.invars)
    parts: Bytes = {INPUTS: _bytes(inputs)}
    for out in dict.fromkeys(v for v in jaxpr.outvars if not isinstance(v, Literal) and v not in given):
        part = HOST if out.aval.memory_space == jax.memory.Space.Host else _part(jaxpr, out) or ENDS
        parts[part] = parts.get(part, 0) + _size(out.aval)
    return parts


def _part(jaxpr: Any, var: Any) -> str | None:
    """The part whose operation made a variable, None for one outside the blocks."""
    for equation in jaxpr.eqns:
        if var not in equation.outvars:
            continue
        names = re.findall(r"part=(\w+)", str(equation.source_info.name_stack))
        if names:
            return names[-1]
        place = equation.outvars.index(var)
        inner = next((j for j in _inner(equation) if len(j.outvars) == len(equation.outvars)), None)
        found = None if inner is None else _part(inner, inner.outvars[place])
        return found or (STREAM if equation.primitive.name == "scan" else None)
    return None


def _inner(equation: Any) -> Iterator[Any]:
    """The jaxprs that an equation calls."""
    for value in equation.params.values():
        if hasattr(value, "eqns"):
            yield value
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr


def _bytes(tree: Any) -> int:
    return sum(_size(leaf) for leaf in jax.tree.leaves(tree))


def _size(aval: Any) -> int:
    return math.prod(aval.shape) * (
        8 if jnp.issubdtype(aval.dtype, jax.dtypes.prng_key) else aval.dtype.itemsize
    )
