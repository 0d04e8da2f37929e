"""The released PyTorch layouts of PT-DiT's weights and of DiT's and SiT's: which tensor is which of our parameters.

A PyTorch Linear keeps (out, in), ours (in, out), and ours stacks equal blocks on a leading axis.  Block i of the
release is repeat i // group, block i % group of our stack.
PT-DiTs that the authors never released (class-conditional, ablations) follow the same naming.
DiT (github.com/facebookresearch/DiT) and SiT (github.com/willisma/SiT) have one layout, with q, k and v in one tensor.

Arrays are numpy on the host, float32, keyed by our parameter path (`nnx.to_flat_state`) or the released name.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ptdit_jax.models.conditioning import PARTS, TIME_FEATURES
from ptdit_jax.models.position import positions_2d, positions_3d
from ptdit_jax.models.variants import Architecture

Path = tuple[str | int, ...]
BUFFER = {"ptdit": "pos_embed.pos_embed", "dit": "pos_embed"}
"""By family, what is in the released file, but computed and never trained."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """Parameters of ours (one block's slice of each) and the released tensor that holds them.

    Attributes:
      paths: our parameter, or several of one shape that the released tensor has one after the other.
      name: the released tensor.
      kind: "as_is", "linear" (transpose) or "conv" (patch convolution to Linear).
      shape: of one of our parameters without the layer axis.
      layer: index along the layer axis, or None for parameters outside the blocks.
    """

    paths: tuple[Path, ...]
    name: str
    kind: str
    shape: tuple[int, ...]
    layer: int | None = None

    def released_shape(self, arch: Architecture) -> tuple[int, ...]:
        """The shape of `name` in the released layout."""
        if self.kind == "conv":
            return (self.shape[1], arch.channels, arch.patch, arch.patch)
        rows, *rest = self.shape if self.kind == "as_is" else self.shape[::-1]
        return (len(self.paths) * rows, *rest)

    def to_ours(self, tensor: np.ndarray) -> list[np.ndarray]:
        """Our arrays of shape `shape`, one for each of `paths`, from the released tensor."""
        parts = np.split(tensor, len(self.paths))
        return parts if self.kind == "as_is" else [part.reshape(part.shape[0], -1).T for part in parts]

    def to_released(self, ours: Sequence[np.ndarray], arch: Architecture) -> np.ndarray:
        """The released tensor from one slice of each of our arrays; the inverse of `to_ours`."""
        parts = ours if self.kind == "as_is" else [array.T for array in ours]
        joined = np.concatenate(parts) if len(parts) > 1 else np.ascontiguousarray(parts[0])
        return joined.reshape(self.released_shape(arch))


def check_family(arch: Architecture) -> None:
    """Whether a network has a released layout.

    Raises:
      ValueError: its family has none.
    """
    if arch.family not in BUFFER:
        known = " and ".join(map(repr, BUFFER))
        raise ValueError(f"model.family={arch.family!r} has no PyTorch layout; conversions take {known}")


def entries(arch: Architecture) -> Iterator[Entry]:
    """Every parameter of a network and its released names, blocks in order; see `check_family`."""
    check_family(arch)
    return _ptdit(arch) if arch.family == "ptdit" else _dit(arch)


def _ptdit(arch: Architecture) -> Iterator[Entry]:
    width, heads = arch.width, arch.heads
    yield from _linear(
        ("patch_embedding",), "pos_embed.proj", (arch.channels * arch.patch**2,), (width,), kind="conv"
    )
    for ours, name, size in (("linear_1", "linear_1", 256), ("linear_2", "linear_2", width)):
        released = f"adaln_single.emb.timestep_embedder.{name}"
        yield from _linear(("time_embedding", ours), released, (size,), (width,))
    if arch.adaln == "single":
        yield from _linear(("shared_modulation", "linear"), "adaln_single.linear", (width,), (6, width))
        yield _as_is(("final_layer", "table"), "scale_shift_table", (2, width))
    else:
        yield from _linear(("final_layer", "modulation"), "adaln_out.linear", (width,), (2, width))
    if arch.condition == "text":
        yield from _linear(
            ("text_projection", "linear_1"), "caption_projection.linear_1", (arch.text_dim,), (width,)
        )
        yield from _linear(("text_projection", "linear_2"), "caption_projection.linear_2", (width,), (width,))
    if arch.condition == "class":
        shape = (arch.classes + 1, width)
        yield _as_is(("class_embedding", "table"), "class_embedder.embedding_table.weight", shape)
    features = arch.patch**2 * arch.out_channels
    yield from _linear(("final_layer", "proj_out"), "proj_out", (width,), (features,))
    for i in range(arch.depth):
        repeat, j = divmod(i, arch.group)
        for entry in _ptdit_block(arch, shifted=arch.shift_every > 0 and j == arch.group - 1):
            yield _in_block(entry, "transformer_blocks", i, j, repeat)
    assert width % heads == 0


def _ptdit_block(arch: Architecture, *, shifted: bool) -> Iterator[Entry]:
    width = arch.width
    has = {"proxy": arch.giim, "injection": arch.giim, "injection_kv": arch.giim, "window": arch.tcm}
    has |= {"shift": shifted, "mlp": True}
    if arch.adaln == "single":
        yield _as_is(("modulation", "table"), "scale_shift_table", (6, width))
        if shifted:
            yield _as_is(("modulation", "shift_table"), "proxy_scale_shift_table", (3, width))
    else:
        rows = sum(PARTS[part] for part in has if has[part] and part in arch.modulated)
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
    if arch.tcm:
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


def _dit(arch: Architecture) -> Iterator[Entry]:
    width, inputs = (arch.width,), (arch.channels * arch.patch**2,)
    yield from _linear(("patch_embedding",), "x_embedder.proj", inputs, width, kind="conv")
    yield from _linear(("time_embedding", "linear_1"), "t_embedder.mlp.0", (TIME_FEATURES,), width)
    yield from _linear(("time_embedding", "linear_2"), "t_embedder.mlp.2", width, width)
    classes = (arch.classes + 1, arch.width)
    yield _as_is(("class_embedding", "table"), "y_embedder.embedding_table.weight", classes)
    outputs = (arch.patch**2 * arch.out_channels,)
    yield from _linear(("final_layer", "proj_out"), "final_layer.linear", width, outputs)
    yield from _linear(("final_layer", "modulation"), "final_layer.adaLN_modulation.1", width, (2, *width))
    for i in range(arch.depth):
        for entry in _dit_block(arch):
            yield _in_block(entry, "blocks", i, 0, i)


def _dit_block(arch: Architecture) -> Iterator[Entry]:
    width, hidden = arch.width, arch.mlp_ratio * arch.width
    for leaf, name, kind, shape in (
        ("kernel", "weight", "linear", (width, width)),
        ("bias", "bias", "as_is", (width,)),
    ):
        paths = tuple(("attention", letter, leaf) for letter in "qkv")
        yield Entry(paths, f"attn.qkv.{name}", kind, shape)
    yield from _linear(("attention", "out"), "attn.proj", (width,), (width,))
    yield from _linear(("mlp", "up"), "mlp.fc1", (width,), (hidden,))
    yield from _linear(("mlp", "down"), "mlp.fc2", (hidden,), (width,))
    yield from _linear(("modulation", "linear"), "adaLN_modulation.1", (width,), (6, width))


def _in_block(entry: Entry, stack: str, number: int, place: int, repeat: int) -> Entry:
    paths = tuple(("blocks", place, *path) for path in entry.paths)
    return dataclasses.replace(entry, paths=paths, name=f"{stack}.{number}.{entry.name}", layer=repeat)


def _as_is(path: Path, name: str, shape: tuple[int, ...]) -> Entry:
    return Entry((path,), name, "as_is", shape)


def _linear(path: Path, name: str, ins: tuple[int, ...], outs: tuple[int, ...], kind: str = "linear"):
    shape = (math.prod(ins), math.prod(outs))
    yield Entry(((*path, "kernel"),), f"{name}.weight", kind, shape)
    yield _as_is((*path, "bias"), f"{name}.bias", shape[1:])


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
            f"{name} {tuple(shapes[name])}"
            for name in shapes
            if name not in wanted and name != BUFFER[arch.family]
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
        for path, array in zip(entry.paths, entry.to_ours(tensor), strict=True):
            if entry.layer is None:
                ours[path] = np.array(array, np.float32, order="C")
            else:
                if path not in ours:
                    ours[path] = np.empty((arch.groups, *entry.shape), np.float32)
                ours[path][entry.layer] = array
    return ours


def to_released(ours: Mapping[Path, np.ndarray], arch: Architecture) -> dict[str, np.ndarray]:
    """Released tensors from our parameters; the inverse of `from_released` (buffers left out)."""
    return dict(disassemble(ours, arch))


def disassemble(ours: Mapping[Path, np.ndarray], arch: Architecture) -> Iterator[tuple[str, np.ndarray]]:
    """The released tensors (name, array), made one after the other in the order of `released_shapes`."""
    for entry in entries(arch):
        arrays = [np.asarray(ours[path]) for path in entry.paths]
        slices = arrays if entry.layer is None else [array[entry.layer] for array in arrays]
        yield entry.name, entry.to_released(slices, arch)


def declared_positions(arch: Architecture, frames: int) -> np.ndarray:
    """The released buffer `BUFFER` of the declared size: (1, frames, tokens a frame, D), DiT's (1, tokens, D)."""
    side = max(arch.sample_size // arch.patch, 1)
    if arch.family == "dit":
        return positions_2d((1, side, side), arch.width).reshape(1, -1, arch.width)
    table = positions_3d((frames, side, side), arch.width, arch.sample_size, arch.positions)
    return table.reshape(1, frames, -1, arch.width)
