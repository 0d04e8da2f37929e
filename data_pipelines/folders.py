"""The user's own arrays: a folder of `.npz` or `.npy` shards (latents, images or videos).

Shapes: n records in a shard, N in all, C channels, F frames, H rows, W columns, l text states of a record, T of a
shard, E features of a state.
"""

import bisect
import dataclasses
import functools
import itertools
from pathlib import Path

import numpy as np

from data_pipelines.arrays import StoredArray, look, named
from data_pipelines.text import NULL_FILE, TextInfo, check_states, read_null
from data_pipelines.values import as_x, check_x_dtype

NAMES = ("x", "label", "text", "text_length")
OPEN = 64  # shards that are open at a time, each with two files at most


class ArrayFolder:
    """Records from every shard of a folder, numbered in the order of the file names.

    A shard is `NAME.npz` with `x` and perhaps `label` and `text`, or `NAME.npy` (x) perhaps with `NAME.label.npy`
    and `NAME.text.npy`. `x` is (n, C, F, H, W) or, for single frames, (n, C, H, W): floats, taken as they are, or
    uint8, mapped from 0..255 to [-1, 1]. `label` is (n,), integers from 0 on. `text` is (T, E), the states of all
    captions of the shard laid end to end without padding, and `text_length` (n,) tells how many are each record's;
    dtypes and the file of the empty caption are those of `data_pipelines.text`. `.npy` and uncompressed `.npz`
    files (`np.savez`) are memory-mapped, so a folder may be larger than the memory, and `OPEN` of them are open at a
    time, so there may be any number; a compressed `.npz` is read whole when it is first needed, and kept.
    """

    def __init__(self, path: str) -> None:
        """Looks at the headers of the shards, and reads their labels and lengths of text.

        Raises:
            ValueError: the folder is missing or has no records, a file cannot be read, or two shards do not
                go together.
        """
        folder = Path(path).expanduser()
        if not path or not folder.is_dir():
            raise ValueError(f"data.path = {path!r}: must be an existing folder of .npz or .npy files")
        files = [f for f in sorted(folder.iterdir()) if f.suffix in (".npz", ".npy") and f.name != NULL_FILE]
        files = [f for f in files if not f.stem.endswith((".label", ".text", ".text_length"))]
        if not files:
            raise ValueError(f"data.path = {path!r}: has no .npz or .npy file")
        self._shards = [_open_shard(file) for file in files]
        self._starts = [0, *itertools.accumulate(shard.records for shard in self._shards)]
        if not len(self):
            raise ValueError(f"data.path = {path!r}: has no records")
        first = self._shards[0]
        for file, shard in zip(files, self._shards, strict=True):
            if shard.x.shape[1:] != first.x.shape[1:]:
                raise ValueError(
                    f"data.path = {path!r}: records of {file.name} have shape {shard.x.shape[1:]}, "
                    f"those of {files[0].name} {first.x.shape[1:]}"
                )
            if (shard.x.dtype == np.uint8) != (first.x.dtype == np.uint8):
                raise ValueError(
                    f"data.path = {path!r}: records of {file.name} are {shard.x.dtype}, those of {files[0].name} "
                    f"{first.x.dtype}: pixels 0..255 and floats do not go together"
                )
            if (
                shard.text is not None
                and first.text is not None
                and shard.text.shape[1:] != first.text.shape[1:]
            ):
                raise ValueError(
                    f"data.path = {path!r}: text of {file.name} has {shard.text.shape[1]} features, "
                    f"that of {files[0].name} {first.text.shape[1]}"
                )
        for name, plural in (("label", "labels"), ("text", "text")):
            without = [f for f, s in zip(files, self._shards, strict=True) if getattr(s, name) is None]
            if without and len(without) < len(files):
                raise ValueError(
                    f"data.path = {path!r}: {without[0].name} has no {plural} while other files have"
                )
        labels = [shard.label for shard in self._shards if shard.label is not None and len(shard.label)]
        self.classes = 1 + max(int(label.max()) for label in labels) if labels else None
        self.shape = first.shape
        self.text = None
        if first.text is not None:
            longest = max(int(np.diff(shard.ends, prepend=0).max(initial=0)) for shard in self._shards)
            dim = first.text.shape[1]
            self.text = TextInfo(dim, longest, read_null(folder, dim))
        self._kept: dict[int, _Arrays] = {}  # those read whole
        self._mapped = functools.lru_cache(maxsize=OPEN)(self._open)

    def __len__(self) -> int:
        """Returns N, the records of all shards."""
        return self._starts[-1]

    def __getitem__(self, record: int) -> dict[str, np.ndarray]:
        """Reads record number `record`."""
        number = bisect.bisect_right(self._starts, record) - 1
        shard, i = self._shards[number], record - self._starts[number]
        arrays = self._kept.get(number) or self._mapped(number)
        sample = {"x": as_x(arrays.x[i]).reshape(self.shape)}
        if shard.label is not None:
            sample["label"] = shard.label[i]
        if arrays.text is not None:
            sample["text"] = arrays.text[shard.ends[i - 1] if i else 0 : shard.ends[i]]
        return sample

    def _open(self, number: int) -> "_Arrays":
        """The large arrays of a shard; what is mapped is closed when nobody uses it any more."""
        shard = self._shards[number]
        arrays = _Arrays(shard.x.open(), None if shard.text is None else shard.text.open())
        if shard.x.offset is None:
            self._kept[number] = arrays
        return arrays


