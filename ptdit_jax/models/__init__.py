"""The networks: PT-DiT and its baselines, from a config or from an `Architecture`."""

import ml_collections
from flax import nnx

from ptdit_jax.models.baselines.dam import DAM
from ptdit_jax.models.baselines.dit import DiT
from ptdit_jax.models.baselines.factorized import Factorized
from ptdit_jax.models.baselines.full3d import Full3D
from ptdit_jax.models.baselines.pixart import PixArt
from ptdit_jax.models.ptdit import PTDiT
from ptdit_jax.models.variants import Architecture, architecture

FAMILIES = {
    "ptdit": PTDiT,
    "dit": DiT,
    "pixart": PixArt,
    "dam": DAM,
    "full3d": Full3D,
    "factorized": Factorized,
}


def build(arch: Architecture, rngs: nnx.Rngs) -> PTDiT:
    """The network of an architecture, initialised."""
    return FAMILIES[arch.family](arch, rngs=rngs)


def create(
    model: ml_collections.ConfigDict,
    *,
    window: tuple[int, int, int],
    rngs: nnx.Rngs,
    learn_variance: bool = False,
    platform: str | None = None,
) -> PTDiT:
    """The network of `config.model`; see `variants.architecture` for the arguments and errors."""
    return build(architecture(model, window, learn_variance=learn_variance, platform=platform), rngs)


__all__ = ["FAMILIES", "Architecture", "DiT", "PTDiT", "architecture", "build", "create"]
