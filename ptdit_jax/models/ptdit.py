"""PT-DiT: latents in, prediction out (arXiv 2409.04005, Fig. 4), and the shell that baselines share.

Shapes: B batch, C latent channels, (F, H, W) latent frames, height, width; (f, h, w) token grid, h = H/p and w =
W/q of the patch p x q; m windows of this device, n tokens a window, D width, L text tokens, E text features.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from ptdit_jax.models.block import PTBlock
from ptdit_jax.models.conditioning import ClassEmbedding, SharedModulation, TextProjection, TimeEmbedding
from ptdit_jax.models.layers import Linear, in_compute_dtype, modulated_norm, parameter, zeros
from ptdit_jax.models.position import Tables, tables_3d
from ptdit_jax.models.stack import run_stack, stack_blocks
from ptdit_jax.models.variants import Architecture
from ptdit_jax.models.window import (
    Triple,
    Windowing,
    merge_and_crop,
    pad_and_partition,
    split_windows,
    windowing,
)
from ptdit_jax.parallel.axes import CONTEXT, whole

Condition = jax.Array | tuple[jax.Array, jax.Array] | None
Kept = Any
KEEPS = ("nothing", "blocks", "global")
"""What `PTDiT.with_kept` keeps: what all blocks together add to the tokens, or what each block's proxies inject."""


class Slabs(NamedTuple):
    """Context parallelism: a call on one device's slab of the latents.

    See `models.window` and `experiment.sharded_network`.

    Attributes:
      size: (F, H, W) of the whole latents.
      parts: slabs they are cut into, after padding to whole slabs along that axis.
    """

    size: tuple[int, ...]
    parts: int


class FinalLayer(nnx.Module):
    """LN(z)·(1+c)+s, then a zero-initialised Linear to p·q·C_out.

    With adaLN-single (s, c) = T + emb from a (2, D) table T; with adaLN-Zero they are Linear(silu(emb)) as in DiT.
    """

    def __init__(self, arch: Architecture, *, rngs: nnx.Rngs):
        width = arch.width
        init = nnx.initializers.normal(width**-0.5)
        axes = ("embed", None)
        single = arch.adaln == "single"
        self.table = parameter(init, rngs, (2, width), (None, "embed")) if single else None
        self.modulation = (
            None if single else Linear(width, (2, width), axes, dtype=jnp.float32, rngs=rngs, init=zeros)
        )
        features = arch.patch_pixels * arch.out_channels
        self.proj_out = Linear(width, features, ("embed", None), dtype=jnp.float32, rngs=rngs, init=zeros)

    def __call__(self, z: jax.Array, emb: jax.Array) -> jax.Array:
        """z (B, m, n, D), emb (B, D) -> (B, m, n, p·q·C_out) float32."""
        if self.table is not None:
            rows = whole(self.table) + emb[:, None]  # (B, 2, D)
        else:
            assert self.modulation is not None
            rows = self.modulation(nnx.silu(emb))  # (B, 2, D)
        return self.proj_out(modulated_norm(z, rows[:, 0], rows[:, 1], jnp.float32))


