"""What a config describes, built: the objective, the network as a function, and its parameters to be.

Shapes: B samples, C channels, F frames, H height, W width.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from ptdit_jax import config as rules
from ptdit_jax import models
from ptdit_jax.diffusion import Objective
from ptdit_jax.models.window import Windowing
from ptdit_jax.training.denoising import Network, make_network


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The parts of a config that have no state.

    Attributes:
      shape: (C, F, H, W) of a sample.
      classes: number of classes, or None for an unconditional network.
      layout: how the tokens of a sample are cut into windows.
      objective: what is predicted, and the path.
      network: see `denoising.Network`, at the window of `layout`.
      init: key -> the network's parameters, a nested dict.
      abstract: the parameters without their values, with the names of their axes.
    """

    shape: tuple[int, int, int, int]
    classes: int | None
    layout: Windowing
    objective: Objective
    network: Network
    init: Callable[[jax.Array], dict[str, Any]]
    abstract: nnx.State


def build(config: Any, *, frames: int = 0, height: int = 0, width: int = 0) -> Experiment:
    """Build what a valid config describes.

    Args:
      config: the whole config.
      frames: latent frames of a sample; 0 = those of `config.data`, here and below.
      height: latent rows.
      width: latent columns.

    Raises:
      ValueError: the network cannot have this size.
    """
    data, model = config.data, config.model
    size = {"frames": frames, "height": height, "width": width}
    trained_window, _ = rules.layout(config)
    window, layout = rules.layout(config, **size)

    def create(key: jax.Array) -> nnx.Module:
        learn_variance = config.diffusion.learn_variance
        rngs = nnx.Rngs(params=key)
        return models.create(model, window=trained_window, rngs=rngs, learn_variance=learn_variance)

    graphdef, abstract = nnx.split(nnx.eval_shape(lambda: create(jax.random.key(0))), nnx.Param)
    return Experiment(
        shape=(model.channels, frames or data.frames, height or data.height, width or data.width),
        classes=model.classes if model.condition == "class" else None,
        layout=layout,
        objective=rules.make_objective(config, **size),
        network=make_network(graphdef, window=window, proxy_ratio=config.compression.proxy),
        init=lambda key: nnx.to_pure_dict(nnx.split(create(key), nnx.Param)[1]),
        abstract=abstract,
    )
