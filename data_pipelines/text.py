"""Text states: what a text encoder says of a caption, how it is stored, and how it becomes arrays of a batch.

Shapes: K captions, L text tokens of the model, l tokens of one caption, E features of the text encoder.

Here a caption is its l states (l, E), without padding. Stored they are float32, float16, or bfloat16 as the uint16 of
the same bits, which numpy has no type for. A batch has them padded to L, float32, with a mask.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import ml_dtypes
import numpy as np

from data_pipelines.arrays import read_npz

NULL_FILE = "null_text.npz"
INFINITE = 0x7F80  # bits of bfloat16's infinity
DTYPES = ("float32", "float16", "uint16")


@dataclasses.dataclass(frozen=True)
class TextInfo:
    """What is known of a source's text before a record is read."""

    dim: int
    """E, features of a state."""

    longest: int | None
    """States of the longest caption, or None where only reading the records would tell."""

    null: np.ndarray | None
    """States (l, E) of the empty caption, or None where they are not stored."""


def caption_of(record: Mapping[str, np.ndarray]) -> str:
    """Returns the caption of a record, whose `caption` is the bytes of its UTF-8 as uint8; "" without one."""
    return record["caption"].tobytes().decode(errors="replace") if "caption" in record else ""


def check_states(states: np.ndarray, dim: int | None = None) -> np.ndarray:
    """Returns stored states (.., E) as they are.

    Raises:
        ValueError: their dtype is not one that is described above, or they do not have `dim` features.
    """
    if states.dtype.name not in DTYPES:
        raise ValueError(f"'text' has dtype {states.dtype}, must be {', '.join(DTYPES)} (bits of a bfloat16)")
    if dim is not None and states.shape[-1] != dim:
        raise ValueError(
            f"'text' has shape {states.shape}, its last axis must be {dim}, the features of a state"
        )
    return states


def decode(states: np.ndarray) -> np.ndarray:
    """Returns stored states as float32, exactly."""
    if states.dtype.name == "uint16":  # of either byte order
        states = states.astype(np.uint16).view(ml_dtypes.bfloat16)
    return states.astype(np.float32)


def pad(
    states: np.ndarray, length: int, *, truncate: bool = False, name: str = "a caption"
) -> tuple[np.ndarray, np.ndarray]:
    """Returns stored states (l, E) as text (L, E) float32 and its mask (L,) bool, which is True for the states.

    Args:
        states: of one caption.
        length: L.
        truncate: keep the first L of more states.
        name: of the caption, for messages.

    Raises:
        ValueError: there are no states, too many or some that are not finite.
    """
    check_length(states, length, truncate=truncate, name=name)
    text = np.zeros((length, states.shape[1]), np.float32)
    count = fill(text, states, name=name)
    return text, np.arange(length) < count


def check_length(states: np.ndarray, length: int, *, truncate: bool, name: str) -> None:
    """Raises for a number of states that does not go into a model; the arguments are those of `pad`.

    Raises:
        ValueError: there are no states, or too many.
    """
    if not len(states) or (len(states) > length and not truncate):
        raise ValueError(
            f"{name} has {len(states)} text states; model.text_length = {length} takes 1 to {length} "
            "(data.truncate_text = True keeps the first of more)"
        )


def fill(text: np.ndarray, states: np.ndarray, *, name: str) -> int:
    """Writes the first stored states (l, E) into text (L, E) float32, and returns how many.

    Raises:
        ValueError: some of them are not finite.
    """
    count = min(len(states), len(text))
    kept = text[:count]
    if states.dtype == np.uint16:
        np.left_shift(states[:count], 16, out=kept.view(np.uint32), dtype=np.uint32)  # its half of a float32
        suspect = _has_nonfinite(states[:count])
    else:
        kept[:] = decode(states[:count])
        suspect = not np.isfinite(kept.sum())  # shown at little cost; it may overflow though they are finite
    if suspect and not (finite := np.isfinite(kept)).all():
        raise ValueError(f"{name} has text states with {np.sum(~finite)} values that are not finite")
    return count