@dataclasses.dataclass(frozen=True)
class _Arrays:
    """The large arrays of a shard: x (n, ...) and text (T, E)."""

    x: np.ndarray
    text: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class _Shard:
    """A shard, checked; its large arrays are known by their headers."""

    x: StoredArray  # (n, C, F, H, W) or (n, C, H, W)
    label: np.ndarray | None  # (n,) int32
    text: StoredArray | None  # (T, E)
    ends: np.ndarray  # (n,) int64, where each record's text ends in `text`; empty without text

    @property
    def records(self) -> int:
        """n."""
        return self.x.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, F, H, W) of its records."""
        _, channels, *size = self.x.shape
        return (channels, *([1] if len(size) == 2 else []), *size)


def _open_shard(path: Path) -> _Shard:
    """Looks at a shard and checks it."""
    if path.suffix == ".npz":
        arrays = look(path, NAMES)
    else:
        parts = {name: path if name == "x" else path.with_suffix(f".{name}.npy") for name in NAMES}
        arrays = {name: look(file)[""] for name, file in parts.items() if name == "x" or file.exists()}
    with named(path):
        if "x" not in arrays:
            raise ValueError(f"holds {', '.join(arrays) or 'no array of these'}, no 'x'")
        x = _check_x(arrays["x"])
        records = x.shape[0]
        label = _check_label(arrays["label"].read(), records) if "label" in arrays else None
        if "text" not in arrays:
            return _Shard(x, label, None, np.empty(0, np.int64))
        if "text_length" not in arrays:
            raise ValueError("has 'text' but no 'text_length'")
        text = arrays["text"]
        return _Shard(x, label, text, _check_text(text, arrays["text_length"].read(), records))


def _check_x(x: StoredArray) -> StoredArray:
    """Returns x, or raises."""
    if len(x.shape) not in (4, 5):
        raise ValueError(f"'x' has shape {x.shape}, must be (n, C, F, H, W) or (n, C, H, W)")
    check_x_dtype(x.dtype)
    return x


def _check_label(label: np.ndarray, records: int) -> np.ndarray:
    """Returns the labels as int32, or raises."""
    if label.shape != (records,) or not np.issubdtype(label.dtype, np.integer):
        raise ValueError(f"'label' is {label.dtype} {label.shape}, must be integers ({records},)")
    if records and (label.min() < 0 or label.max() > np.iinfo(np.int32).max - 1):
        raise ValueError(
            f"'label' has values in [{label.min()}, {label.max()}], must be class numbers from 0 on"
        )
    return label.astype(np.int32)


def _check_text(text: StoredArray, length: np.ndarray, records: int) -> np.ndarray:
    """Returns where each record's text ends, (n,) int64; or raises."""
    if len(text.shape) != 2:
        raise ValueError(f"'text' has shape {text.shape}, must be (states of all captions, features)")
    if length.shape != (records,) or not np.issubdtype(length.dtype, np.integer):
        raise ValueError(f"'text_length' is {length.dtype} {length.shape}, must be integers ({records},)")
    if records and length.min() < 1:
        raise ValueError(
            f"'text_length' has {length.min()}, must be 1 or more (an empty caption has an end too)"
        )
    ends = np.cumsum(length, dtype=np.int64)
    total = int(ends[-1]) if records else 0
    if total != text.shape[0]:
        raise ValueError(f"'text_length' has the sum {total}, 'text' {text.shape[0]} states")
    check_states(np.empty((0, text.shape[1]), text.dtype))
    return ends
