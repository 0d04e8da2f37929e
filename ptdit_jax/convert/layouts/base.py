"""What a published layout of weights is: which tensor of a file is which of our parameters.

A PyTorch Linear keeps (out, in), ours (in, out), and ours stacks equal blocks on a leading axis.  Block i of a file
is repeat i // group, block i % group of our stack.

Arrays are numpy on the host, float32, keyed by our parameter path (`nnx.to_flat_state`) or the file's name.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np

from ptdit_jax.models.variants import Architecture

Path = tuple[str | int, ...]
Reader = Callable[[str], np.ndarray]
"""A name of a file -> its tensor, float32."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """Parameters of ours (one block's slice of each) and the file's tensor that holds them.

    Attributes:
      paths: our parameter, or several of one shape that the file's tensor has one after the other.
      name: the file's tensor.
      kind: "as_is", "linear" (transpose) or "conv" (patch convolution to Linear).
      shape: of one of our parameters without the layer axis.
      layer: index along the layer axis, or None for parameters outside the blocks.
    """

    paths: tuple[Path, ...]
    name: str
    kind: str
    shape: tuple[int, ...]
    layer: int | None = None

    def file_shape(self, arch: Architecture) -> tuple[int, ...]:
        """The shape of `name` in the file."""
        if self.kind == "conv":
            return (self.shape[1], arch.channels, arch.patch, arch.patch)
        rows, *rest = self.shape if self.kind == "as_is" else self.shape[::-1]
        return (len(self.paths) * rows, *rest)

    def to_ours(self, tensor: np.ndarray) -> list[np.ndarray]:
        """Our arrays of shape `shape`, one for each of `paths`, from the file's tensor."""
        parts = np.split(tensor, len(self.paths))
        return parts if self.kind == "as_is" else [part.reshape(part.shape[0], -1).T for part in parts]

    def to_file(self, ours: Sequence[np.ndarray], arch: Architecture) -> np.ndarray:
        """The file's tensor from one slice of each of our arrays; the inverse of `to_ours`."""
        parts = ours if self.kind == "as_is" else [array.T for array in ours]
        joined = np.concatenate(parts) if len(parts) > 1 else np.ascontiguousarray(parts[0])
        return joined.reshape(self.file_shape(arch))


@dataclasses.dataclass(frozen=True)
class Layout:
    """One way in which the weights of a family are published.

    Attributes:
      name: "original" (the authors' own code) or "diffusers".
      family: `model.family`.
      title: whose layout it is, for messages.
      marks: names that every such file has and that tell it from others.
      entries: every parameter of a network and its names in the file, blocks in order.  Two entries may have one
        parameter, where the file holds it twice.
      sizes: names whose shapes tell the network: "patches" (D, C, p, p), "outputs" (p·p·C_out, D), and, where the
        layout has them, "classes" (classes + 1, D), "text" (D, E) and "size", which only MS models have.
      buffer: the table of positions, which is computed and never trained; a file may lack it.
      positions: the table of the declared size, in the shape of the file: (arch, frames) -> array.
      writes_buffer: whether a conversion writes it.
      unlike: expression for names that such a file never has, where the marks are another's too; "" for none.
      null_text: the learned states (L, E) of the empty caption, "" where files have none.
      original: for a file's reader, (read) -> a reader by the names of the family's original layout.  Where the two
        layouts differ, it is written down apart from `entries`, so that the parity check compares two tables.
      file: where in its folder a conversion writes it; .safetensors, or what `torch.save` writes.
      facts: what the `config.json` beside the file says of the network, for diffusers: arch -> {name: value}.
    """

    name: str
    family: str
    title: str
    marks: frozenset[str]
    entries: Callable[[Architecture], Iterator[Entry]]
    sizes: Mapping[str, str]
    buffer: str
    positions: Callable[[Architecture, int], np.ndarray]
    writes_buffer: bool = True
    unlike: str = ""
    null_text: str = ""
    original: Callable[[Reader], Reader] = lambda read: read
    file: str = "model.safetensors"
    facts: Callable[[Architecture], dict[str, object]] | None = None

    def marks_are_in(self, names: Collection[str]) -> bool:
        """Whether a file with these names looks like this layout."""
        if not self.marks <= set(names):
            return False
        return not self.unlike or not any(re.match(self.unlike, name) for name in names)

    def implied(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """The fields of `config.model` that the shapes of a file tell, as far as the tensors are there."""
        found: dict[str, int] = {}
        blocks = {
            match[1] for name in shapes if (match := re.match(r"(?:transformer_)?blocks\.(\d+)\.", name))
        }
        found["depth"] = len(blocks)
        given = {what: tuple(shapes[name]) for what, name in self.sizes.items() if name in shapes}
        patches = given.get("patches", ())
        if len(patches) == 4:
            found |= {"width": patches[0], "channels": patches[1], "patch": patches[2]}
            outputs = given.get("outputs", ())
            if len(outputs) == 2 and outputs[0] % patches[2] ** 2 == 0:
                found["out_channels"] = outputs[0] // patches[2] ** 2
        if len(given.get("classes", ())) == 2:
            found["classes"] = given["classes"][0] - 1
        if len(given.get("text", ())) == 2:
            found["text_dim"] = given["text"][1]
        if "size" in self.sizes:
            found["size_condition"] = (
                8 if "size" in given else 0
            )  # every published one has 8 pixels a latent pixel
        return found

    def shapes(self, arch: Architecture) -> dict[str, tuple[int, ...]]:
        """Every trained tensor of the file with its shape, in the order of the blocks; no buffers."""
        return {entry.name: entry.file_shape(arch) for entry in self.entries(arch)}

    def check(self, shapes: Mapping[str, tuple[int, ...]], arch: Architecture) -> None:
        """Compare names and shapes of tensors with those of a network; buffer and empty caption may be there or not.

        Raises:
          ValueError: one line with all that is missing, surplus or mis-shaped (the first few of each by name).
        """
        wanted = self.shapes(arch)
        extra = {self.buffer, self.null_text}
        problems = {
            "missing": [f"{name} {shape}" for name, shape in wanted.items() if name not in shapes],
            "surplus": [
                f"{name} {tuple(shapes[name])}" for name in shapes if name not in wanted and name not in extra
            ],
            "mis-shaped": [
                f"{name} {tuple(shapes[name])}, not {shape}"
                for name, shape in wanted.items()
                if name in shapes and tuple(shapes[name]) != shape
            ],
        }
        lines = [
            f"model.{name}={getattr(arch, name)}, the weights have {value}"
            for name, value in self.implied(shapes).items()
            if getattr(arch, name) != value
        ]
        lines += [
            f"{len(found)} {kind}: {'; '.join(found[:3])}{' ...' if len(found) > 3 else ''}"
            for kind, found in problems.items()
            if found
        ]
        if lines:
            raise ValueError("the weights are not those of the config's network: " + " | ".join(lines))

    def from_tensors(self, tensors: Mapping[str, np.ndarray], arch: Architecture) -> dict[Path, np.ndarray]:
        """Our parameters, {path: float32 array}, from a file's tensors; see `check` and `assemble`.

        Raises:
          ValueError: naming tensors that are missing, surplus, of another shape, or not finite.
        """
        self.check({name: tensor.shape for name, tensor in tensors.items()}, arch)
        return self.assemble(tensors.__getitem__, arch)

    def assemble(self, read: Reader, arch: Architecture) -> dict[Path, np.ndarray]:
        """Our parameters from tensors that are read one after the other, each once.

        Args:
          read: a name of the file -> its tensor, of the right shape.
          arch: the network.

        Raises:
          ValueError: naming a tensor with values that are not finite, or one that is there twice and differs.
        """
        ours: dict[Path, np.ndarray] = {}
        first: dict[Path, str] = {}
        for entry in self.entries(arch):
            tensor = np.asarray(read(entry.name))
            if not (finite := np.isfinite(tensor)).all():
                raise ValueError(
                    f"{entry.name}: {tensor.size - finite.sum()} of {tensor.size} values are not finite"
                )
            for path, array in zip(entry.paths, entry.to_ours(tensor), strict=True):
                if entry.layer is None:
                    if path in ours and not np.array_equal(ours[path], array):
                        raise ValueError(
                            f"{entry.name} differs from {first[path]}; they are one tensor, which this layout has twice"
                        )
                    first.setdefault(path, entry.name)
                    ours.setdefault(path, np.array(array, np.float32, order="C"))
                else:
                    if path not in ours:
                        ours[path] = np.empty((arch.groups, *entry.shape), np.float32)
                    ours[path][entry.layer] = array
        return ours

    def to_tensors(self, ours: Mapping[Path, np.ndarray], arch: Architecture) -> dict[str, np.ndarray]:
        """A file's tensors from our parameters; the inverse of `from_tensors` (buffers left out)."""
        return dict(self.disassemble(ours, arch))

    def disassemble(
        self, ours: Mapping[Path, np.ndarray], arch: Architecture
    ) -> Iterator[tuple[str, np.ndarray]]:
        """The file's tensors (name, array), made one after the other in the order of `shapes`."""
        for entry in self.entries(arch):
            arrays = [np.asarray(ours[path]) for path in entry.paths]
            slices = arrays if entry.layer is None else [array[entry.layer] for array in arrays]
            yield entry.name, entry.to_file(slices, arch)


def in_block(entry: Entry, stack: str, number: int, place: int, repeat: int) -> Entry:
    """An entry of a block as one of the network: block `number` of `stack` is ours at `place`, `repeat`."""
    paths = tuple(("blocks", place, *path) for path in entry.paths)
    return dataclasses.replace(entry, paths=paths, name=f"{stack}.{number}.{entry.name}", layer=repeat)


def as_is(path: Path, name: str, shape: tuple[int, ...]) -> Entry:
    """A tensor that both sides keep in one shape."""
    return Entry((path,), name, "as_is", shape)


def linear(
    path: Path, name: str, ins: tuple[int, ...], outs: tuple[int, ...], kind: str = "linear"
) -> Iterator[Entry]:
    """Weight and bias of a Linear, or of the patch convolution."""
    shape = (math.prod(ins), math.prod(outs))
    yield Entry(((*path, "kernel"),), f"{name}.weight", kind, shape)
    yield as_is((*path, "bias"), f"{name}.bias", shape[1:])


def mlp(path: Path, names: tuple[str, str], ins: int, hidden: int, outs: int) -> Iterator[Entry]:
    """Two Linears, ours `linear_1` and `linear_2`."""
    yield from linear((*path, "linear_1"), names[0], (ins,), (hidden,))
    yield from linear((*path, "linear_2"), names[1], (hidden,), (outs,))


def fused(path: Path, letters: str, name: str, width: int) -> Iterator[Entry]:
    """Linears of ours, one for each letter, that the file has as one with their outputs one after the other."""
    for leaf, ending, kind, shape in (
        ("kernel", "weight", "linear", (width, width)),
        ("bias", "bias", "as_is", (width,)),
    ):
        yield Entry(tuple((*path, letter, leaf) for letter in letters), f"{name}.{ending}", kind, shape)


def attention(arch: Architecture, path: Path, name: str) -> Iterator[Entry]:
    """The four Linears of an attention, named as diffusers names them."""
    heads = (arch.heads, arch.width // arch.heads)
    for letter in "qkv":
        yield from linear((*path, letter), f"{name}.to_{letter}", (arch.width,), heads)
    yield from linear((*path, "out"), f"{name}.to_out.0", heads, (arch.width,))


def renamed(read: Reader, names: Sequence[tuple[str, str]], parts: Mapping[str, Sequence[str]]) -> Reader:
    """A reader by the names of one layout, of a file in another.

    Args:
      read: by the file's names.
      names: (regular expression for the start of a name, what the file has for it), of which the first that matches
        is taken.
      parts: for what the file has apart: an expression like those of `names`, and the file's names in their order.
    """

    def get(name: str) -> np.ndarray:
        for pattern, several in parts.items():
            if match := re.match(pattern, name):
                rest = name[match.end() :]
                return np.concatenate([read(match.expand(one) + rest) for one in several])
        for pattern, one in names:
            if match := re.match(pattern, name):
                return read(match.expand(one) + name[match.end() :])
        return read(name)

    return get