def _has_nonfinite(bits: np.ndarray) -> bool:
    """Whether bfloat16, given as its bits in uint16, has values that are not finite."""
    # Of signed numbers the largest are the positive floats, of unsigned ones the negative.
    return bool(bits.view(np.int16).max() >= INFINITE or bits.max() >= 2**15 + INFINITE)


def pad_all(
    captions: Sequence[np.ndarray], length: int, *, truncate: bool = False, name: str = "caption"
) -> tuple[np.ndarray, np.ndarray]:
    """Returns captions as text (K, L, E) float32 and mask (K, L) bool; `name` and a number name them, see `pad`."""
    padded = (pad(states, length, truncate=truncate, name=f"{name} {i}") for i, states in enumerate(captions))
    text, mask = zip(*padded, strict=True)
    return np.stack(text), np.stack(mask)


def read_captions(path: Path, dim: int) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Reads an `.npz` with text (K, L', E) and mask (K, L'), and perhaps null_text (L', E) and null_mask (L',).

    Any L' will do: only the states whose mask is not 0 are taken.

    Args:
        path: the file.
        dim: E.

    Returns:
        The states (l, E) of each caption, and of the empty one or None.

    Raises:
        ValueError: the file cannot be read, or an array is missing or has another shape or dtype.
    """
    arrays = _load(path, ("text", "mask"), ("null_text", "null_mask"))
    try:
        text, mask = arrays["text"], arrays["mask"]
        if text.ndim != 3 or not len(text) or mask.shape != text.shape[:2]:
            raise ValueError(
                f"'text' has shape {text.shape} and 'mask' {mask.shape}, must be (captions, tokens, features) and "
                "(captions, tokens)"
            )
        pairs = enumerate(zip(text, mask, strict=True))
        captions = [_masked(*caption, dim, name=f"caption {i}") for i, caption in pairs]
        null = _masked(arrays["null_text"], arrays["null_mask"], dim) if "null_text" in arrays else None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return captions, null


def read_null(folder: Path, dim: int) -> np.ndarray | None:
    """Returns the states (l, E) of the empty caption that `folder` holds in `NULL_FILE`, or None without it.

    Raises:
        ValueError: the file cannot be read, or is not null_text (L', E) and null_mask (L',).
    """
    path = folder / NULL_FILE
    if not path.exists():
        return None
    arrays = _load(path, ("null_text", "null_mask"))
    try:
        return _masked(arrays["null_text"], arrays["null_mask"], dim)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write_null(path: Path, text: np.ndarray, mask: np.ndarray) -> None:
    """Writes states (L, E) and mask (L,) of the empty caption as `read_null` takes them."""
    np.savez(path, null_text=text, null_mask=mask)


def _load(path: Path, required: Sequence[str], pair: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Returns the arrays of an `.npz`: those required, and all of `pair` or none."""
    arrays = read_npz(path, required, pair)
    missing = [name for name in pair if name not in arrays]
    if len(missing) < len(pair) and missing:
        raise ValueError(f"{path}: lacks {', '.join(missing)}; it has {', '.join(arrays)}")
    return arrays


def _masked(text: np.ndarray, mask: np.ndarray, dim: int, name: str = "the empty caption") -> np.ndarray:
    """Returns the states (l, E) of text (L', E) that the mask (L',) keeps, which must be some."""
    if text.ndim != 2 or mask.shape != text.shape[:1]:
        raise ValueError(
            f"{name} has text {text.shape} and mask {mask.shape}, must be (tokens, features) and (tokens,)"
        )
    if mask.dtype.kind not in "biuf":
        raise ValueError(f"{name} has a mask of dtype {mask.dtype}, must be bool or numbers")
    if not mask.any():
        raise ValueError(
            f"{name} has a mask that is all zero; 1 is for states that are kept, and an encoder has at least the one "
            "of the end of the text"
        )
    return check_states(text, dim)[mask.astype(bool)]
