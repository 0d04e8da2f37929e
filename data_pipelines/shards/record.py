"""One record of a shard: the bytes of a `safetensors` file with a few small arrays, read in place.

Shapes: C latent channels, F frames, H rows, W columns, l text states of a caption, E features of a state.

| name | shape | stored as | |
|---|---|---|---|
| `moments` | (2C, F, H, W) | BF16 | mean and log of the variance of the encoder's normal, unscaled |
| `text` | (l, E) | BF16 | text states of the caption, without padding |
| `label` | () | I32 | number of the class |
| `caption` | (bytes,) | U8 | UTF-8 |
| `key` | (bytes,) | U8 | UTF-8, the name that the raw record had |
| `size` | (2,) | I32 | rows and columns of the raw record |
"""

import functools
import json
import struct
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save

NAMES = ("moments", "text", "label", "caption", "key", "size")
TEXTS = ("caption", "key")
_DTYPES = {"BF16": np.dtype(np.uint16), "I32": np.dtype(np.int32), "U8": np.dtype(np.uint8)}
_LONGEST = 4096  # bytes of a header
_KEPT = 4096  # headers whose meaning is kept


def pack(record: Mapping[str, Any]) -> bytes:
    """Returns the bytes of a record.

    Args:
        record: `moments`, and others of the table above; `moments` and `text` in any float, rounded to bfloat16, or as
            the uint16 with its bits; `caption` and `key` as text. What is None is left out.

    Raises:
        ValueError: a name is unknown, or an array does not have the shape or values of its name.
    """
    if unknown := [name for name in record if name not in NAMES]:
        raise ValueError(f"{', '.join(unknown)}: must be of {', '.join(NAMES)}")
    arrays: dict[str, np.ndarray] = {}
    for name, value in record.items():
        if value is None:
            continue
        if name in TEXTS:
            arrays[name] = np.frombuffer(str(value).encode(), np.uint8)
        elif name in ("moments", "text"):
            arrays[name] = _half(name, np.asarray(value))
        else:
            arrays[name] = np.asarray(value, np.int32)
    if "moments" not in arrays or arrays["moments"].ndim != 4 or len(arrays["moments"]) % 2:
        shape = arrays["moments"].shape if "moments" in arrays else None
        raise ValueError(f"'moments' has shape {shape}, must be (2C, F, H, W)")
    if "text" in arrays and (arrays["text"].ndim != 2 or not len(arrays["text"])):
        raise ValueError(f"'text' has shape {arrays['text'].shape}, must be (states, features), 1 or more")
    if "label" in arrays and (arrays["label"].shape != () or arrays["label"] < 0):
        raise ValueError(f"'label' is {arrays['label']}, must be one class number, 0 or more")
    if "size" in arrays and arrays["size"].shape != (2,):
        raise ValueError(f"'size' has shape {arrays['size'].shape}, must be (2,)")
    return save(arrays)


def unpack(content: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays of a record, read-only views of its bytes; BF16 as uint16 with the same bits.

    Raises:
        ValueError: these are not the bytes of a record.
    """
    if len(content) < 8:
        raise ValueError(f"is no record: it has {len(content)} bytes")
    (length,) = struct.unpack_from("<Q", content)
    if length > _LONGEST or 8 + length > len(content):
        raise ValueError(f"is no record: its header is to have {length} of {len(content)} bytes")
    size, places = _places(content[8 : 8 + length])
    if 8 + length + size != len(content):
        raise ValueError(
            f"is no whole record: {8 + length + size} bytes by its header, {len(content)} are there"
        )
    start = 8 + length
    return {
        name: np.frombuffer(content, dtype, count, start + offset).reshape(shape)
        for name, dtype, count, offset, shape in places
    }


def text_of(array: np.ndarray) -> str:
    """Returns a `caption` or `key` as text."""
    return array.tobytes().decode(errors="replace")


@functools.lru_cache(maxsize=_KEPT)
def _places(header: bytes) -> tuple[int, tuple]:
    """(bytes of all arrays, (name, dtype, elements, offset, shape) of each) of a header."""
    try:
        fields = json.loads(header)
        places, size = [], 0
        for name, field in fields.items():
            if name not in NAMES:
                continue
            begin, end = field["data_offsets"]
            dtype, shape = _DTYPES[field["dtype"]], tuple(field["shape"])
            count = int(np.prod(shape, dtype=np.int64))
            if count * dtype.itemsize != end - begin or begin < 0:
                raise ValueError(f"{name!r} has {end - begin} bytes for {field['dtype']} {shape}")
            places.append((name, dtype, count, begin, shape))
            size = max(size, end)
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"is no record: its header cannot be read: {error}") from error
    return size, tuple(places)


def _half(name: str, array: np.ndarray) -> np.ndarray:
    """Floats, or the bits of bfloat16, as bfloat16, all finite."""
    if array.dtype == np.uint16:
        array = array.view(ml_dtypes.bfloat16)
    elif array.dtype != ml_dtypes.bfloat16:
        if not np.issubdtype(array.dtype, np.floating):
            raise ValueError(
                f"{name!r} has dtype {array.dtype}, must be a float or uint16 (bits of a bfloat16)"
            )
        array = array.astype(ml_dtypes.bfloat16)
    if not np.isfinite(array.astype(np.float32)).all():
        raise ValueError(f"{name!r} has values that are not finite as bfloat16")
    return np.ascontiguousarray(array)
