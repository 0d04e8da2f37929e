"""Queries and keys of every layer of a network with full attention, looked at while it runs.

The network is the trained one, block by block; beside each block that is chosen, a function of its queries and keys is
computed, and nothing of them is kept, so that the memory is that of one layer.

Shapes: B samples, C channels, F frames, H height, W width; N tokens, D width.
"""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ptdit_jax import config as rules
from ptdit_jax import models
from ptdit_jax.models.layers import modulated_norm
from ptdit_jax.models.ptdit import Condition
from ptdit_jax.models.window import Windowing

FAMILIES = ("dit", "pixart", "full3d")
"""`model.family` of the networks whose tokens all attend to all."""
Look = Callable[[jax.Array, jax.Array], Any]
"""q and k, (B, N, heads, head width) each, tokens of the grid row by row -> arrays of one layer."""
Watching = Callable[[Any, jax.Array, jax.Array, Condition], tuple[jax.Array, Any]]
"""(params, x (B, C, F, H, W), t (B,), condition) -> prediction, and what was seen, layers first."""


def queries_and_keys(block: Any, z: jax.Array, emb: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What a baseline's block attends with.

    Args:
      block: a `models.baselines.block.BaselineBlock` with full attention.
      z: (B, 1, N, D), what it is called with, as `emb`.
      emb: see there.

    Returns:
      q and k, (B, N, heads, head width) each, in the compute dtype.
    """
    shift, scale, _ = block.modulation(emb)["window"]
    x = modulated_norm(z, shift, scale, block.dtype)[:, 0]  # (B, N, D)
    return block.attention.q(x), block.attention.k(x)


class Watched(nnx.Module):
    """A block that tells what `look` sees of its queries and keys, in the place of what others keep."""

    def __init__(self, block: Any, look: Look):
        self.block, self.look = block, look

    def with_update(
        self,
        z: jax.Array,
        emb: jax.Array,
        text: jax.Array | None,
        text_mask: jax.Array | None,
        layout: Windowing,
        keys: jax.Array | None,
        update: jax.Array,
    ) -> tuple[jax.Array, Any]:
        """The block's z (B, 1, N, D), and what is seen; zeros where `update` () bool is False."""
        q, k = queries_and_keys(self.block, z, emb)
        shapes = jax.eval_shape(self.look, q, k)
        seen = jax.lax.cond(update, self.look, lambda *_: jax.tree.map(jnp.zeros_like, shapes), q, k)
        return self.block(z, emb, text, text_mask, layout, keys), seen


def make_watching(config: Any, look: Look, layers: Collection[int]) -> Watching:
    """The network of a config as a function, with what is seen of some layers.

    Args:
      config: the whole config, its family one of `FAMILIES`.
      look: what is seen of a layer.
      layers: their numbers, from 0, in order.
    """
    arch = dataclasses.replace(rules.architecture(config), remat="none")  # there is no backward pass
    module = nnx.eval_shape(lambda: models.build(arch, nnx.Rngs(0)))
    graphdef, _ = nnx.split(module, nnx.Param)
    window, _ = rules.layout(config)
    chosen = jnp.isin(jnp.arange(arch.depth), jnp.asarray(list(layers))).reshape(arch.groups, arch.group)

    def watching(params: Any, x: jax.Array, t: jax.Array, condition: Condition) -> tuple[jax.Array, Any]:
        network: Any = nnx.merge(graphdef, params)
        network.blocks = nnx.List([Watched(block, look) for block in network.blocks])
        flags = [chosen[:, j] for j in range(arch.group)]
        with jax.default_matmul_precision(config.numerics.matmul_precision):
            out, seen = network.with_kept(x, t, condition, flags, keep="global", window=window)
        each = jax.tree.map(lambda *parts: jnp.stack(parts, axis=1), *seen)  # (groups, group, ...)
        rows = jnp.asarray(list(layers))
        return out, jax.tree.map(lambda a: a.reshape(arch.depth, *a.shape[2:])[rows], each)

    return watching
