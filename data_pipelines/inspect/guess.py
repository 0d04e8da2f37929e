"""Which source a path is, by what is in it."""

import collections
import json
import re
from pathlib import Path

import pyarrow.parquet as parquet

from data_pipelines.arrays import named
from data_pipelines.raw import embedded
from data_pipelines.raw.folder import METADATA, SUFFIXES
from data_pipelines.raw.listing import walk
from data_pipelines.raw.tables import reading

ENTRIES = 2000  # of a folder that are looked at
EMBEDDED = ("digits", "moving_digits")
STORED = ("arrays", "shards", "stored tfds")
_GOBJAVERSE = re.compile(r"[^/]+/[^/]+/(campos_512_v4/)?(\d{5})/\2\.(json|png)")


def guess(path: str) -> str:
    """Returns the name of a raw source, or one of `STORED`.

    Raises:
        ValueError: there is nothing at the path, or nothing that is known.
    """
    if path in EMBEDDED:
        return path
    place = Path(path).expanduser()
    if place.is_file():
        return _of_file(place)
    if not path or not place.is_dir():
        raise ValueError(
            f"{path!r} is no file and no folder, and neither {' nor '.join(EMBEDDED)}, nor NAME:PATH"
        )
    names = {entry.name for entry in place.iterdir()}
    if "dataset_info.json" in names:
        return _of_tfds(place)
    if "index.json" in names:
        return "shards"
    counts = collections.Counter()
    for number, (name, what) in enumerate(walk(place)):
        if number >= ENTRIES:
            break
        if _GOBJAVERSE.fullmatch(name):
            return "gobjaverse"
        if what == "file":
            counts[Path(name).suffix.lower() if Path(name).name not in METADATA else "metadata"] += 1
    kinds = {
        "webdataset": counts[".tar"],
        "arrays": counts[".npz"] + counts[".npy"],
        "parquet": 0 if counts[".tar"] else counts[".parquet"],  # beside tars they are the tables of those
        "images": sum(counts[suffix] for suffix in SUFFIXES["image"]),
        "videos": sum(counts[suffix] for suffix in SUFFIXES["video"] if suffix != ".gif"),
    }
    name = max(kinds, key=lambda kind: kinds[kind])
    if not kinds[name]:
        found = ", ".join(f"{suffix or 'without a suffix'}" for suffix, _ in counts.most_common(5))
        raise ValueError(
            f"{path}: holds nothing that is known ({found or 'it is empty'}); name it, as NAME:PATH"
        )
    return name


def _of_file(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        with reading(path):
            schema = parquet.read_schema(path)
        holds = any(embedded.holds_bytes(schema.field(i).type) for i in range(len(schema.names)))
        return "parquet" if holds else "images"
    found = {".tar": "webdataset", ".csv": "images", ".tsv": "images", ".jsonl": "images"}.get(suffix)
    if not found:
        raise ValueError(f"{path}: must be a folder, a .tar, or a table .parquet, .csv, .tsv or .jsonl")
    return found


def _of_tfds(folder: Path) -> str:
    """A prepared dataset with pictures of one size could be trained on as it is; one with `x` or `video` must be."""
    with named(folder / "features.json"):
        features = json.loads((folder / "features.json").read_text())
        keys = features["featuresDict"]["features"]
    return "tfds" if "image" in keys and "x" not in keys else "stored tfds"
