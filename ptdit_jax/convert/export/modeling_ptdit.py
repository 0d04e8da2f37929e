"""PT-DiT, proxy-tokenized diffusion transformers (arXiv 2409.04005), in plain PyTorch.

The network that belongs to `model.safetensors` and `config.json` in this folder:

    model = load(folder)                                    # float32, on the CPU
    out = model(x, t, condition, window=(1, 2, 2))          # (B, C_out, F, H, W) float32

x is (B, C, F, H, W); t is (B,) in [0, 1], 0 is data and 1 is noise; the condition is labels (B,) for a
class-conditional network (`classes` is the null label), (text (B, L, E), mask (B, L), 1 = keep) for a text
network, None for the others.  Any size that the patch divides, and any window, is allowed; a size that the
window does not divide is padded, and padding is masked.

Parameters have the names of the released PT-T2I weights; parts that were never released are named alike.  The
modulation of each sample is its own, also when the times of a batch differ.

Shapes: B batch, C latent channels, (F, H, W) latent frames, height, width; (f, h, w) token grid, M windows,
n tokens a window, N = M·n tokens, P proxies, D width, d head width, L text tokens, E text features.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Triple = tuple[int, int, int]
Modulation = dict[str, tuple[Tensor | None, Tensor | None, Tensor | None]]
Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]

TIME_FEATURES = 256
MASKED = -1e30  # finite: a row whose keys are all masked gives their mean instead of NaN
# Vectors a part of the block is modulated by: (shift, scale, gate), or (shift, scale) where nothing is gated.
PARTS = {"proxy": 3, "injection": 3, "injection_kv": 2, "window": 3, "shift": 3, "mlp": 3}


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The facts of a network: `architecture` in config.json.

    Attributes:
      depth: blocks.
      width: D.
      heads: attention heads.
      mlp_ratio: hidden width of the MLP over D.
      patch: latent pixels of a token along height and width.
      channels: C.
      out_channels: C_out; a sampler reads the first C, and C more where the variance is learned.
      sample_size: latent side the positions are declared for.
      frames: latent frames of the stored position table (the network takes any number).
      condition: "class", "text" or "none".
      classes: number of classes.
      text_dim: E.
      adaln: "single" (one modulation for all blocks and a table each) or "zero" (a Linear a block).
      modulated: with adaln "zero", the parts of a block that are modulated.
      zero_linears: whether injection and shifted attention end in a Linear of their own.
      shift_every: shifted windows in every n-th block; 0 = in none.
      giim: whether there are proxies.
      tcm: whether there is window attention.
      extraction: "average", "top_left", "random" or "similarity".
      injection: "cross_attention", "interpolate" or "linear".
      linear_tokens: n that injection "linear" is made for; else 0.
      positions: "grid", or "released", which scrambles grids that are not square.
    """

    depth: int
    width: int
    heads: int
    mlp_ratio: int
    patch: int
    channels: int
    out_channels: int
    sample_size: int
    frames: int
    condition: str
    classes: int
    text_dim: int
    adaln: str
    modulated: tuple[str, ...]
    zero_linears: bool
    shift_every: int
    giim: bool
    tcm: bool
    extraction: str
    injection: str
    linear_tokens: int
    positions: str

    def is_shifted(self, block: int) -> bool:
        """Whether block number `block` has shifted windows."""
        return self.shift_every > 0 and block % self.shift_every == self.shift_every - 1


