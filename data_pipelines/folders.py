"""The user's own arrays: a folder of `.npz` or `.npy` shards (latents, images or videos).

Shapes: n records in a shard, N in all, C channels, F frames, H rows, W columns.
"""

import bisect
import itertools
import struct
import zipfile
from pathlib import Path

import numpy as np

_LOCAL_HEADER = struct.Struct(
    "<26xHH"
)  # the end of a zip member's header: lengths of its name and its extra field


class ArrayFolder:
    """Records from every shard of a folder, numbered in the order of the file names.

    A shard is `NAME.npz` with `x` and perhaps `label`, or `NAME.npy` (x) perhaps with `NAME.label.npy`.
    `x` is (n, C, F, H, W) or, for single frames, (n, C, H, W): floats, taken as they are, or uint8, mapped
    from 0..255 to [-1, 1]. `label` is (n,), integers from 0 on. `.npy` and uncompressed `.npz` files
    (`np.savez`) are memory-mapped, so a folder may be larger than the memory; a compressed `.npz` is read
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
        shards = [f for f in sorted(folder.iterdir()) if f.suffix in (".npz", ".npy")]
        shards = [f for f in shards if not f.name.endswith(".label.npy")]
        if not shards:
            raise ValueError(f"data.path = {path!r}: has no .npz or .npy file")
        self._xs, labels = zip(*(_open_shard(shard) for shard in shards), strict=True)
        self._starts = [0, *itertools.accumulate(len(x) for x in self._xs)]
        if not len(self):
            raise ValueError(f"data.path = {path!r}: has no records")
        shapes = {shard.name: x.shape[1:] for shard, x in zip(shards, self._xs, strict=True)}
        for name, shape in shapes.items():
            if shape != self._xs[0].shape[1:]:
                raise ValueError(
                    f"data.path = {path!r}: records of {name} have shape {shape}, "
                    f"those of {shards[0].name} {self._xs[0].shape[1:]}"
                )
        unlabelled = [s.name for s, label in zip(shards, labels, strict=True) if label is None]
        if unlabelled and len(unlabelled) < len(shards):
            raise ValueError(f"data.path = {path!r}: {unlabelled[0]} has no labels while other files have")
        self._labels = None if unlabelled else np.concatenate(labels)
        self.classes = None if self._labels is None else int(self._labels.max()) + 1
        self.shape = self._xs[0].shape[1:]

    def __len__(self) -> int:
        """Returns N, the records of all shards."""
        return self._starts[-1]

    def __getitem__(self, record: int) -> dict[str, np.ndarray]:
        """Reads record number `record`."""
        shard = bisect.bisect_right(self._starts, record) - 1
        x = self._xs[shard][record - self._starts[shard]]
        x = x.astype(np.float32) / 127.5 - 1 if x.dtype == np.uint8 else x.astype(np.float32)
        return {"x": x} if self._labels is None else {"x": x, "label": self._labels[record]}


def _open_shard(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns x (n, C, F, H, W), mapped where possible, and label (n,) int32 or None, both checked."""
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                members = archive.namelist()
            if "x.npy" not in members:
                raise ValueError(f"holds {members}, no 'x'")
            x = _map_member(path, "x")
            label = _map_member(path, "label") if "label.npy" in members else None
        else:
            labels = path.with_suffix(".label.npy")
            x = np.load(path, mmap_mode="r")
            label = np.load(labels) if labels.exists() else None
        return _check_x(x), None if label is None else _check_label(label, len(x))
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
