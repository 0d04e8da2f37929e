"""PixArt-α and its MS models (arXiv 2310.00426) in PyTorch, with the names and shapes of their public weights.

What the parity check of a conversion runs.  The time is DiT's step in [0, 1000).

Shapes: B batch, C channels, (H, W) latent height and width, (h, w) token grid, N = h·w tokens, D width, L text tokens,
E text features.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptdit_jax.convert.torch_dit import level, modulated, sinusoids
from ptdit_jax.models import Architecture


def embedder(width: int) -> Any:
    """Of one number, a time or a side, with the sinusoids as inputs."""
    return level(mlp=nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width)))


class Block(nn.Module):
    """Full attention and MLP with adaLN-single; between them attention to the text, without a norm or a gate."""

    def __init__(self, arch: Architecture):
        super().__init__()
        width, hidden = arch.width, arch.mlp_ratio * arch.width
        self.heads = arch.heads
        self.scale_shift_table = nn.Parameter(torch.empty(6, width))
        self.attn = level(qkv=nn.Linear(width, 3 * width), proj=nn.Linear(width, width))
        self.cross_attn = level(
            q_linear=nn.Linear(width, width),
            kv_linear=nn.Linear(width, 2 * width),
            proj=nn.Linear(width, width),
        )
        self.mlp = level(fc1=nn.Linear(width, hidden), fc2=nn.Linear(hidden, width))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """q (B, N, D), k and v (B, K, D), mask (B, 1, 1, K) -> (B, N, D)."""
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))  # (B, H, ., d)
        return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)

    def forward(self, x: Tensor, t6: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """x (B, N, D), t6 (B, 6, D), text (B, L, D), mask (B, 1, 1, L) -> (B, N, D)."""
        s1, c1, g1, s2, c2, g2 = (self.scale_shift_table + t6).unbind(1)  # (B, D) each
        out = self.attend(*self.attn.qkv(modulated(x, s1, c1)).chunk(3, -1))
        x = x + g1[:, None] * self.attn.proj(out)
        k, v = self.cross_attn.kv_linear(text).chunk(2, -1)
        x = x + self.cross_attn.proj(self.attend(self.cross_attn.q_linear(x), k, v, mask))
        hidden = F.gelu(self.mlp.fc1(modulated(x, s2, c2)), approximate="tanh")
        return x + g2[:, None] * self.mlp.fc2(hidden)


class PixArt(nn.Module):
    """The network at its declared size.

    Args:
      arch: of family "pixart".
      positions: (1, N, D) float32, the table of that size.
    """

    pos_embed: Tensor

    def __init__(self, arch: Architecture, positions: np.ndarray):
        super().__init__()
        width, patch = arch.width, arch.patch
        self.patch, self.pixels = patch, arch.size_condition
        self.register_buffer("pos_embed", torch.from_numpy(positions))
        self.x_embedder = level(proj=nn.Conv2d(arch.channels, width, patch, patch))
        self.t_embedder = embedder(width)
        if arch.size_condition:
            self.csize_embedder, self.ar_embedder = embedder(width // 3), embedder(width // 3)
        self.t_block = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.y_embedder = level(
            y_proj=level(fc1=nn.Linear(arch.text_dim, width), fc2=nn.Linear(width, width))
        )
        self.blocks = nn.ModuleList(Block(arch) for _ in range(arch.depth))
        self.final_layer = level(linear=nn.Linear(width, patch**2 * arch.out_channels))
        self.final_layer.scale_shift_table = nn.Parameter(torch.empty(2, width))

    def forward(self, x: Tensor, time: Tensor, condition: tuple[Tensor, Tensor]) -> Tensor:
        """x (B, C, H, W), time (B,) in steps, text (B, L, E) and mask (B, L) -> (B, C_out, H, W)."""
        height, width = x.shape[2:]
        tokens = self.x_embedder.proj(x)  # (B, D, h, w)
        h, w = tokens.shape[2:]
        tokens = tokens.flatten(2).transpose(1, 2) + self.pos_embed  # (B, N, D)
        t = self.t_embedder.mlp(sinusoids(time))  # (B, D)
        if self.pixels:
            sides = torch.tensor([height * self.pixels, width * self.pixels], dtype=torch.float32)
            ratio = torch.tensor([height / width], dtype=torch.float32)
            parts = [self.csize_embedder.mlp(sinusoids(sides)), self.ar_embedder.mlp(sinusoids(ratio))]
            t = t + torch.cat(parts).flatten()  # height, width, ratio: D/3 each
        t6 = self.t_block(t).unflatten(-1, (6, -1))  # (B, 6, D)
        text, mask = condition
        project = self.y_embedder.y_proj
        text = project.fc2(F.gelu(project.fc1(text), approximate="tanh"))  # (B, L, D)
        for block in self.blocks:
            tokens = block(tokens, t6, text, mask[:, None, None].bool())
        shift, scale = (self.final_layer.scale_shift_table + t[:, None]).unbind(1)
        out = self.final_layer.linear(modulated(tokens, shift, scale))  # (B, N, p·p·C_out)
        out = out.unflatten(1, (h, w)).unflatten(-1, (self.patch, self.patch, -1))  # (B, h, w, p, q, C_out)
        return out.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)
