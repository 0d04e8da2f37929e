"""What a config describes, built: the objective, the network as a function, and its parameters to be.

Shapes: B samples, C channels, F frames, H height, W width, L text tokens, E text features.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from ptdit_jax import config as rules
from ptdit_jax import models
from ptdit_jax.config.by_time import holds
from ptdit_jax.diffusion import Objective
from ptdit_jax.diffusion.spans import Span
from ptdit_jax.experiment import live_text
from ptdit_jax.experiment.sharded_network import make_sharded_keeping_network, make_sharded_network
from ptdit_jax.models.attention import choice
from ptdit_jax.models.window import Windowing
from ptdit_jax.parallel.axes import CONTEXT
from ptdit_jax.training.denoising import KeepingNetwork, Network, make_keeping_network, make_network


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The parts of a config that have no state.

    Attributes:
      shape: (C, F, H, W) of a sample.
      classes: number of classes, or None for a network without.
      text: (L, E) of a text-conditional network, or None.
      null: the null condition of one sample, see `denoising.make_draw`.
      batch: (shape, dtype) of one sample of each array of a batch.
      layout: how the tokens of a sample are cut into windows.
      objective: what is predicted, and the path.
      network: see `denoising.Network`, at the window of `layout`.
      keeping: one of `models.ptdit.KEEPS` -> that network as a `denoising.KeepingNetwork`.
      init: key -> the network's parameters, a nested dict.
      abstract: the parameters without their values, with the names of their axes.
      prng: the implementation of keys, `numerics.prng`.
      unrolled: whether the network runs its blocks without a loop, `model.unroll` 0.
      parts: with `compression.by_time`, the same at each of its ratios, whose objective draws the times of that ratio
        alone; `layout` is then that of the first, and `network` takes one time for all samples and has its ratio.
    """

    shape: tuple[int, int, int, int]
    classes: int | None
    text: tuple[int, int] | None
    null: Any
    batch: dict[str, tuple[tuple[int, ...], Any]]
    layout: Windowing
    objective: Objective
    network: Network
    keeping: Callable[[str], KeepingNetwork]
    init: Callable[[jax.Array], dict[str, Any]]
    abstract: nnx.State
    prng: str
    unrolled: bool
    parts: tuple["Experiment", ...] = ()

    def at(self, t: float) -> "Experiment":
        """The part whose ratio is used at a time; the whole where there is one ratio."""
        return next((part for part in self.parts if holds(part.objective.spans, t)), self)


