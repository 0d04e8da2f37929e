"""The released PyTorch layout of PT-DiT weights: which of its tensors is which of our parameters.

A PyTorch Linear keeps (out, in), ours (in, out), and ours stacks equal blocks on a leading axis.  Block i of the
release is repeat i // group, block i % group of our stack.
Networks the authors never released (class-conditional, ablations) follow the same naming.

Arrays are numpy on the host, float32, keyed by our parameter path (`nnx.to_flat_state`) or the released name.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ptdit_jax.models.conditioning import PARTS
from ptdit_jax.models.position import positions_2d, positions_3d
from ptdit_jax.models.variants import Architecture

Path = tuple[str | int, ...]
BUFFERS = frozenset({"pos_embed.pos_embed"})  # in the released file, but computed and never trained


@dataclasses.dataclass(frozen=True)
class Entry:
    """One of our parameters (one block's slice of it) and the released tensor that it is.

    Attributes:
      path: our parameter.
      name: the released tensor.
      kind: "as_is", "linear" (transpose) or "conv" (patch convolution to Linear).
      shape: of our parameter without the layer axis.
      layer: index along the layer axis, or None for parameters outside the blocks.
    """

    path: Path
    name: str
    kind: str
    shape: tuple[int, ...]
    layer: int | None = None

    def released_shape(self, arch: Architecture) -> tuple[int, ...]:
        """The shape of `name` in the released layout."""
        if self.kind == "conv":
            return (self.shape[1], arch.channels, arch.patch, arch.patch)
        return self.shape if self.kind == "as_is" else self.shape[::-1]

    def to_ours(self, tensor: np.ndarray) -> np.ndarray:
        """Our array of shape `shape` from the released tensor."""
        return tensor if self.kind == "as_is" else tensor.reshape(tensor.shape[0], -1).T

    def to_released(self, ours: np.ndarray, arch: Architecture) -> np.ndarray:
        """The released tensor from one slice of our array; the inverse of `to_ours`."""
        if self.kind == "as_is":
            return ours
        return np.ascontiguousarray(ours.T).reshape(self.released_shape(arch))


def entries(arch: Architecture) -> Iterator[Entry]:
    """Every parameter of a PT-DiT and its released names, blocks in order."""
    width, heads = arch.width, arch.heads
    yield from _linear(
        ("patch_embedding",), "pos_embed.proj", (arch.channels * arch.patch**2,), (width,), kind="conv"
    )
    for ours, name, size in (("linear_1", "linear_1", 256), ("linear_2", "linear_2", width)):
        released = f"adaln_single.emb.timestep_embedder.{name}"
        yield from _linear(("time_embedding", ours), released, (size,), (width,))
    if arch.adaln == "single":
        yield from _linear(("shared_modulation", "linear"), "adaln_single.linear", (width,), (6, width))
        yield Entry(("final_layer", "table"), "scale_shift_table", "as_is", (2, width))
    else:
        yield from _linear(("final_layer", "modulation"), "adaln_out.linear", (width,), (2, width))
    if arch.condition == "text":
        yield from _linear(
            ("text_projection", "linear_1"), "caption_projection.linear_1", (arch.text_dim,), (width,)
        )
        yield from _linear(("text_projection", "linear_2"), "caption_projection.linear_2", (width,), (width,))
    if arch.condition == "class":
        shape = (arch.classes + 1, width)
        yield Entry(("class_embedding", "table"), "class_embedder.embedding_table.weight", "as_is", shape)
    features = arch.patch**2 * arch.out_channels
    yield from _linear(("final_layer", "proj_out"), "proj_out", (width,), (features,))
    for i in range(arch.depth):
        repeat, j = divmod(i, arch.group)
        for entry in _block(arch, shifted=arch.shift_every > 0 and j == arch.group - 1):
            name = f"transformer_blocks.{i}.{entry.name}"
            yield dataclasses.replace(entry, path=("blocks", j, *entry.path), name=name, layer=repeat)
    assert width % heads == 0


def _block(arch: Architecture, *, shifted: bool) -> Iterator[Entry]:
    width = arch.width
    has = {"proxy": arch.giim, "injection": arch.giim, "injection_kv": arch.giim, "window": arch.tcm}
    has |= {"shift": shifted, "mlp": True}
    if arch.family == "dit":  # its one attention is named as that of windows
        has = {"window": True, "mlp": True}
    if arch.adaln == "single":
        yield Entry(("modulation", "table"), "scale_shift_table", "as_is", (6, width))
        if shifted:
            yield Entry(("modulation", "shift_table"), "proxy_scale_shift_table", "as_is", (3, width))
    else:
        modulated = has if arch.family == "dit" else arch.modulated
        rows = sum(PARTS[part] for part in has if has[part] and part in modulated)
        if rows:
            yield from _linear(("modulation", "linear"), "adaln_zero.linear", (width,), (rows, width))
    if arch.giim:
        yield from _attention(arch, ("giim", "self_attention"), "proxy_attn1")
        if arch.injection == "cross_attention":
            yield from _attention(arch, ("giim", "cross_attention"), "pvisual_attn2")
        elif arch.injection == "linear":
            yield from _linear(("giim", "expand"), "proxy_expand", (width,), (arch.linear_tokens, width))
        if arch.zero_linears:
            yield from _linear(("giim", "linear_1"), "linear_1_visual", (width,), (width,))
    if arch.family == "dit":
        yield from _attention(arch, ("attention",), "attn1")
    elif arch.tcm:
        yield from _attention(arch, ("window_attention", "attention"), "attn1")
    if shifted:
        yield from _attention(arch, ("shifted_attention", "attention"), "attn3")
        if arch.zero_linears:
            yield from _linear(("linear_2",), "linear_2", (width,), (width,))
    if arch.condition == "text":
        yield from _attention(arch, ("text_attention",), "attn2")
    hidden = arch.mlp_ratio * width
    yield from _linear(("mlp", "up"), "ff.net.0.proj", (width,), (hidden,))
    yield from _linear(("mlp", "down"), "ff.net.2", (hidden,), (width,))


def _linear(path: Path, name: str, ins: tuple[int, ...], outs: tuple[int, ...], kind: str = "linear"):
    shape = (math.prod(ins), math.prod(outs))
    yield Entry((*path, "kernel"), f"{name}.weight", kind, shape)
    yield Entry((*path, "bias"), f"{name}.bias", "as_is", shape[1:])


def _attention(arch: Architecture, path: Path, name: str):
    heads = (arch.heads, arch.width // arch.heads)
    for letter in "qkv":
        yield from _linear((*path, letter), f"{name}.to_{letter}", (arch.width,), heads)
    yield from _linear((*path, "out"), f"{name}.to_out.0", heads, (arch.width,))


def released_shapes(arch: Architecture) -> dict[str, tuple[int, ...]]:
    """Every trained tensor of the released layout with its shape, in the order of the blocks; no buffers."""
    return {entry.name: entry.released_shape(arch) for entry in entries(arch)}


def check_names(shapes: Mapping[str, tuple[int, ...]], arch: Architecture) -> None:
    """Compare names and shapes of tensors with those of a network; buffers may be there or not.

    Raises:
      ValueError: one line with all that is missing, surplus or mis-shaped (the first few of each by name).
    """
    wanted = released_shapes(arch)
    problems = {
        "missing": [f"{name} {shape}" for name, shape in wanted.items() if name not in shapes],
        "surplus": [
            f"{name} {tuple(shapes[name])}" for name in shapes if name not in wanted and name not in BUFFERS
        ],
        "mis-shaped": [
            f"{name} {tuple(shapes[name])}, not {shape}"
            for name, shape in wanted.items()
            if name in shapes and tuple(shapes[name]) != shape
        ],
    }
    lines = [
        f"{len(found)} {kind}: {'; '.join(found[:3])}{' ...' if len(found) > 3 else ''}"
        for kind, found in problems.items()
        if found
    ]
    if lines:
        raise ValueError("the weights are not those of the config's network: " + " | ".join(lines))


def from_released(tensors: Mapping[str, np.ndarray], arch: Architecture) -> dict[Path, np.ndarray]:
    """Our parameters, {path: float32 array}, from released tensors; see `check_names` and `assemble`.

    Raises:
      ValueError: naming tensors that are missing, surplus, of another shape, or not finite.
    """
    check_names({name: tensor.shape for name, tensor in tensors.items()}, arch)
    return assemble(tensors.__getitem__, arch)


def assemble(read: Callable[[str], np.ndarray], arch: Architecture) -> dict[Path, np.ndarray]:
    """Our parameters from tensors that are read one after the other, each once.

    Args:
      read: a released name -> its tensor, of the right shape.
      arch: the network.

    Raises:
      ValueError: naming a tensor with values that are not finite.
    """
    ours: dict[Path, np.ndarray] = {}
    for entry in entries(arch):
        tensor = np.asarray(read(entry.name))
        if not (finite := np.isfinite(tensor)).all():
            raise ValueError(
                f"{entry.name}: {tensor.size - finite.sum()} of {tensor.size} values are not finite"
            )
        if entry.layer is None:
            ours[entry.path] = np.array(entry.to_ours(tensor), np.float32, order="C")
        else:
            if entry.path not in ours:
                ours[entry.path] = np.empty((arch.groups, *entry.shape), np.float32)
            ours[entry.path][entry.layer] = entry.to_ours(tensor)
    return ours


def to_released(ours: Mapping[Path, np.ndarray], arch: Architecture) -> dict[str, np.ndarray]:
    """Released tensors from our parameters; the inverse of `from_released` (buffers left out)."""
    return dict(disassemble(ours, arch))


def disassemble(ours: Mapping[Path, np.ndarray], arch: Architecture) -> Iterator[tuple[str, np.ndarray]]:
    """The released tensors (name, array), made one after the other in the order of `released_shapes`."""
    for entry in entries(arch):
        array = np.asarray(ours[entry.path])
        yield entry.name, entry.to_released(array if entry.layer is None else array[entry.layer], arch)


def declared_positions(arch: Architecture, frames: int) -> np.ndarray:
    """The released buffer `pos_embed.pos_embed` of the declared size: (1, frames, tokens a frame, D)."""
    side = max(arch.sample_size // arch.patch, 1)
    if arch.family == "dit":
        table = positions_2d((frames, side, side), arch.width)
    else:
        table = positions_3d((frames, side, side), arch.width, arch.sample_size, arch.positions)
    return table.reshape(1, frames, -1, arch.width)
