"""Captions to text states: cleaned, tokenized and encoded by a frozen T5, from a folder or without any file.

Shapes: K captions, L tokens, l tokens of one caption, E features of a state.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from ptdit_jax.encoders import seeded, t5, t5_layout, t5_weights, tokenizer
from ptdit_jax.encoders.clean import cleaning
from ptdit_jax.encoders.t5 import T5Architecture
from ptdit_jax.parallel.axes import RULES
from ptdit_jax.parallel.rules import batch_sharding, replicated
from ptdit_jax.weight_files import json_files
from ptdit_jax.weight_files.reader import Tensor

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
ROWS = 32  # captions that are encoded together, at least one for each replica
SHORTEST = 8  # tokens; lengths are padded to this times powers of two, so that few programs are compiled


class Files(NamedTuple):
    """What a text encoder is made of, before its weights are read."""

    arch: T5Architecture
    weights: Callable[[], dict[str, Tensor]]
    """Opens them, see `t5_layout.open_folder`."""
    folder: Path | None
    """With the config.json; None for bytes, here and below."""
    tokenizer: Path | None
    """The folder of the tokenizer."""


def find(path: str, *, needs_tokenizer: bool = True) -> Files:
    """What is in a folder; reads its config.json alone.

    Args:
      path: `text_encoder.path`: a folder of `transformers`, a pipeline of diffusers with one in text_encoder/, or
        "bytes".
      needs_tokenizer: a folder without one is an error.

    Raises:
      ValueError: it is no encoder that is known, or has no tokenizer.
      OSError: there is no such folder.
    """
    if path == seeded.NAME:
        return Files(seeded.ARCHITECTURE, seeded.weights, None, None)
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"text_encoder.path={path}: there is no such folder")
    if not (folder / "config.json").is_file() and (folder / "text_encoder").is_dir():
        folder = folder / "text_encoder"
    file = folder / "config.json"
    if not file.is_file():
        raise ValueError(f"text_encoder.path={path} has no config.json; name the folder of a T5 encoder")
    arch = t5.read_architecture(json_files.read(file, "config of an encoder"), str(file))
    words = tokenizer.folder_of(folder)
    if words is None and needs_tokenizer:
        raise ValueError(
            f"{folder} has no tokenizer ({' or '.join(tokenizer.VOCABULARIES[:2])}), nor has the one beside it"
        )
    return Files(arch, lambda: t5_layout.open_folder(folder, arch), folder, words)


def fingerprint_of(section: Any) -> str:
    """`TextEncoder.fingerprint` without an encoder: every tensor is read once.

    Args:
      section: `config.text_encoder`.

    Raises:
      ValueError: see `open_text_encoder`.
    """
    files = find(section.path)
    return _fingerprint(files, t5_weights.digest(files.weights()), section.clean)


def null_of(section: Any, *, length: int) -> np.ndarray:
    """`TextEncoder.null` without an encoder, whose weights need not fit the memory.

    Args:
      section: `config.text_encoder`.
      length: L.
    """
    files = find(section.path)
    ids, mask = tokenizer.Tokenizer(files.tokenizer, files.arch.vocabulary)(
        [cleaning(section.clean)("")], length
    )
    ids, mask = ids[:, : mask.sum()], mask[:, : mask.sum()]
    return t5_weights.encode_exactly(files.weights(), files.arch, ids, mask)[0]


class TextEncoder:
    """A frozen text encoder, its weights on the devices.

    Attributes:
      dim: E.
      length: L.
      fingerprint: of the architecture, the weights, the tokenizer and the cleaning, whatever the dtype; sha256, hex.
      params: its parameters, nested dicts.
    """

    def __init__(
        self,
        section: Any,
        *,
        length: int,
        mesh: Mesh | None = None,
        progress: t5_weights.Progress = lambda items, total: items,
    ):
        """Read everything; arguments as those of `open_text_encoder`."""
        if section.dtype not in DTYPES:
            raise ValueError(
                f"text_encoder.dtype={section.dtype!r} must be one of {', '.join(map(repr, DTYPES))}"
            )
        self._section, self._files, self._mesh = section, find(section.path), mesh
        self._clean = cleaning(section.clean)
        self._tokenizer = tokenizer.Tokenizer(self._files.tokenizer, self._files.arch.vocabulary)
        self.length, self.dim = length, self._files.arch.width
        self.params, digest = t5_weights.load(
            self._files.weights(), self._files.arch, dtype=DTYPES[section.dtype], mesh=mesh, progress=progress
        )
        self.fingerprint = _fingerprint(self._files, digest, section.clean)
        self.apply = make_apply(self._files.arch, section.dtype)
        self._run = jax.jit(self.apply, out_shardings=None if mesh is None else replicated(mesh))

    def tokens(self, captions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids (K, L) int32 and mask (K, L) bool of captions, cleaned, cut and padded."""
        return self._tokenizer([self._clean(caption) for caption in captions], self.length)

    def states(self, captions: Sequence[str], *, dtype: Any = ml_dtypes.bfloat16) -> list[np.ndarray]:
        """The states (l, E) of each caption, without padding, in the dtype that shards have.

        Captions of about the same length go together, so that little padding is computed.  On a mesh all processes call
        this with the same captions.
        """
        ids, mask = self.tokens(captions)
        lengths = mask.sum(1)
        order = np.argsort(lengths, kind="stable")
        replicas = (
            1
            if self._mesh is None
            else np.prod([self._mesh.shape.get(n, 1) for n in RULES["batch"]], dtype=int)
        )
        rows = int(-(-min(ROWS, max(1, len(captions))) // replicas) * replicas)
        found: dict[int, np.ndarray] = {}
        for start in range(0, len(order), rows):
            part = order[start : start + rows]
            length = _padded(int(lengths[part].max()), self.length)
            given = [np.zeros((rows, length), array.dtype) for array in (ids, mask)]
            for place, array in zip(given, (ids, mask), strict=True):
                place[: len(part)] = array[part, :length]
            if self._mesh is not None:
                where = batch_sharding(self._mesh)
                given = [jax.make_array_from_callback(a.shape, where, lambda i, a=a: a[i]) for a in given]
            states = np.asarray(self._run(self.params, *given))
            found |= {int(i): states[row, : lengths[i]].astype(dtype) for row, i in enumerate(part)}
        return [found[i] for i in range(len(captions))]

    def cut(self, captions: Sequence[str]) -> list[int]:
        """Which captions have more than L tokens, so that their ends are not seen."""
        mask = self._tokenizer([self._clean(caption) for caption in captions], self.length + 1)[1]
        return np.flatnonzero(mask.sum(1) > self.length).tolist()

    def free(self) -> None:
        """Give the memory of the parameters back at once; nothing is encoded afterwards."""
        for leaf in jax.tree.leaves(self.params):
            leaf.delete()
        self.params = None

    def null(self) -> np.ndarray:
        """The states (l, E) float32 of "", in float32 whatever the dtype, which harms those of "" most."""
        return null_of(self._section, length=self.length)


def open_text_encoder(
    section: Any,
    *,
    length: int,
    mesh: Mesh | None = None,
    progress: t5_weights.Progress = lambda items, total: items,
) -> TextEncoder:
    """The text encoder of a config.

    Args:
      section: `config.text_encoder`.
      length: L, `model.text_length`.
      mesh: the devices that hold its parameters; None for the first of this process.
      progress: counts the tensors as they are read.

    Raises:
      ValueError: the folder, or a field, is wrong; names the tensor, the shape found and the shape wanted.
      OSError: there is no such folder.
    """
    return TextEncoder(section, length=length, mesh=mesh, progress=progress)


def make_apply(arch: T5Architecture, dtype: str) -> Callable[[Any, jax.Array, jax.Array], jax.Array]:
    """(params, ids (K, L), mask (K, L)) -> states (K, L, E) in `dtype`, a pure function for `jax.jit`."""
    graphdef = t5.abstract(arch)[0]

    def apply(params: Any, ids: jax.Array, mask: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, params)(ids, mask, dtype=DTYPES[dtype])

    return apply


def errors_of_bfloat16(
    weights: dict[str, Tensor], arch: T5Architecture, ids: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """The relative error |a - b| / |b| (K,) of the states in bfloat16, a, from those in float32, b."""
    exact = t5_weights.encode_exactly(weights, arch, ids, mask) * mask[..., None]
    params, _ = t5_weights.load(dict(weights), arch, dtype=jnp.bfloat16)
    states = (
        np.asarray(jax.jit(make_apply(arch, "bfloat16"))(params, ids, mask)).astype(np.float32)
        * mask[..., None]
    )
    norms = (np.linalg.norm(part.reshape(len(ids), -1), axis=1) for part in (states - exact, exact))
    return np.divide(*norms)


def _padded(length: int, longest: int) -> int:
    size = SHORTEST
    while size < length:
        size *= 2
    return min(size, longest)


def _fingerprint(files: Files, digest: str, clean: str) -> str:
    facts = {
        "architecture": dataclasses.asdict(files.arch),
        "weights": digest,
        "tokenizer": tokenizer.checksum(files.tokenizer),
        "clean": clean,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
