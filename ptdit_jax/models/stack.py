"""A stack of equal groups of blocks: parameters stacked on a leading axis, run by one scan with a remat policy."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from ptdit_jax.models.attention import ATTENTION

STACKED = "blocks"  # the stacked parameters of a network
BLOCK_INPUT = "block input"  # what the policy "offload" keeps in the host's memory

# Named remat policies: which values the backward pass finds instead of computing again.  A block's input is always one.
REMAT_POLICIES = {
    "block": jax.checkpoint_policies.nothing_saveable,
    "attention": jax.checkpoint_policies.save_only_these_names(ATTENTION),
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "offload": jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[BLOCK_INPUT],
        offload_src="device",
        offload_dst="pinned_host",
    ),
}


def computes_again(remat: str) -> bool:
    """Whether a backward pass under this policy keeps none of a block's products but those of attention."""
    return remat in ("block", "attention", "offload")


def stack_blocks(make: Callable[[nnx.Rngs], nnx.Module], count: int, rngs: nnx.Rngs) -> nnx.Module:
    """`count` blocks as one module whose parameters have a leading axis, logical name "layers"."""

    @nnx.split_rngs(splits=count)
    @nnx.vmap(in_axes=0, out_axes=0, transform_metadata={nnx.PARTITION_NAME: "layers"})
    def build(rngs: nnx.Rngs):
        return make(rngs)

    return build(rngs)


def split_repeats(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a network with those of each repeat of its blocks by themselves.

    A program without a loop (`unroll` 0) that takes them so, and gives the network `joined_repeats` of them, reads
    them where they lie: XLA removes the join and the split of `run_stack` together.  Of stacked parameters a CPU copies
    every slice each time, a fifth of a small network's evaluation.
    """

    def split(leaf: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(jax.lax.split(leaf, [1] * leaf.shape[0]))

    return {**params, STACKED: jax.tree.map(split, params[STACKED])}


def joined_repeats(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of which `split_repeats` made these."""

    def is_split(node: Any) -> bool:
        return isinstance(node, tuple)

    return {**params, STACKED: jax.tree.map(jnp.concatenate, params[STACKED], is_leaf=is_split)}


def run_stack(
    group: list,
    z: jax.Array,
    call: Callable,
    keys: jax.Array | None,
    kept: Any = None,
    *,
    remat: str,
    unroll: int,
) -> tuple[jax.Array, Any]:
    """Run every group of blocks over z.

    Args:
      group: stacked blocks; one repeat runs block 0, 1, ... of the group.
      z: the residual stream.
      call: (block, z, keys, kept) -> (z, kept), the last two anything that a block takes and leaves, None for nothing.
      keys: (repeats, len(group), B) random keys or None.
      kept: for every block of the group what its repeats take, arrays with the repeats first; None for nothing.
      remat: "none" or a name of REMAT_POLICIES, applied to each block.
      unroll: repeats that a scan step runs inline; 0 runs all without a loop.

    Returns:
      z, and what the blocks left, in the form of `kept`.
    """
    if remat != "none":
        plain = call
        call = jax.checkpoint(
            lambda block, z, keys, kept: plain(block, checkpoint_name(z, BLOCK_INPUT), keys, kept),
            policy=REMAT_POLICIES[remat],
        )

    def repeat(z, of_repeat):
        blocks, keys, kept = of_repeat
        left = []
        for j, block in enumerate(blocks):
            z, leaves = call(block, z, None if keys is None else keys[j], None if kept is None else kept[j])
            left.append(leaves)
        return z, left

    if unroll == 0:
        leaves, treedef = jax.tree.flatten((group, keys, kept))
        repeats = leaves[0].shape[0]
        # lax.split's transpose is one concatenation; indexing's would add a full-size array for each block.
        pieces = [jax.lax.split(leaf, [1] * repeats) for leaf in leaves]
        left = []
        for i in range(repeats):
            of_repeat = jax.tree.unflatten(treedef, [p[i].reshape(p[i].shape[1:]) for p in pieces])
            z, leaves = repeat(z, of_repeat)
            left.append(leaves)
        return z, jax.tree.map(lambda *each: jnp.stack(each), *left)
    return jax.lax.scan(repeat, z, (group, keys, kept), unroll=unroll)
