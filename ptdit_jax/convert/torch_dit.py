"""DiT (arXiv 2212.09748) and SiT (arXiv 2401.08740) in PyTorch, with the names and shapes of their public weights.

What the parity check of a conversion runs.  The time is what is embedded: DiT's step in [0, 1000), or SiT's t, 0 at
noise and 1 at data.  Both public networks predict as ours: noise, or the velocity towards the data.

Shapes: B batch, C channels, (H, W) latent height and width, (h, w) token grid, N = h·w tokens, D width.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptdit_jax.models import Architecture


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LN(x)·(1+scale)+shift: x (B, N, D), shift and scale (B, D)."""
    normed = F.layer_norm(x, x.shape[-1:], eps=1e-6)
    return normed * (1 + scale[:, None]) + shift[:, None]


def sinusoids(value: Tensor, last: int = 128) -> Tensor:
    """[cos, sin] of value·10000^(-j/last): value (N,) -> (N, 256)."""
    angle = value[:, None] * torch.exp(-math.log(10000) * torch.arange(128) / last)
    return torch.cat([angle.cos(), angle.sin()], -1)


def adaln(width: int, rows: int) -> nn.Sequential:
    """silu and Linear(D -> rows·D)."""
    return nn.Sequential(nn.SiLU(), nn.Linear(width, rows * width))


def level(**children: nn.Module) -> Any:
    """A module without a function of its own, for a level of the public names."""
    return nn.ModuleDict(children)


class Block(nn.Module):
    """Full attention and MLP with adaLN-Zero."""

    def __init__(self, arch: Architecture):
        super().__init__()
        width, hidden = arch.width, arch.mlp_ratio * arch.width
        self.heads = arch.heads
        self.attn = level(qkv=nn.Linear(width, 3 * width), proj=nn.Linear(width, width))
        self.mlp = level(fc1=nn.Linear(width, hidden), fc2=nn.Linear(hidden, width))
        self.adaLN_modulation = adaln(width, 6)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """x (B, N, D), c (B, D) -> (B, N, D)."""
        s1, c1, g1, s2, c2, g2 = self.adaLN_modulation(c).chunk(6, -1)
        qkv = self.attn.qkv(modulated(x, s1, c1)).unflatten(-1, (3, self.heads, -1))  # (B, N, 3, H, d)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, N, d)
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (B, N, D)
        x = x + g1[:, None] * self.attn.proj(out)
        hidden = F.gelu(self.mlp.fc1(modulated(x, s2, c2)), approximate="tanh")
        return x + g2[:, None] * self.mlp.fc2(hidden)


class DiT(nn.Module):
    """The network at the size that its weights are for.

    Args:
      arch: of family "dit".
      positions: (1, N, D) float32, the table of that size.
    """

    pos_embed: Tensor

    def __init__(self, arch: Architecture, positions: np.ndarray):
        super().__init__()
        width, patch = arch.width, arch.patch
        self.patch = patch
        self.last = 127 if arch.time_input == "1000t_diffusers" else 128
        self.register_buffer("pos_embed", torch.from_numpy(positions))
        self.x_embedder = level(proj=nn.Conv2d(arch.channels, width, patch, patch))
        self.t_embedder = level(mlp=nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width)))
        self.y_embedder = level(embedding_table=nn.Embedding(arch.classes + 1, width))
        self.blocks = nn.ModuleList(Block(arch) for _ in range(arch.depth))
        outputs = nn.Linear(width, patch**2 * arch.out_channels)
        self.final_layer = level(linear=outputs, adaLN_modulation=adaln(width, 2))

    def forward(self, x: Tensor, time: Tensor, labels: Tensor) -> Tensor:
        """x (B, C, H, W), time (B,) as it is embedded, labels (B,) -> (B, C_out, H, W)."""
        tokens = self.x_embedder.proj(x)  # (B, D, h, w)
        h, w = tokens.shape[2:]
        tokens = tokens.flatten(2).transpose(1, 2) + self.pos_embed  # (B, N, D)
        c = self.t_embedder.mlp(sinusoids(time, self.last))
        c = c + self.y_embedder.embedding_table(labels)  # (B, D)
        for block in self.blocks:
            tokens = block(tokens, c)
        shift, scale = self.final_layer.adaLN_modulation(c).chunk(2, -1)
        out = self.final_layer.linear(modulated(tokens, shift, scale))  # (B, N, p·p·C_out)
        out = out.unflatten(1, (h, w)).unflatten(-1, (self.patch, self.patch, -1))  # (B, h, w, p, q, C_out)
        return out.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)