class PTDiT(nnx.Module):
    """The network of any condition and any size; the window is an argument of the call, not of the parameters."""

    def __init__(self, arch: Architecture, *, rngs: nnx.Rngs):
        width = arch.width
        self.arch = arch
        self.dtype = jnp.dtype(arch.compute_dtype)
        patch_features = arch.channels * arch.patch_pixels
        self.patch_embedding = Linear(patch_features, width, (None, "embed"), dtype=self.dtype, rngs=rngs)
        self.time_embedding = TimeEmbedding(width, rngs=rngs, time_input=arch.time_input)
        self.class_embedding = (
            ClassEmbedding(arch.classes, width, rngs=rngs) if arch.condition == "class" else None
        )
        self.text_projection = (
            TextProjection(arch.text_dim, width, dtype=self.dtype, rngs=rngs)
            if arch.condition == "text"
            else None
        )
        self.shared_modulation = SharedModulation(width, rngs=rngs) if arch.adaln == "single" else None
        self.blocks = nnx.List(
            stack_blocks(lambda r, j=j: self.make_block(j, r), arch.groups, rngs) for j in range(arch.group)
        )
        self.final_layer = FinalLayer(arch, rngs=rngs)

    def make_block(self, index: int, rngs: nnx.Rngs) -> nnx.Module:
        """Block `index` of a group; the last one has the shifted windows."""
        shifted = self.arch.shift_every > 0 and index == self.arch.group - 1
        return PTBlock(self.arch, shifted=shifted, rngs=rngs)

    def layout(
        self, size: Sequence[int], window: Sequence[int], proxy_ratio: Sequence[int] | None, parts: int = 1
    ) -> Windowing:
        """The windows of latents of `size` (F, H, W), in `parts` slabs.

        Raises:
          ValueError: if the patch does not divide H and W, or the window or proxy ratio is impossible.
        """
        frames, height, width = size
        p, q = self.arch.patches
        if height % p or width % q:
            patch = f"{p}" if p == q else f"{p}x{q}"
            raise ValueError(
                f"latent height and width {height}x{width} must be multiples of the patch {patch}"
            )
        return split_windows(windowing((frames, height // p, width // q), window, proxy_ratio), parts)

    def position_tables(self, grid: Triple) -> Tables:
        """The parts of the position table of a grid."""
        return tables_3d(grid, self.arch.width, self.arch.sample_size, self.arch.positions)

    def positions(self, layout: Windowing) -> jax.Array:
        """The (*slab_grid, D) float32 table added to the tokens."""
        parts = []
        for table, index in self.position_tables(layout.grid):
            axis, index = layout.axis, jnp.asarray(index)
            if layout.parts > 1 and index.shape[axis] > 1:
                size = layout.slab_grid[axis]
                pads = [(0, layout.parts * size - layout.grid[axis] if i == axis else 0) for i in range(3)]
                start = jax.lax.axis_index(CONTEXT) * size
                index = jax.lax.dynamic_slice_in_dim(jnp.pad(index, pads), start, size, axis)
            rows = jnp.asarray(table, jnp.float32)[index]
            parts.append(jnp.broadcast_to(rows, (*layout.slab_grid, rows.shape[-1])))
        return jnp.concatenate(parts, axis=-1)

    def __call__(
        self,
        x: jax.Array,
        t: jax.Array,
        condition: Condition = None,
        *,
        window: Sequence[int],
        proxy_ratio: Sequence[int] | None = None,
        keys: jax.Array | None = None,
        slabs: Slabs | None = None,
    ) -> jax.Array:
        """Predict from noisy latents.

        Args:
          x: (B, C, F, H, W) float32.
          t: (B,) float32 in [0, 1], t = 1 is pure noise (what is embedded of it: `conditioning.TIME_INPUTS`).
          condition: int32 labels (B,), or (text (B, L, E), mask (B, L), 1 = keep; all 0 keeps all), or None.
          window: (p_f, p_h, p_w) tokens a proxy stands for, any at any size.
          proxy_ratio: (., p_h, p_w) inside a window for several proxies a window.
          keys: (B,) random keys, one a sample; only for extraction="random".
          slabs: under `jax.shard_map`, when x is one device's slab.

        Returns:
          (B, C_out, F, H, W) float32.

        Raises:
          ValueError: if the shapes or the condition are not the network's.
        """
        how: dict[str, Any] = {"window": window, "proxy_ratio": proxy_ratio, "keys": keys, "slabs": slabs}
        return self.with_kept(x, t, condition, None, keep="nothing", **how)[0]

    def with_kept(
        self,
        x: jax.Array,
        t: jax.Array,
        condition: Condition,
        kept: Kept,
        *,
        keep: str,
        window: Sequence[int],
        proxy_ratio: Sequence[int] | None = None,
        keys: jax.Array | None = None,
        slabs: Slabs | None = None,
    ) -> tuple[jax.Array, Kept]:
        """Predict, and keep or reuse what another call at a time nearby would compute again.

        Args:
          x: as of a call, and so are all that are not named here.
          t: see there.
          condition: see there.
          kept: what an earlier call kept, to be used in the place of computing it; None computes everything.
          keep: one of `KEEPS`, the same in both calls.
          window: see a call.
          proxy_ratio: see there.
          keys: see there.
          slabs: see there.

        Returns:
          The prediction (B, C_out, F, H, W) float32, and what is kept: (B, m, n, D) in the compute dtype with "blocks",
          a list of (groups, B, m, n, D) for each block of a group with "global", else None.

        Raises:
          ValueError: if the shapes or the condition are not the network's.
        """
        arch = self.arch
        if x.ndim != 5 or x.shape[1] != arch.channels:
            raise ValueError(f"x has shape {x.shape}; the network takes (B, {arch.channels}, F, H, W)")
        if t.shape != x.shape[:1]:
            raise ValueError(f"t has shape {t.shape}; the network takes one time a sample, ({x.shape[0]},)")
        size, parts = slabs or Slabs(x.shape[2:], 1)
        layout = self.layout(size, window, proxy_ratio, parts)
        emb, text, text_mask = self.embed_condition(t, condition, size)

        pattern = "b c f (h p) (w q) -> b f h w (c p q)"
        p, q = arch.patches
        patches = rearrange(x.astype(self.dtype), pattern, p=p, q=q)
        tokens = self.patch_embedding(patches) + self.positions(layout).astype(self.dtype)  # (B, f, h, w, D)
        z = pad_and_partition(tokens, layout)  # (B, m, n, D)

        block_emb = emb if self.shared_modulation is None else self.shared_modulation(emb)
        if keys is not None:
            split = jax.vmap(lambda key: jax.random.split(key, (arch.groups, arch.group)), out_axes=2)
            keys = split(keys)  # (groups, group, B)

        def call(block: Any, z: jax.Array, keys: jax.Array | None, update: jax.Array | None):
            given = (z, block_emb, text, text_mask, layout, keys)
            return block.with_update(*given, update) if keep == "global" else (block(*given), None)

        if keep == "blocks" and kept is not None:
            z = z + kept
        else:
            start, updates = z, kept if keep == "global" else None
            how: dict[str, Any] = {"remat": arch.remat, "unroll": arch.unroll}
            blocks = [in_compute_dtype(block) for block in self.blocks]
            z, updates = run_stack(blocks, z, call, keys, updates, **how)  # (B, m, n, D)
            kept = updates if keep == "global" else z - start if keep == "blocks" else None

        out = merge_and_crop(self.final_layer(z, emb), layout)  # (B, f, h, w, p·q·C_out)
        pattern = "b f h w (p q c) -> b c f (h p) (w q)"
        return rearrange(out, pattern, p=p, q=q), kept

    def embed_condition(self, t: jax.Array, condition: Condition, size: Sequence[int]):
        """emb (B, D) float32 of time and class, text (B, L, D) or None, its mask (B, L) bool or None.

        `size` (F, H, W) is that of the whole latents, for networks that embed it.
        """
        del size
        emb = self.time_embedding(t)  # (B, D)
        kind = self.arch.condition
        if kind == "none":
            if condition is not None:
                raise ValueError("model.condition='none': call the network with condition=None")
            return emb, None, None
        if kind == "class":
            if condition is None or isinstance(condition, tuple):
                raise ValueError("model.condition='class': call the network with int32 labels (B,)")
            if condition.shape != t.shape or not jnp.issubdtype(condition.dtype, jnp.integer):
                kind = f"{condition.dtype}{list(condition.shape)}"
                raise ValueError(f"labels are {kind}; the network takes integers, ({t.size},)")
            assert self.class_embedding is not None
            return emb + self.class_embedding(condition), None, None
        if not isinstance(condition, tuple):
            raise ValueError("model.condition='text': call the network with (text (B, L, E), mask (B, L))")
        assert self.text_projection is not None
        text, mask = condition
        if text.ndim != 3 or text.shape[::2] != (t.size, self.arch.text_dim) or mask.shape != text.shape[:2]:
            raise ValueError(
                f"text has shape {text.shape} and its mask {mask.shape}; the network takes "
                f"({t.size}, L, {self.arch.text_dim}) and ({t.size}, L)"
            )
        mask = mask.astype(bool)
        # As in the release, whose bias of -10000 on all keys changes nothing, no mask at all is no mask.
        mask = mask | ~mask.any(axis=1, keepdims=True)
        return emb, self.text_projection(text.astype(self.dtype)), mask