# Windows (Sec. 3.2.3): the residual stream is (B, M, n, D), row-major over windows and inside of them.


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one size is cut: real tokens (f, h, w), window (cf, ch, cw), and (., ph, pw) tokens of a proxy."""

    grid: Triple
    window: Triple
    proxy: Triple

    @property
    def counts(self) -> Triple:
        """Windows along each axis, the last one possibly padded."""
        f, h, w = (-(-size // c) for size, c in zip(self.grid, self.window))
        return f, h, w

    @property
    def padded(self) -> Triple:
        """The grid rounded up to whole windows."""
        f, h, w = (m * c for m, c in zip(self.counts, self.window))
        return f, h, w

    @property
    def strides(self) -> tuple[int, int]:
        """Proxies of a window along height and width; each is a strided sub-grid of it."""
        return self.window[1] // self.proxy[1], self.window[2] // self.proxy[2]

    @functools.cached_property
    def valid(self) -> Tensor:
        """(M, n) bool, False on padding."""
        inside = torch.zeros(1, *self.padded, 1, dtype=torch.bool)
        f, h, w = self.grid
        inside[:, :f, :h, :w] = True
        return partition(inside, self.window)[0, ..., 0]

    @functools.cached_property
    def proxy_valid(self) -> Tensor:
        """(P, g) bool: the tokens of each proxy that exist."""
        return proxy_groups(self.valid[None, ..., None], self)[0, ..., 0]

    @functools.cached_property
    def window_mask(self) -> Tensor | None:
        """(M, n, n) bool, True = attend, of window attention; None where nothing is masked."""
        return None if self.valid.all() else self.valid[:, :, None] == self.valid[:, None, :]

    @functools.cached_property
    def shifted_mask(self) -> Tensor | None:
        """(M, n, n) bool of the shifted windows: attention only within a region, and never to padding.

        Along an axis of S tokens and window c regions are [0, S-c), [S-c, S-c//2) and the rest; one if c = 1.
        """
        ids = torch.zeros(self.padded, dtype=torch.int64)
        real = torch.ones(self.padded, dtype=torch.bool)
        for axis, (size, c, exists) in enumerate(zip(self.padded, self.window, self.grid)):
            position = torch.arange(size)
            region = (
                (position >= size - c).long() + (position >= size - c // 2).long() if c > 1 else 0 * position
            )
            shape = [1, 1, 1]
            shape[axis] = size
            ids = 3 * ids + region.reshape(shape)
            real &= ((position + c // 2) % size < exists).reshape(
                shape
            )  # where the token stood before the roll
        ids = torch.where(real, ids, 27 + ids)
        flat = partition(ids[None, ..., None], self.window)[0, ..., 0]  # (M, n)
        return None if (flat == flat[:, :1]).all() else flat[:, :, None] == flat[:, None, :]


@functools.lru_cache(maxsize=32)
def layout_of(grid: Triple, window: Triple, proxy_ratio: Triple | None) -> Layout:
    """Clip a window and its proxy ratio to a grid.

    Raises:
      ValueError: an impossible window, or a proxy ratio that does not divide it.
    """
    for name, value in (("window", window), ("proxy_ratio", proxy_ratio or (1, 1, 1))):
        if len(value) != 3 or any(v < 1 for v in value):
            raise ValueError(f"{name}={value} must be three positive integers (frames, height, width)")
    cf, ch, cw = (min(c, size) for c, size in zip(window, grid))
    if proxy_ratio is None:
        return Layout(grid, (cf, ch, cw), (cf, ch, cw))
    proxy = (cf, min(proxy_ratio[1], ch), min(proxy_ratio[2], cw))
    if ch % proxy[1] or cw % proxy[2]:
        raise ValueError(
            f"proxy_ratio={proxy_ratio} must divide the window {(cf, ch, cw)} (clipped to {grid})"
        )
    return Layout(grid, (cf, ch, cw), proxy)


def partition(x: Tensor, window: Triple) -> Tensor:
    """(B, f, h, w, D) -> (B, M, n, D); whole windows cover the grid.  The inverse of `merge`."""
    (batch, f, h, w, width), (cf, ch, cw) = x.shape, window
    x = x.reshape(batch, f // cf, cf, h // ch, ch, w // cw, cw, width)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, -1, cf * ch * cw, width)


def merge(z: Tensor, layout: Layout) -> Tensor:
    """(B, M, n, D) -> (B, f, h, w, D), the padded grid.  The inverse of `partition`."""
    z = z.reshape(z.shape[0], *layout.counts, *layout.window, z.shape[-1])
    return z.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(z.shape[0], *layout.padded, z.shape[-1])


def cyclic_shift(z: Tensor, layout: Layout, sign: int) -> Tensor:
    """Windows of the grid rolled by half a window times `sign`: (B, M, n, D) -> (B, M, n, D)."""
    shifts = tuple(sign * (c // 2) for c in layout.window)
    return (
        partition(torch.roll(merge(z, layout), shifts, dims=(1, 2, 3)), layout.window) if any(shifts) else z
    )


def proxy_groups(z: Tensor, layout: Layout) -> Tensor:
    """The g tokens of each proxy, proxies in order (window, j, k): (B, M, n, D) -> (B, P, g, D)."""
    (cf, ch, cw), (sh, sw) = layout.window, layout.strides
    batch, windows, _, width = z.shape
    z = z.reshape(batch, windows, cf, ch // sh, sh, cw // sw, sw, width).permute(0, 1, 4, 6, 2, 3, 5, 7)
    return z.reshape(batch, windows * sh * sw, -1, width)


# Layers.  Norms, modulation, time and the output are computed in float32; the rest in the parameters' dtype.


def linear(layer: Any, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """x·Wᵀ+b of an nn.Linear in `dtype`, or in the dtype of its weights."""
    dtype = dtype or layer.weight.dtype
    return F.linear(x.to(dtype), layer.weight.to(dtype), layer.bias.to(dtype))


def per_sample(vector: Tensor, like: Tensor) -> Tensor:
    """(B, D) -> (B, 1, ..., 1, D), to broadcast over the tokens of `like` (B, ..., D)."""
    return vector.reshape(vector.shape[0], *[1] * (like.ndim - 2), vector.shape[-1])


def modulated_norm(x: Tensor, shift: Tensor | None, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """LN(x)·(1+scale)+shift, eps 1e-6, in float32, then cast; x (B, ..., D), shift, scale (B, D) or None."""
    y = F.layer_norm(x.float(), x.shape[-1:], eps=1e-6)
    if shift is not None and scale is not None:
        y = y * (1.0 + per_sample(scale, y)) + per_sample(shift, y)
    return y.to(dtype)


def gated(x: Tensor, gate: Tensor | None) -> Tensor:
    """gate·x with one gate (B, D) a sample; x without one."""
    return x if gate is None else x * per_sample(gate, x).to(x.dtype)


def sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q·kᵀ/√d)·v.

    Args:
      q: (A, heads, Q, d).
      k: (A, heads, K, d).
      v: (A, heads, K, d).
      mask: bool, True = attend, broadcastable to (A, 1, Q, K).
    """
    bias = None if mask is None else torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, MASKED)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def npu_attention(torch_npu) -> Attend:
    """`sdpa` by `torch_npu.npu_fusion_attention`, whose mask is True where *no* attention is paid.

    Args:
      torch_npu: the module of that name.
    """

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        blocked = None
        if mask is not None:  # one of the shapes the operator takes: (A or 1, 1, Q, K)
            blocked = (~mask).expand(mask.shape[0], 1, q.shape[2], k.shape[2]).contiguous()
        return torch_npu.npu_fusion_attention(
            q, k, v, q.shape[1], "BNSD", atten_mask=blocked, scale=q.shape[-1] ** -0.5
        )[0]

    return attend


