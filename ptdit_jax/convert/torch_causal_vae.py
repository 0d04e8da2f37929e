"""CausalVAE in PyTorch as functions of its weights, written from its description: what parity checks run.

No package has this network.  Nothing here is taken from `ptdit_jax.encoders`, so that a mistake there shows.

Shapes: B samples, C channels, T frames, H rows, W columns; w the weights by their names in released files.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]


def conv2d(w: Weights, name: str, x: Tensor, padding: int = 1, stride: int = 1) -> Tensor:
    """A convolution of each frame: x (B, C, T, H, W)."""
    frames = x.transpose(1, 2).flatten(0, 1)
    y = F.conv2d(frames, w[f"{name}.weight"], w[f"{name}.bias"], stride, padding)
    return y.unflatten(0, (len(x), -1)).transpose(1, 2)


def causal(w: Weights, name: str, x: Tensor, padding: int = 1, stride: int = 1) -> Tensor:
    """A convolution of time, rows and columns after copies of the first frame: x (B, C, T, H, W)."""
    kernel = w[f"{name}.conv.weight"]
    first = x[:, :, :1].expand(-1, -1, kernel.shape[2] - 1, -1, -1)
    x = torch.cat([first, x], 2)
    return F.conv3d(x, kernel, w[f"{name}.conv.bias"], stride, (0, padding, padding))


def norm(w: Weights, name: str, x: Tensor) -> Tensor:
    """Group norm over all frames together."""
    return F.group_norm(x, 32, w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)


def frame_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    """Group norm of each frame."""
    frames = x.transpose(1, 2).flatten(0, 1)
    return norm(w, name, frames).unflatten(0, (len(x), -1)).transpose(1, 2)


def block_2d(w: Weights, name: str, x: Tensor) -> Tensor:
    """A residual block of frames."""
    h = conv2d(w, f"{name}.conv1", F.silu(frame_norm(w, f"{name}.norm1", x)))
    h = conv2d(w, f"{name}.conv2", F.silu(frame_norm(w, f"{name}.norm2", h)))
    wide = f"{name}.nin_shortcut.weight" in w
    return h + (conv2d(w, f"{name}.nin_shortcut", x, padding=0) if wide else x)


def block_3d(w: Weights, name: str, x: Tensor) -> Tensor:
    """A residual block of films."""
    h = causal(w, f"{name}.conv1", F.silu(norm(w, f"{name}.norm1", x)))
    h = causal(w, f"{name}.conv2", F.silu(norm(w, f"{name}.norm2", h)))
    wide = f"{name}.nin_shortcut.conv.weight" in w
    return h + (causal(w, f"{name}.nin_shortcut", x, padding=0) if wide else x)


def attention(w: Weights, name: str, x: Tensor) -> Tensor:
    """Attention over the positions of each frame."""
    y = norm(w, f"{name}.norm", x)
    q, k, v = (
        causal(w, f"{name}.{part}", y, padding=0).permute(0, 2, 3, 4, 1).flatten(2, 3) for part in "qkv"
    )
    weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(x.shape[1]), -1)
    out = (weights @ v).unflatten(2, tuple(x.shape[3:])).permute(0, 4, 1, 2, 3)
    return x + causal(w, f"{name}.proj_out", out, padding=0)


def middle(w: Weights, name: str, x: Tensor) -> Tensor:
    """The narrowest level."""
    x = block_3d(w, f"{name}.block_1", x)
    return block_3d(w, f"{name}.block_2", attention(w, f"{name}.attn_1", x))


def down_2d(w: Weights, name: str, x: Tensor) -> Tensor:
    """Half the rows and columns."""
    return conv2d(w, f"{name}.downsample.conv", F.pad(x, (0, 1, 0, 1)), padding=0, stride=2)


def down_3d(w: Weights, name: str, x: Tensor) -> Tensor:
    """Half the frames, rows and columns."""
    return causal(w, f"{name}.downsample.conv", F.pad(x, (0, 1, 0, 1)), padding=0, stride=2)


def up_2d(w: Weights, name: str, x: Tensor) -> Tensor:
    """Twice the rows and columns, repeated."""
    x = F.interpolate(x, scale_factor=(1, 2, 2), mode="nearest")
    return causal(w, f"{name}.upsample.conv", x)


def up_3d(w: Weights, name: str, x: Tensor) -> Tensor:
    """Twice the rows and columns, and 2T - 1 frames, interpolated; the first frame by itself."""
    one = F.interpolate(x[:, :, :1], scale_factor=(1, 2, 2), mode="trilinear")
    if x.shape[2] > 1:
        one = torch.cat([one, F.interpolate(x[:, :, 1:], scale_factor=2, mode="trilinear")], 2)
    return causal(w, f"{name}.upsample.conv", one)


def blocks(w: Weights, name: str) -> list[str]:
    """Names of a level's residual blocks."""
    numbers = {int(key[len(name) :].split(".")[2]) for key in w if key.startswith(f"{name}.block.")}
    return [f"{name}.block.{number}" for number in sorted(numbers)]


def encode(w: Weights, x: Tensor) -> Tensor:
    """Mean and raw log-variance, unscaled: x (B, 3, T, H, W) -> (B, 8, (T-1)/4 + 1, H/8, W/8)."""
    x = conv2d(w, "encoder.conv_in", x)
    levels = [(block_2d, down_2d), (block_2d, down_3d), (block_3d, down_3d), (block_3d, None)]
    for number, (block, down) in enumerate(levels):
        level = f"encoder.down.{number}"
        for name in blocks(w, level):
            x = block(w, name, x)
        x = x if down is None else down(w, level, x)
    x = F.silu(norm(w, "encoder.norm_out", middle(w, "encoder.mid", x)))
    return causal(w, "quant_conv", causal(w, "encoder.conv_out", x), padding=0)


def decode(w: Weights, z: Tensor) -> Tensor:
    """Pixels of unscaled latents: z (B, 4, t, h, w) -> (B, 3, 4t - 3, 8h, 8w)."""
    x = causal(w, "decoder.conv_in", causal(w, "post_quant_conv", z, padding=0))
    x = middle(w, "decoder.mid", x)
    for number, up in ((3, up_3d), (2, up_3d), (1, up_2d), (0, None)):
        level = f"decoder.up.{number}"
        for name in blocks(w, level):
            x = block_3d(w, name, x)
        x = x if up is None else up(w, level, x)
    return causal(w, "decoder.conv_out", F.silu(norm(w, "decoder.norm_out", x)))
