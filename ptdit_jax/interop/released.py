"""The released PyTorch layout of PT-DiT weights: which of its tensors is which of our parameters.

A PyTorch Linear keeps (out, in), ours (in, *out); ours fuses q, k, v (and k, v) into one kernel and stacks equal
blocks on a leading axis.  Block i of the release is repeat i // group, block i % group of our stack.  Networks the
authors never released (class-conditional, ablations) follow the same naming.

Arrays are numpy on the host, float32, keyed by our parameter path (`nnx.to_flat_state`) or by the released name.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ptdit_jax.models.variants import Architecture

Path = tuple[str | int, ...]
BUFFERS = frozenset({"pos_embed.pos_embed"})  # in the released file, but computed and never trained


@dataclasses.dataclass(frozen=True)
class Entry:
    """One of our parameters (one block's slice of it) and the released tensors it is made of.

    Attributes:
      path: our parameter.
      names: released tensors; several where ours fuses them.
      kind: "as_is", "linear" (transpose), "conv" (patch convolution to Linear), "fused" or "fused_bias".
      shape: of our parameter without the layer axis.
      layer: index along the layer axis, or None for parameters outside the blocks.
    """

    path: Path
    names: tuple[str, ...]
    kind: str
    shape: tuple[int, ...]
    layer: int | None = None

    def to_ours(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """Our array of shape `shape` from the released tensors."""
        parts = [np.asarray(tensors[name]) for name in self.names]
        if self.kind == "as_is":
            return parts[0].reshape(self.shape)
        if self.kind in ("linear", "conv"):
            return parts[0].reshape(parts[0].shape[0], -1).T.reshape(self.shape)
        if self.kind == "fused":  # (in, parts, H, d)
            return np.stack([p.T for p in parts], axis=1).reshape(self.shape)
        return np.stack(parts).reshape(self.shape)

    def to_released(self, ours: np.ndarray, arch: Architecture) -> dict[str, np.ndarray]:
        """The released tensors of one slice of our array; the inverse of `to_ours`."""
        if self.kind == "as_is":
            shape = ours.shape if self.path[-1] != "bias" else (-1,)
            return {self.names[0]: ours.reshape(shape)}
        if self.kind == "linear":
            inputs = {"out": arch.width}.get(str(self.path[-2]), ours.shape[0])
            return {self.names[0]: np.ascontiguousarray(ours.reshape(inputs, -1).T)}
        if self.kind == "conv":
            conv = (-1, arch.channels, arch.patch, arch.patch)
            return {self.names[0]: np.ascontiguousarray(ours.T).reshape(conv)}
        if self.kind == "fused":
            flat = ours.reshape(ours.shape[0], len(self.names), -1)
            return {name: np.ascontiguousarray(flat[:, i].T) for i, name in enumerate(self.names)}
        flat = ours.reshape(len(self.names), -1)
        return {name: np.ascontiguousarray(flat[i]) for i, name in enumerate(self.names)}


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
        yield Entry(("final_layer", "table"), ("scale_shift_table",), "as_is", (2, width))
    else:
        yield from _linear(("final_layer", "modulation"), "adaln_out.linear", (width,), (2, width))
    if arch.condition == "text":
        yield from _linear(
            ("text_projection", "linear_1"), "caption_projection.linear_1", (arch.text_dim,), (width,)
        )
        yield from _linear(("text_projection", "linear_2"), "caption_projection.linear_2", (width,), (width,))
    if arch.condition == "class":
        shape = (arch.classes + 1, width)
        yield Entry(("class_embedding", "table"), ("class_embedder.embedding_table.weight",), "as_is", shape)
    features = arch.patch**2 * arch.out_channels
    yield from _linear(("final_layer", "proj_out"), "proj_out", (width,), (features,))
    for i in range(arch.depth):
        repeat, j = divmod(i, arch.group)
        for entry in _block(arch, shifted=arch.shift_every > 0 and j == arch.group - 1):
            names = tuple(f"transformer_blocks.{i}.{name}" for name in entry.names)
            yield dataclasses.replace(entry, path=("blocks", j, *entry.path), names=names, layer=repeat)
    assert width % heads == 0


def _block(arch: Architecture, *, shifted: bool) -> Iterator[Entry]:
    width = arch.width
    has = {"proxy": arch.giim, "injection": arch.giim, "injection_kv": arch.giim, "window": arch.tcm}
    has |= {"shift": shifted, "mlp": True}
    if arch.adaln == "single":
        yield Entry(("modulation", "table"), ("scale_shift_table",), "as_is", (6, width))
        if shifted:
            yield Entry(("modulation", "shift_table"), ("proxy_scale_shift_table",), "as_is", (3, width))
    else:
        rows = sum(2 if part == "injection_kv" else 3 for part in has if has[part] and part in arch.modulated)
        if rows:
            yield from _linear(("modulation", "linear"), "adaln_zero.linear", (width,), (rows, width))
    if arch.giim:
        yield from _self_attention(arch, ("giim", "self_attention"), "proxy_attn1")
        if arch.injection == "cross_attention":
            yield from _cross_attention(arch, ("giim", "cross_attention"), "pvisual_attn2")
        elif arch.injection == "linear":
            yield from _linear(("giim", "expand"), "proxy_expand", (width,), (arch.linear_tokens, width))
        if arch.zero_linears:
            yield from _linear(("giim", "linear_1"), "linear_1_visual", (width,), (width,))
    if arch.tcm:
        yield from _self_attention(arch, ("window_attention", "attention"), "attn1")
    if shifted:
        yield from _self_attention(arch, ("shifted_attention", "attention"), "attn3")
        if arch.zero_linears:
            yield from _linear(("linear_2",), "linear_2", (width,), (width,))
    if arch.condition == "text":
        yield from _cross_attention(arch, ("text_attention",), "attn2")
    hidden = arch.mlp_ratio * width
    yield from _linear(("mlp", "up"), "ff.net.0.proj", (width,), (hidden,))
    yield from _linear(("mlp", "down"), "ff.net.2", (hidden,), (width,))


def _linear(path: Path, name: str, ins: tuple[int, ...], outs: tuple[int, ...], kind: str = "linear"):
    yield Entry((*path, "kernel"), (f"{name}.weight",), kind, (*ins, *outs))
    yield Entry((*path, "bias"), (f"{name}.bias",), "as_is", outs)


def _fused(arch: Architecture, path: Path, name: str, letters: str):
    shape = (len(letters), arch.heads, arch.width // arch.heads)
    weights = tuple(f"{name}.to_{letter}.weight" for letter in letters)
    biases = tuple(f"{name}.to_{letter}.bias" for letter in letters)
    yield Entry((*path, "kernel"), weights, "fused", (arch.width, *shape))
    yield Entry((*path, "bias"), biases, "fused_bias", shape)


def _self_attention(arch: Architecture, path: Path, name: str):
    heads = (arch.heads, arch.width // arch.heads)
    yield from _fused(arch, (*path, "qkv"), name, "qkv")
    yield from _linear((*path, "out"), f"{name}.to_out.0", heads, (arch.width,))


def _cross_attention(arch: Architecture, path: Path, name: str):
    heads = (arch.heads, arch.width // arch.heads)
    yield from _linear((*path, "q"), f"{name}.to_q", (arch.width,), heads)
    yield from _fused(arch, (*path, "kv"), name, "kv")
    yield from _linear((*path, "out"), f"{name}.to_out.0", heads, (arch.width,))


def from_released(
    tensors: Mapping[str, np.ndarray], arch: Architecture, allocate: Callable = np.empty
) -> dict[Path, np.ndarray]:
    """Our parameters, {path: float32 array}, from released tensors.

    Raises:
      ValueError: naming tensors that are missing or surplus, or one whose size is not the network's.
    """
    table = list(entries(arch))
    wanted = {name for entry in table for name in entry.names}
    missing, surplus = sorted(wanted - set(tensors)), sorted(set(tensors) - wanted - BUFFERS)
    if missing or surplus:
        raise ValueError(f"weights do not fit the network: missing {missing[:5]}, surplus {surplus[:5]}")
    ours: dict[Path, np.ndarray] = {}
    for entry in table:
        size = sum(tensors[name].size for name in entry.names)
        if size != int(np.prod(entry.shape)):
            shapes = [tuple(tensors[name].shape) for name in entry.names]
            raise ValueError(
                f"{entry.names} have shapes {shapes}, which do not make {entry.path} {entry.shape}"
            )
        if entry.layer is None:
            ours[entry.path] = entry.to_ours(tensors)
        else:
            if entry.path not in ours:
                ours[entry.path] = allocate((arch.groups, *entry.shape), np.float32)
            ours[entry.path][entry.layer] = entry.to_ours(tensors)
    return ours


def to_released(ours: Mapping[Path, np.ndarray], arch: Architecture) -> dict[str, np.ndarray]:
    """Released tensors from our parameters; the inverse of `from_released` (buffers left out)."""
    tensors: dict[str, np.ndarray] = {}
    for entry in entries(arch):
        array = np.asarray(ours[entry.path])
        tensors |= entry.to_released(array if entry.layer is None else array[entry.layer], arch)
    return tensors