class Attention(nn.Module):
    """Multi-head attention of queries (A, Q, D) to keys and values from a context (A, K, D)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.attend: Attend = sdpa
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mask bool, broadcastable to (A, 1, Q, K), True = attend."""
        q, k, v = (
            linear(layer, y).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (A, heads, Q or K, d)
            for layer, y in ((self.to_q, x), (self.to_k, context), (self.to_v, context))
        )
        out = self.attend(q, k, v, mask).transpose(1, 2).flatten(2)  # (A, Q, D)
        return linear(self.to_out[0], out)

    def within(self, z: Tensor, mask: Tensor | None) -> Tensor:
        """Self-attention inside each window: z (B, M, n, D), mask (M, n, n) or None."""
        batch, windows, n, width = z.shape
        flat = z.reshape(batch * windows, n, width)
        if mask is not None:
            mask = mask.to(z.device).expand(batch, windows, n, n).reshape(batch * windows, 1, n, n)
        return self(flat, flat, mask).reshape(z.shape)


class PatchEmbedding(nn.Module):
    """A strided convolution a frame, plus fixed sine-cosine positions computed for the size at hand.

    `pos_embed` is the table of the declared size.  It is in the released file, so here too; nothing reads it.
    """

    def __init__(self, arch: Architecture):
        super().__init__()
        self.arch = arch
        self.proj = nn.Conv2d(arch.channels, arch.width, arch.patch, stride=arch.patch)
        self.register_buffer("pos_embed", declared_positions(arch))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F, H, W) -> (B, f, h, w, D)."""
        batch, channels, frames, height, width = x.shape
        flat = x.transpose(1, 2).reshape(batch * frames, channels, height, width).to(self.proj.weight.dtype)
        tokens = self.proj(flat).permute(0, 2, 3, 1)  # (B·F, h, w, D)
        tokens = tokens.reshape(batch, frames, *tokens.shape[1:])
        table = positions(self.arch, (frames, *tokens.shape[2:4]))
        return tokens + torch.from_numpy(table).to(tokens)


def sincos(features: int, position: np.ndarray) -> np.ndarray:
    """[sin(p·ω), cos(p·ω)], ω_j = 10000^(-j/(features/2)): positions (...) -> (..., features) float64."""
    angle = position[..., None] * 10000.0 ** (-np.arange(features // 2) / (features / 2))
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=-1)


@functools.lru_cache(maxsize=8)
def positions(arch: Architecture, grid: Triple) -> np.ndarray:
    """(f, h, w, D) float32: [time D/4 | column 3D/8 | row 3D/8]."""
    f, h, w = grid
    scale, space = max(arch.sample_size // 64, 1), 3 * arch.width // 8
    row, column = np.divmod(np.arange(h * w).reshape(h, w), h if arch.positions == "released" else w)
    parts = [
        sincos(arch.width // 4, np.arange(f))[:, None, None],
        sincos(space, column / scale),
        sincos(space, row / scale),
    ]
    parts = [np.broadcast_to(part, (f, h, w, part.shape[-1])) for part in parts]
    return np.concatenate(parts, axis=-1).astype(np.float32)


def declared_positions(arch: Architecture) -> Tensor:
    """(1, frames, tokens of a frame, D) float32, the released buffer `pos_embed.pos_embed`."""
    side = max(arch.sample_size // arch.patch, 1)
    return torch.from_numpy(
        positions(arch, (arch.frames, side, side)).reshape(1, arch.frames, -1, arch.width)
    )


class TimeEmbedding(nn.Module):
    """lin2(silu(lin1([cos, sin](1000·t·freq)))): (B,) -> (B, D) float32."""

    def __init__(self, width: int):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(TIME_FEATURES, width), nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        """t (B,) in [0, 1]."""
        half = TIME_FEATURES // 2
        steps = torch.arange(half, dtype=torch.float32, device=t.device)
        angle = 1000.0 * t.float()[:, None] * torch.exp(-math.log(10000.0) * steps / half)
        features = torch.cat([angle.cos(), angle.sin()], dim=-1)
        return linear(self.linear_2, F.silu(linear(self.linear_1, features, torch.float32)), torch.float32)


class TextProjection(nn.Module):
    """lin2(gelu_tanh(lin1(text))): (B, L, E) -> (B, L, D)."""

    def __init__(self, text_dim: int, width: int):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(text_dim, width), nn.Linear(width, width)

    def forward(self, text: Tensor) -> Tensor:
        """Text (B, L, E)."""
        return linear(self.linear_2, F.gelu(linear(self.linear_1, text), approximate="tanh"))


class FeedForward(nn.Module):
    """W2·gelu_tanh(W1·x), D -> mlp_ratio·D -> D."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        up = holder(proj=nn.Linear(width, hidden))
        self.net = nn.ModuleList([up, nn.Identity(), nn.Linear(hidden, width)])  # released: net.0.proj, net.2

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        up, _, down = self.net
        return linear(down, F.gelu(linear(up.proj, x), approximate="tanh"))


