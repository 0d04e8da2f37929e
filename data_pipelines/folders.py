"""The user's own arrays: a folder of `.npz` or `.npy` shards (latents, images or videos).

Shapes: n records in a shard, N in all, C channels, F frames, H rows, W columns, l text states of a record, T of a
shard, E features of a state.
"""

import bisect
import dataclasses
import functools
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from data_pipelines.arrays import StoredArray, named, open_npy, open_npz
from data_pipelines.text import NULL_FILE, TextInfo, check_states, read_null
from data_pipelines.values import as_x, check_x_dtype

NAMES = ("x", "label", "text", "text_length")
OPEN = 64  # shards that are open at a time, each with two files at most
THREADS = 8  # that look at shards at the start, where a file system answers late


class ArrayFolder:
    """Records from every shard of a folder, numbered in the order of the file names.

    A shard is `NAME.npz` with `x` and perhaps `label` and `text`, or `NAME.npy` (x) perhaps with `NAME.label.npy`
    and `NAME.text.npy`. `x` is (n, C, F, H, W) or, for single frames, (n, C, H, W): floats, taken as they are, or
    uint8, mapped from 0..255 to [-1, 1]. `label` is (n,), integers from 0 on. `text` is (T, E), the states of all
    captions of the shard laid end to end without padding, and `text_length` (n,) tells how many are each record's;
    dtypes and the file of the empty caption are those of `data_pipelines.text`. `.npy` and uncompressed `.npz`
    files (`np.savez`) are memory-mapped, so a folder may be larger than the memory, and `OPEN` of them are open at a
    time, so there may be any number; a compressed `.npz` is read whole when it is first needed, and kept. Labels and
    lengths of text are compared with their checksums, as is what is compressed, and what is mapped is not.
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
        with ThreadPoolExecutor(THREADS) as pool:
            self._shards = list(pool.map(_open_shard, files))
        self._starts = [0, *itertools.accumulate(shard.records for shard in self._shards)]
        if not len(self):
            raise ValueError(f"data.path = {path!r}: has no records")
        first = self._shards[0]
        for file, shard in zip(files, self._shards, strict=True):
            if shard.shape != first.shape:
                raise ValueError(
                    f"data.path = {path!r}: records of {file.name} have shape {shard.shape}, "
                    f"those of {files[0].name} {first.shape}"
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
        self._mapped = functools.lru_cache(maxsize=OPEN)(_Shard.open)
        self._kept = functools.cache(_Shard.open)

    def __len__(self) -> int:
        """Returns N, the records of all shards."""
        return self._starts[-1]

    def __getitem__(self, record: int) -> dict[str, np.ndarray]:
        """Reads record number `record`.

        Raises:
            ValueError: its file has changed or is damaged.
        """
        number = bisect.bisect_right(self._starts, record) - 1
        shard, i = self._shards[number], record - self._starts[number]
        x, text = self._mapped(shard) if shard.is_mapped else self._kept(shard)
        sample = {"x": as_x(x[i]).reshape(self.shape)}
        if shard.label is not None:
            sample["label"] = shard.label[i]
        if text is not None:  # a copy: what is mapped stays open as long as it is used
            sample["text"] = np.array(text[shard.ends[i - 1] if i else 0 : shard.ends[i]])
        return sample


@dataclasses.dataclass(frozen=True, eq=False)
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

    @property
    def is_mapped(self) -> bool:
        """Whether none of its large arrays is compressed."""
        return all(array is None or array.offset is not None for array in (self.x, self.text))

    def open(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns its large arrays, x and text; files of mapped ones are closed when nobody uses them any more."""
        return self.x.open(), None if self.text is None else self.text.open()


def _open_shard(path: Path) -> _Shard:
    """Looks at a shard and checks it."""
    if path.suffix == ".npz":
        arrays = open_npz(path, NAMES[:1], NAMES[1:])
    else:
        parts = {name: path if name == "x" else path.with_suffix(f".{name}.npy") for name in NAMES}
        arrays = {name: open_npy(file) for name, file in parts.items() if name == "x" or file.exists()}
    x, text = arrays["x"], arrays.get("text")
    with named(path):
        if len(x.shape) not in (4, 5):
            raise ValueError(f"'x' has shape {x.shape}, must be (n, C, F, H, W) or (n, C, H, W)")
        check_x_dtype(x.dtype)
        for name in ("label", "text_length"):
            if name in arrays:
                _check_integers(name, arrays[name], x.shape[0])
        if text is not None:
            if len(text.shape) != 2:
                raise ValueError(f"'text' has shape {text.shape}, must be (states of all captions, features)")
            check_states(np.empty((0, text.shape[1]), text.dtype))
            if "text_length" not in arrays:
                raise ValueError("has 'text' but no 'text_length'")
    label = arrays["label"].read() if "label" in arrays else None
    length = None if text is None else arrays["text_length"].read()
    with named(path):
        label = None if label is None else _check_label(label)
        ends = np.empty(0, np.int64) if text is None or length is None else _ends(length, text.shape[0])
    return _Shard(x, label, text, ends)


def _check_integers(name: str, array: StoredArray, records: int) -> None:
    """Raises for what is no integer a record."""
    if array.shape != (records,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name!r} is {array.dtype} {array.shape}, must be integers ({records},)")


def _check_label(label: np.ndarray) -> np.ndarray:
    """Returns the labels (n,) as int32, or raises."""
    if len(label) and (label.min() < 0 or label.max() > np.iinfo(np.int32).max - 1):
        raise ValueError(
            f"'label' has values in [{label.min()}, {label.max()}], must be class numbers from 0 on"
        )
    return label.astype(np.int32)


def _ends(length: np.ndarray, states: int) -> np.ndarray:
    """Returns where each record's text ends, (n,) int64, or raises; `states` are there."""
    if len(length) and length.min() < 1:
        raise ValueError(
            f"'text_length' has {length.min()}, must be 1 or more (an empty caption has an end too)"
        )
    ends = np.cumsum(length, dtype=np.int64)
    total = int(ends[-1]) if len(length) else 0
    if total != states or (len(length) and length.max() > states):  # a sum may be beyond int64
        raise ValueError(f"'text_length' has the sum {total}, 'text' {states} states")
    return ends
