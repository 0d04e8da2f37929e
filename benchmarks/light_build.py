"""A config's network and training step for one device, by the few packages that a bare machine has.

`ptdit_jax.experiment` builds the same for every mesh, but reads data, checkpoints and encoders too, and so imports
what belongs to them.  Here are only the rooms below it that need jax, flax, numpy, optax, einops and ml_collections;
tests hold the steps of both equal.

Shapes: B samples, C channels, F frames, H height, W width, L text tokens, E text features.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ptdit_jax import diffusion, models
from ptdit_jax.models import complexity
from ptdit_jax.models.compression import window_for
from ptdit_jax.models.window import Windowing
from ptdit_jax.training import denoising, optimizer, state, step
from ptdit_jax.training.state import TrainState

SPREAD = 0.02  # of random parameters: zero-initialised parts would make most of the work multiply zeros


@dataclasses.dataclass(frozen=True)
class Built:
    """A config's network on one device.

    Attributes:
      config: the whole config.
      arch: its network.
      layout: how the tokens of a sample are cut into windows.
      network: see `denoising.Network`; its matrix products have `numerics.matmul_precision`.
      params: nested dict of shapes and dtypes.
    """

    config: Any
    arch: models.Architecture
    layout: Windowing
    network: denoising.Network
    params: dict[str, Any]

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a forward pass of one sample, as `train` counts them for its utilisation."""
        length = self.config.model.text_length if self.config.model.condition == "text" else 0
        return complexity.total(complexity.forward(self.arch, self.layout, length)).total


def build(config: Any, platform: str | None = None) -> Built:
    """Build the network of a config at the size of its data; nothing is allocated.

    Args:
      config: the whole config, with one compression ratio.
      platform: see `models.architecture`.

    Raises:
      ValueError: the network cannot be had, or not on this platform.
    """
    data = config.data
    pixels = (data.height * data.pixels_per_latent, data.width * data.pixels_per_latent)
    window = window_for(config.compression, data.frames, *pixels)
    learn_variance = config.diffusion.learn_variance
    arch = models.architecture(config.model, window, learn_variance=learn_variance, platform=platform)
    module = complexity.abstract(arch)
    graphdef, abstract = nnx.split(module, nnx.Param)
    plain = denoising.make_network(graphdef, window=window)

    def network(*arguments: Any) -> jax.Array:
        with jax.default_matmul_precision(config.numerics.matmul_precision):
            return plain(*arguments)

    layout = module.layout((data.frames, data.height, data.width), window, None)
    return Built(config, arch, layout, network, nnx.to_pure_dict(abstract))


def matched_depth(config: Any, parameters: int) -> int:
    """The number of blocks that gives a network about so many parameters, its width and heads kept.

    Args:
      config: of the network; its `model.depth` is changed.
      parameters: to come nearest to.
    """
    counts = []
    for depth in (1, 2):
        config.model.depth = depth
        counts.append(build(config).parameters)
    return max(1, 1 + round((parameters - counts[0]) / (counts[1] - counts[0])))


def make_step(built: Built) -> Callable[[TrainState, Any, jax.Array], tuple[TrainState, step.Metrics]]:
    """The training step, (state, batch, key) -> (state, metrics), to be jitted with the state donated.

    Raises:
      ValueError: for an impossible `config.diffusion`.
    """
    config, train = built.config, built.config.train
    objective = diffusion.make(**config.diffusion.to_dict())
    return step.make_step(
        denoising.make_draw(objective, null=_null(config), condition_dropout=train.condition_dropout),
        denoising.make_loss(built.network, objective),
        optimizer.make_direction(config.optimizer),
        optimizer.make_schedule(config.optimizer, train.steps),
        ema_decays=train.ema_decays,
        accumulate=config.optimizer.accumulate,
        explode_factor=train.explode_factor,
    )


def random_params(built: Built, key: jax.Array) -> dict[str, Any]:
    """Parameters drawn from a normal of deviation `SPREAD`; call it under `jax.jit`."""
    leaves, tree = jax.tree.flatten(built.params)
    # One draw compiles in a fraction of the time of many.
    drawn = SPREAD * jax.random.normal(key, (built.parameters,))
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    pieces = [piece.reshape(leaf.shape) for piece, leaf in zip(jnp.split(drawn, ends), leaves)]
    return jax.tree.unflatten(tree, pieces)


def random_state(built: Built, key: jax.Array) -> TrainState:
    """The state before the first step, of random parameters; call it under `jax.jit`."""
    config = built.config
    params = random_params(built, key)
    return state.create(params, optimizer.make_direction(config.optimizer), config.train.ema_decays)


def random_batch(built: Built, key: jax.Array, batch: int) -> dict[str, jax.Array]:
    """What a loader would give: x (B, C, F, H, W), and label (B,), or text (B, L, E) and text_mask (B, L), all True."""
    config, model = built.config, built.config.model
    data = config.data
    x_key, text_key = jax.random.split(key)
    found = {"x": jax.random.normal(x_key, (batch, model.channels, data.frames, data.height, data.width))}
    if model.condition == "class":
        found["label"] = jnp.zeros(batch, jnp.int32)
    elif model.condition == "text":
        found["text"] = jax.random.normal(text_key, (batch, model.text_length, model.text_dim))
        found["text_mask"] = jnp.ones((batch, model.text_length), bool)
    return found


def _null(config: Any) -> Any:
    """The null condition of one sample; of text one token of zeros, as speed does not ask for the encoder's states."""
    model = config.model
    if model.condition == "class":
        return np.int32(model.classes)
    if model.condition == "text":
        return np.zeros((model.text_length, model.text_dim), np.float32), np.arange(model.text_length) < 1
    return None