def holder(**children: nn.Module) -> Any:
    """A module without a function of its own, for a level of the released names."""
    return nn.ModuleDict(children)


class Block(nn.Module):
    """One block: proxies (Eq. 1), windows and shifted windows (Eq. 2), text, MLP."""

    def __init__(self, arch: Architecture, index: int):
        super().__init__()
        width, heads = arch.width, arch.heads
        shifted = arch.is_shifted(index)
        self.arch = arch
        has = {"proxy": arch.giim, "injection": arch.giim, "injection_kv": arch.giim}
        has |= {"window": arch.tcm, "shift": shifted, "mlp": True}
        self.modulated = tuple(part for part in PARTS if has[part] and part in arch.modulated)
        rows = sum(PARTS[part] for part in self.modulated)
        if arch.adaln == "single":
            self.scale_shift_table = nn.Parameter(torch.empty(6, width))
            if shifted:
                self.proxy_scale_shift_table = nn.Parameter(torch.empty(3, width))
        elif rows:
            self.adaln_zero = holder(linear=nn.Linear(width, rows * width))
        self.proxy_attn1 = Attention(width, heads) if arch.giim else None
        across, expands = (arch.giim and arch.injection == kind for kind in ("cross_attention", "linear"))
        self.pvisual_attn2 = Attention(width, heads) if across else None
        self.proxy_expand = nn.Linear(width, arch.linear_tokens * width) if expands else None
        self.linear_1_visual = nn.Linear(width, width) if arch.giim and arch.zero_linears else None
        self.attn1 = Attention(width, heads) if has["window"] else None
        self.attn3 = Attention(width, heads) if shifted else None
        self.linear_2 = nn.Linear(width, width) if shifted and arch.zero_linears else None
        self.attn2 = Attention(width, heads) if arch.condition == "text" else None
        self.ff = FeedForward(width, arch.mlp_ratio * width)

    def modulation(self, emb: Tensor) -> Modulation:
        """(shift, scale, gate) of each part, (B, D) float32, from t6 (B, 6, D) or emb (B, D)."""
        result: Modulation = {part: (None, None, None) for part in PARTS}
        if self.arch.adaln == "single":
            rows = (self.scale_shift_table.float() + emb).unbind(1)
            result["window"], result["mlp"] = (rows[0], rows[1], rows[2]), (rows[3], rows[4], rows[5])
            if self.attn3 is not None:
                rows = (self.proxy_scale_shift_table.float() + emb[:, :3]).unbind(1)
                result["shift"] = (rows[0], rows[1], rows[2])
        elif self.modulated:
            rows = linear(self.adaln_zero.linear, F.silu(emb), torch.float32)
            left = list(rows.unflatten(-1, (-1, self.arch.width)).unbind(1))
            for part in self.modulated:
                shift, scale = left.pop(0), left.pop(0)
                result[part] = (shift, scale, left.pop(0) if PARTS[part] == 3 else None)
        return result

    def forward(
        self,
        z: Tensor,
        emb: Tensor,
        text: Tensor | None,
        text_mask: Tensor | None,
        layout: Layout,
        generator: torch.Generator | None,
    ) -> Tensor:
        """z (B, M, n, D), emb as for `modulation`, text (B, L, D), text_mask (B, L) bool -> (B, M, n, D)."""
        modulation = self.modulation(emb)
        if self.proxy_attn1 is not None:
            z = self.inject(z, modulation, layout, generator)
        if self.attn1 is not None:
            shift, scale, gate = modulation["window"]
            update = self.attn1.within(modulated_norm(z, shift, scale, z.dtype), layout.window_mask)
            z = z + gated(update, gate)
        if self.attn3 is not None:
            shift, scale, gate = modulation["shift"]
            rolled = cyclic_shift(modulated_norm(z, shift, scale, z.dtype), layout, -1)
            update = cyclic_shift(self.attn3.within(rolled, layout.shifted_mask), layout, 1)
            update = gated(update, gate)
            z = z + (update if self.linear_2 is None else linear(self.linear_2, update))
        if self.attn2 is not None and text is not None:
            mask = None if text_mask is None else text_mask[:, None, None, :]
            z = z + self.attn2(z.flatten(1, 2), text, mask).reshape(z.shape)
        shift, scale, gate = modulation["mlp"]
        return z + gated(self.ff(modulated_norm(z, shift, scale, z.dtype)), gate)

    def inject(
        self, z: Tensor, modulation: Modulation, layout: Layout, generator: torch.Generator | None
    ) -> Tensor:
        """Eq. 1: proxies from z, their global attention, their injection into all tokens."""
        assert self.proxy_attn1 is not None
        proxies = extract(self.arch.extraction, z, layout, generator)  # (B, P, D)
        exists = layout.proxy_valid.any(1)
        mask = None if exists.all() else exists.to(z.device)[None, None, None, :]
        shift, scale, gate = modulation["proxy"]
        normed = modulated_norm(proxies, shift, scale, z.dtype)
        proxies = proxies + gated(self.proxy_attn1(normed, normed, mask), gate)

        shift, scale, _ = modulation["injection_kv"]
        context = modulated_norm(proxies, shift, scale, z.dtype)
        shift, scale, gate = modulation["injection"]
        if self.pvisual_attn2 is not None:
            query = modulated_norm(z, shift, scale, z.dtype).flatten(1, 2)  # (B, N, D)
            update = self.pvisual_attn2(query, context, mask).reshape(z.shape)
        elif self.proxy_expand is not None:
            update = linear(self.proxy_expand, context).reshape(z.shape)
        else:
            grid = context.transpose(1, 2).unflatten(-1, layout.counts)  # (B, D, mf, mh, mw)
            fine = F.interpolate(grid, size=layout.padded, mode="trilinear", align_corners=False)
            update = partition(fine.permute(0, 2, 3, 4, 1), layout.window)
        if self.linear_1_visual is not None:
            update = linear(self.linear_1_visual, update)
        return z + gated(update, gate)