def build(
    config: Any,
    *,
    mesh: Mesh | None = None,
    frames: int = 0,
    height: int = 0,
    width: int = 0,
    pixel_frames: int = 0,
    null_text: tuple[np.ndarray, np.ndarray] | None = None,
) -> Experiment:
    """Build what a valid config describes.

    Args:
      config: the whole config.
      mesh: the devices that run the network; None for the one that its arguments lie on.
      frames: latent frames of a sample; 0 = those of `config.data`, here and below.
      height: latent rows.
      width: latent columns.
      pixel_frames: frames of the decoded sample, where that has other than `frames`.
      null_text: states (L, E) and mask (L,) of the empty caption, for a text-conditional network.  Without them NaN has
        their place, for what neither trains a null condition nor guides by one.

    Raises:
      ValueError: the network cannot have this size.
    """
    ratios = rules.parts(config)
    if len(ratios) > 1:
        size = {"frames": frames, "height": height, "width": width, "pixel_frames": pixel_frames}
        own = functools.partial(build, mesh=mesh, null_text=null_text, **size)
        return _by_time([(part.spans, own(part.config)) for part in ratios])
    config = next(part.config for part in ratios)
    data, model = config.data, config.model
    size = {"frames": frames, "height": height, "width": width}
    trained_window, _ = rules.layout(config)
    window, _ = rules.layout(config, **size)

    def create(key: jax.Array) -> models.PTDiT:
        learn_variance = config.diffusion.learn_variance
        rngs = nnx.Rngs(params=key)
        where = None if model.attention == choice.EINSUM else platform(mesh)
        return models.create(
            model, window=trained_window, rngs=rngs, learn_variance=learn_variance, platform=where
        )

    module: models.PTDiT = nnx.eval_shape(lambda: create(jax.random.key(0, impl=config.numerics.prng)))
    graphdef, abstract = nnx.split(module, nnx.Param)
    shape = (model.channels, frames or data.frames, height or data.height, width or data.width)
    parts = 1 if mesh is None else mesh.shape.get(CONTEXT, 1)
    layout = module.layout(shape[1:], window, config.compression.proxy or None, parts)
    options: dict[str, Any] = {"window": window, "proxy_ratio": config.compression.proxy}
    if mesh is None or mesh.size == 1:
        network = make_network(graphdef, **options)
        keeping = functools.partial(make_keeping_network, graphdef, **options)
    else:
        options |= {"layout": layout, "patches": module.arch.patches}
        network = make_sharded_network(graphdef, abstract, mesh, **options)
        keeping = functools.partial(make_sharded_keeping_network, graphdef, abstract, mesh, **options)
    batch: dict[str, tuple[tuple[int, ...], Any]] = {"x": (shape, jnp.float32)}
    null, text = None, None
    if model.condition == "class":
        null, batch["label"] = np.int32(model.classes), ((), jnp.int32)
    elif model.condition == "text":
        text = (model.text_length, model.text_dim)
        null = null_text or (np.full(text, np.nan, np.float32), np.arange(model.text_length) < 1)
        if model.null_mask == "caption":
            null = (null[0], None)
        batch |= (
            live_text.batch_of(model.text_length)
            if live_text.is_live(config)
            else {"text": (text, jnp.float32), "text_mask": (text[:1], jnp.bool_)}
        )
    return Experiment(
        shape=shape,
        classes=model.classes if model.condition == "class" else None,
        text=text,
        null=null,
        batch=batch,
        layout=layout,
        objective=rules.make_objective(config, **size, pixel_frames=pixel_frames),
        network=_precise(network, config.numerics.matmul_precision),
        keeping=lambda keep: _precise(keeping(keep), config.numerics.matmul_precision),
        init=lambda key: nnx.to_pure_dict(nnx.split(create(key), nnx.Param)[1]),
        abstract=abstract,
        prng=config.numerics.prng,
        unrolled=model.unroll == 0,
    )


def platform(mesh: Mesh | None) -> str:
    """Of the devices of a mesh, or of those that JAX takes without one."""
    return (jax.devices() if mesh is None else mesh.devices.flat)[0].platform


def attention_line(config: Any, mesh: Mesh) -> str:
    """What a run says of `model.attention` on the devices of a mesh."""
    where = platform(mesh)
    chosen = rules.architecture(config, platform=where).attention
    return choice.line(config.model.attention, chosen, where)


def _by_time(parts: list[tuple[tuple[Span, ...], Experiment]]) -> Experiment:
    """One experiment of several ratios, see `Experiment.parts`."""
    starts = sorted((low, number) for number, (spans, _) in enumerate(parts) for low, _ in spans)
    lows, numbers = np.array(starts).T

    def network(params: Any, x: jax.Array, t: jax.Array, condition: Any, keys: jax.Array) -> jax.Array:
        interval = jnp.searchsorted(jnp.asarray(lows[1:], t.dtype), t[0], "right")
        networks = [part.network for _, part in parts]
        return jax.lax.switch(
            jnp.asarray(numbers, jnp.int32)[interval], networks, params, x, t, condition, keys
        )

    def keeping(keep: str) -> KeepingNetwork:
        raise ValueError(f"compression.by_time must be (): what is kept ({keep!r}) lies as its ratio has it")

    return dataclasses.replace(
        parts[0][1],
        network=network,
        keeping=keeping,
        parts=tuple(
            dataclasses.replace(part, objective=dataclasses.replace(part.objective, spans=spans))
            for spans, part in parts
        ),
    )


def _precise(network: Callable, precision: str) -> Callable:
    """A network whose matrix products, and those of its gradient, have a precision whatever JAX's default is."""

    def precise(*arguments: Any) -> Any:
        with jax.default_matmul_precision(precision):
            return network(*arguments)

    return precise
