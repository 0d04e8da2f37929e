"""Inception-3D once more, in PyTorch and in other words: tensors by name, norms unfolded, padding counted by hand."""

import math

import torch
import torch.nn.functional as F

MIXED_3 = ("Mixed_3b", "Mixed_3c")
MIXED_4 = ("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f")
MIXED_5 = ("Mixed_5b", "Mixed_5c")


def padded(x, kernel, stride):
    """As TensorFlow pads: so that a length L gives ceil(L / stride), the odd one behind."""
    sides = []
    for length, window, step in zip(x.shape[2:], kernel, stride, strict=True):
        total = max((math.ceil(length / step) - 1) * step + window - length, 0)
        sides = [total // 2, total - total // 2, *sides]
    return F.pad(x, sides)


def unit(tensors, name, x, stride=1):
    """A convolution, its norm of inference and a ReLU."""
    weight = tensors[f"{name}.conv3d.weight"]
    x = F.conv3d(padded(x, weight.shape[2:], (stride,) * 3), weight, stride=stride)
    norm = [tensors[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return F.relu(F.batch_norm(x, *norm, training=False, eps=1e-5))


def pool(x, kernel, stride):
    """The maximum; zeros pad."""
    return F.max_pool3d(padded(x, kernel, stride), kernel, stride)


def mixed(tensors, name, x):
    """A block of four branches."""
    branches = [
        unit(tensors, f"{name}.b0", x),
        unit(tensors, f"{name}.b1b", unit(tensors, f"{name}.b1a", x)),
        unit(tensors, f"{name}.b2b", unit(tensors, f"{name}.b2a", x)),
        unit(tensors, f"{name}.b3b", pool(x, (3, 3, 3), (1, 1, 1))),
    ]
    return torch.cat(branches, dim=1)


def maps(tensors, x):
    """(N, 3, F, H, W) -> (N, 1024, T, R, S)."""
    x = pool(unit(tensors, "Conv3d_1a_7x7", x, 2), (1, 3, 3), (1, 2, 2))
    x = pool(unit(tensors, "Conv3d_2c_3x3", unit(tensors, "Conv3d_2b_1x1", x)), (1, 3, 3), (1, 2, 2))
    for name in MIXED_3:
        x = mixed(tensors, name, x)
    x = pool(x, (3, 3, 3), (2, 2, 2))
    for name in MIXED_4:
        x = mixed(tensors, name, x)
    x = pool(x, (2, 2, 2), (2, 2, 2))
    for name in MIXED_5:
        x = mixed(tensors, name, x)
    return x


def logits(tensors, x):
    """(N, 3, F, 224, 224) in [-1, 1] -> (N, 400), and the pooled features (N, 1024, T - 1)."""
    pooled = F.avg_pool3d(maps(tensors, x), (2, 7, 7), stride=1)
    last = F.conv3d(pooled, tensors["logits.conv3d.weight"], tensors["logits.conv3d.bias"])
    return last.flatten(2).mean(2), pooled.flatten(2)