def extract(kind: str, z: Tensor, layout: Layout, generator: torch.Generator | None) -> Tensor:
    """One token for each proxy from those that it stands for (Table 2): (B, M, n, D) -> (B, P, D)."""
    groups = proxy_groups(z, layout)  # (B, P, g, D)
    valid = layout.proxy_valid.to(z.device)  # (P, g)
    if kind == "average":
        weights = valid / valid.sum(1, keepdim=True).clamp(min=1)
        return (groups.float() * weights[..., None]).sum(2).to(z.dtype)
    if kind == "top_left":
        return groups[:, :, 0]
    if kind == "random":
        score = torch.rand(groups.shape[:3], generator=generator, device=z.device)
    else:
        x = groups.float()
        unit = x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-12) * valid[..., None]
        score = (unit * unit.sum(2, keepdim=True)).sum(-1)  # with itself too: one more for every token
    index = score.masked_fill(~valid, -math.inf).argmax(2)[:, :, None, None]  # (B, P, 1, 1)
    return groups.gather(2, index.expand(-1, -1, 1, groups.shape[-1]))[:, :, 0]


class PTDiT(nn.Module):
    """The network.  A new one has no meaningful values: use `load`, or `load_state_dict`.

    Set `gradient_checkpointing` to keep only the inputs of blocks for the backward pass.
    """

    def __init__(self, arch: Architecture):
        super().__init__()
        width = arch.width
        self.arch = arch
        self.gradient_checkpointing = False
        self.pos_embed = PatchEmbedding(arch)
        adaln = {"emb": holder(timestep_embedder=TimeEmbedding(width))}
        if arch.adaln == "single":
            adaln["linear"] = nn.Linear(width, 6 * width)
            self.scale_shift_table = nn.Parameter(torch.empty(2, width))
        else:
            self.adaln_out = holder(linear=nn.Linear(width, 2 * width))
        self.adaln_single = holder(**adaln)
        self.caption_projection = TextProjection(arch.text_dim, width) if arch.condition == "text" else None
        self.class_embedder = (
            holder(embedding_table=nn.Embedding(arch.classes + 1, width))
            if arch.condition == "class"
            else None
        )
        self.transformer_blocks = nn.ModuleList(Block(arch, i) for i in range(arch.depth))
        self.proj_out = nn.Linear(width, arch.patch**2 * arch.out_channels)

    def use_attention(self, attend: Attend) -> None:
        """Compute every attention by `attend`, a function like `sdpa`."""
        for module in self.modules():
            if isinstance(module, Attention):
                module.attend = attend

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        condition: Tensor | tuple[Tensor, Tensor] | None = None,
        *,
        window: Sequence[int],
        proxy_ratio: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Predict from noisy latents; arguments and result are described at the head of this file.

        Args:
          x: (B, C, F, H, W).
          t: (B,) in [0, 1].
          condition: of the network's kind.
          window: (p_f, p_h, p_w) tokens.
          proxy_ratio: (., p_h, p_w) for several proxies a window; None or () for one.
          generator: of the draws of extraction "random".

        Raises:
          ValueError: shapes, condition or window are not the network's.
        """
        arch, patch = self.arch, self.arch.patch
        if x.ndim != 5 or x.shape[1] != arch.channels or x.shape[3] % patch or x.shape[4] % patch:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; it must be (B, {arch.channels}, F, H, W), H and W multiples "
                f"of the patch {patch}"
            )
        grid = (x.shape[2], x.shape[3] // patch, x.shape[4] // patch)
        layout = layout_of(grid, tuple(window), tuple(proxy_ratio) if proxy_ratio else None)  # type: ignore
        self.check_injection(layout)
        emb, text, text_mask = self.embed_condition(t, condition)

        tokens = self.pos_embed(x)  # (B, f, h, w, D)
        pads = [p - s for p, s in zip(reversed(layout.padded), reversed(layout.grid))]
        z = partition(
            F.pad(tokens, (0, 0, 0, pads[0], 0, pads[1], 0, pads[2])), layout.window
        )  # (B, M, n, D)
        shared = emb
        if arch.adaln == "single":
            t6 = linear(self.adaln_single.linear, F.silu(emb), torch.float32)
            shared = t6.unflatten(-1, (6, arch.width))
        for block in self.transformer_blocks:
            arguments = (z, shared, text, text_mask, layout, generator)
            if self.gradient_checkpointing and torch.is_grad_enabled():
                z = checkpoint(block, *arguments, use_reentrant=False)
            else:
                z = block(*arguments)

        if arch.adaln == "single":
            shift, scale = (self.scale_shift_table.float() + emb[:, None]).unbind(1)
        else:
            rows = linear(self.adaln_out.linear, F.silu(emb), torch.float32)
            shift, scale = rows.unflatten(-1, (2, arch.width)).unbind(1)
        out = linear(self.proj_out, modulated_norm(z, shift, scale, torch.float32), torch.float32)
        f, h, w = layout.grid
        out = merge(out, layout)[:, :f, :h, :w]  # (B, f, h, w, patch·patch·C_out)
        out = out.unflatten(-1, (patch, patch, -1)).permute(0, 6, 1, 2, 4, 3, 5)
        return out.reshape(x.shape[0], -1, f, h * patch, w * patch)

    def check_injection(self, layout: Layout) -> None:
        """Raise a ValueError for a window or a proxy ratio that the injection cannot have."""
        arch = self.arch
        if not arch.giim or arch.injection == "cross_attention":
            return
        if layout.strides != (1, 1):
            raise ValueError(f"injection={arch.injection!r} takes one proxy a window, not a proxy_ratio")
        if arch.injection == "linear" and math.prod(layout.window) != arch.linear_tokens:
            raise ValueError(
                f"injection='linear' is made for windows of {arch.linear_tokens} tokens, not {layout.window}"
            )

    def embed_condition(self, t: Tensor, condition: Tensor | tuple[Tensor, Tensor] | None):
        """emb (B, D) float32 of time and class, text (B, L, D) or None, its mask (B, L) bool or None."""
        emb = self.adaln_single.emb.timestep_embedder(t)
        kind = {type(None): "none", tuple: "text"}.get(type(condition), "class")
        if kind != self.arch.condition:
            raise ValueError(
                f"the network's condition is {self.arch.condition!r}; it was called with {kind!r}"
            )
        if self.class_embedder is not None:
            return emb + self.class_embedder.embedding_table(condition).float(), None, None
        if self.caption_projection is not None:
            assert isinstance(condition, tuple)
            mask = condition[1].bool()
            mask = mask | ~mask.any(
                dim=1, keepdim=True
            )  # a mask that is all zero is no mask, as in the release
            return emb, self.caption_projection(condition[0]), mask
        return emb, None, None


def read_config(folder: str | Path) -> tuple[Architecture, dict]:
    """The architecture and everything else in a folder's config.json."""
    config = json.loads((Path(folder) / "config.json").read_text())
    fields = config["architecture"]
    return Architecture(**fields | {"modulated": tuple(fields["modulated"])}), config


def load(folder: str | Path, *, dtype: torch.dtype = torch.float32) -> PTDiT:
    """The network of a folder with `config.json` and `model.safetensors`, on the CPU.

    Args:
      folder: where the two files are.
      dtype: of the parameters.
    """
    from safetensors.torch import load_file

    arch, _ = read_config(folder)
    with torch.device("meta"):  # no memory for values that are replaced
        model = PTDiT(arch)
    model.load_state_dict(load_file(Path(folder) / "model.safetensors"), strict=True, assign=True)
    return model.to(dtype)
