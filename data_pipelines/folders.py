"""The user's own arrays: a folder of `.npz` or `.npy` shards (latents, images or videos).

Shapes: n records in a shard, N in all, C channels, F frames, H rows, W columns, l text states of a record, T of a
shard, E features of a state.
"""

import bisect
import dataclasses
import itertools
import struct
import zipfile
from pathlib import Path

import numpy as np

from data_pipelines.text import NULL_FILE, TextInfo, check_states, read_null

NAMES = ("x", "label", "text", "text_length")
_LOCAL_HEADER = struct.Struct(
    "<26xHH"
)  # the end of a zip member's header: lengths of its name and its extra field


class ArrayFolder:
    """Records from every shard of a folder, numbered in the order of the file names.

    A shard is `NAME.npz` with `x` and perhaps `label` and `text`, or `NAME.npy` (x) perhaps with `NAME.label.npy`
    and `NAME.text.npy`. `x` is (n, C, F, H, W) or, for single frames, (n, C, H, W): floats, taken as they are, or
    uint8, mapped from 0..255 to [-1, 1]. `label` is (n,), integers from 0 on. `text` is (T, E), the states of all
    captions of the shard laid end to end without padding, and `text_length` (n,) tells how many are each record's;
    dtypes and the file of the empty caption are those of `data_pipelines.text`. `.npy` and uncompressed `.npz`
    files (`np.savez`) are memory-mapped, so a folder may be larger than the memory; a compressed `.npz` is read
    whole.
    """

    def __init__(self, path: str) -> None:
        """Maps the shards.

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
        self._starts = [0, *itertools.accumulate(len(shard.x) for shard in self._shards)]
        if not len(self):
            raise ValueError(f"data.path = {path!r}: has no records")
        first = self._shards[0]
        for file, shard in zip(files, self._shards, strict=True):
            if shard.x.shape[1:] != first.x.shape[1:]:
                raise ValueError(
                    f"data.path = {path!r}: records of {file.name} have shape {shard.x.shape[1:]}, "
                    f"those of {files[0].name} {first.x.shape[1:]}"
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
        self.shape = first.x.shape[1:]
        self.text = None
        if first.text is not None:
            longest = max(int(np.diff(shard.ends, prepend=0).max(initial=0)) for shard in self._shards)
            dim = first.text.shape[1]
            self.text = TextInfo(dim, longest, read_null(folder, dim))

    def __len__(self) -> int:
        """Returns N, the records of all shards."""
        return self._starts[-1]

    def __getitem__(self, record: int) -> dict[str, np.ndarray]:
        """Reads record number `record`."""
        number = bisect.bisect_right(self._starts, record) - 1
        shard, i = self._shards[number], record - self._starts[number]
        x = shard.x[i]
        x = x.astype(np.float32) / 127.5 - 1 if x.dtype == np.uint8 else x.astype(np.float32)
        sample = {"x": x}
        if shard.label is not None:
            sample["label"] = shard.label[i]
        if shard.text is not None:
            sample["text"] = shard.text[shard.ends[i - 1] if i else 0 : shard.ends[i]]
        return sample


@dataclasses.dataclass(frozen=True)
class _Shard:
    """The arrays of a shard, checked; large ones mapped where possible."""

    x: np.ndarray  # (n, C, F, H, W)
    label: np.ndarray | None  # (n,) int32
    text: np.ndarray | None  # (T, E)
    ends: np.ndarray  # (n,) int64, where each record's text ends in `text`; empty without text


def _open_shard(path: Path) -> _Shard:
    """Maps and checks a shard."""
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                members = archive.namelist()
            if "x.npy" not in members:
                raise ValueError(f"holds {members}, no 'x'")
            arrays = {name: _map_member(path, name) for name in NAMES if f"{name}.npy" in members}
        else:
            parts = {name: path if name == "x" else path.with_suffix(f".{name}.npy") for name in NAMES}
            arrays = {name: np.load(file, mmap_mode="r") for name, file in parts.items() if file.exists()}
        x = _check_x(arrays["x"])
        label = _check_label(arrays["label"], len(x)) if "label" in arrays else None
        if "text" not in arrays:
            return _Shard(x, label, None, np.empty(0, np.int64))
        if "text_length" not in arrays:
            raise ValueError("has 'text' but no 'text_length'")
        return _Shard(x, label, *_check_text(arrays["text"], arrays["text_length"], len(x)))
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"data.path: {path}: {error}") from error


def _map_member(path: Path, name: str) -> np.ndarray:
    """Maps one array of an `.npz`: an uncompressed member is a whole `.npy` file inside the zip."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type != zipfile.ZIP_STORED:
            with archive.open(info) as member:
                return np.lib.format.read_array(member, allow_pickle=False)
        file.seek(info.header_offset)
        name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        file.seek(name_length + extra_length, 1)
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in read_header:
            raise ValueError(f"'{name}' is in .npy format {version}, known are {list(read_header)}")
        shape, fortran, dtype = read_header[version](file)
        if dtype.hasobject:
            raise ValueError(f"'{name}' holds Python objects, not numbers")
        if 0 in shape:  # nothing to map
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", offset=file.tell(), shape=shape, order="F" if fortran else "C")


def _check_x(x: np.ndarray) -> np.ndarray:
    """Returns x with its frame axis, or raises."""
    if x.ndim not in (4, 5):
        raise ValueError(f"'x' has shape {x.shape}, must be (n, C, F, H, W) or (n, C, H, W)")
    if x.dtype != np.uint8 and not np.issubdtype(x.dtype, np.floating):
        raise ValueError(f"'x' has dtype {x.dtype}, must be a float or uint8")
    return x[:, :, None] if x.ndim == 4 else x


def _check_label(label: np.ndarray, records: int) -> np.ndarray:
    """Returns the labels as int32, or raises."""
    if label.shape != (records,) or not np.issubdtype(label.dtype, np.integer):
        raise ValueError(f"'label' is {label.dtype} {label.shape}, must be integers ({records},)")
    if records and (label.min() < 0 or label.max() > np.iinfo(np.int32).max - 1):
        raise ValueError(
            f"'label' has values in [{label.min()}, {label.max()}], must be class numbers from 0 on"
        )
    return label.astype(np.int32)


def _check_text(text: np.ndarray, length: np.ndarray, records: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns text as it is, and where each record's ends, (n,) int64; or raises."""
    if text.ndim != 2:
        raise ValueError(f"'text' has shape {text.shape}, must be (states of all captions, features)")
    if length.shape != (records,) or not np.issubdtype(length.dtype, np.integer):
        raise ValueError(f"'text_length' is {length.dtype} {length.shape}, must be integers ({records},)")
    if records and length.min() < 1:
        raise ValueError(
            f"'text_length' has {length.min()}, must be 1 or more (an empty caption has an end too)"
        )
    ends = np.cumsum(length, dtype=np.int64)
    total = int(ends[-1]) if records else 0
    if total != len(text):
        raise ValueError(f"'text_length' has the sum {total}, 'text' {len(text)} states")
    return check_states(text), ends
