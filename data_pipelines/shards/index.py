"""The index of a folder of shards, `index.json`: what is there, and which encoders made it.

It is written last and whole, so that a folder with an index is a finished one. The empty caption's text states lie
beside it in `null_text.npz` (`data_pipelines.text`).
"""

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_pipelines.arrays import named

INDEX_FILE = "index.json"
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file of records of one shape; the attributes are the fields of its entry.

    Attributes:
        file: its name in the folder.
        records: how many.
        shape: (C, F, H, W) of the latents.
        bytes: of the file.
        sha256: of the file, hexadecimal.
        classes: one more than the largest label, or None without labels.
        captions: whether records have their caption.
        text_dim: features of a text state, or None without text.
        longest_text: states of the longest caption, or None without text.
    """

    file: str
    records: int
    shape: tuple[int, int, int, int]
    bytes: int
    sha256: str
    classes: int | None = None
    captions: bool = False
    text_dim: int | None = None
    longest_text: int | None = None


@dataclasses.dataclass(frozen=True)
class Index:
    """What `index.json` says.

    Attributes:
        folder: that holds it.
        shards: sorted by shape and name.
        facts: of the encoders: `autoencoder` and `text_encoder` (fingerprints, "" for none), `scale` and `shift` of
            the latents, `factor` (pixels a latent along time, rows and columns), and what else the writer noted.
    """

    folder: Path
    shards: tuple[Shard, ...]
    facts: dict[str, Any]

    @property
    def records(self) -> int:
        """Of all shards."""
        return sum(shard.records for shard in self.shards)

    @property
    def shapes(self) -> dict[tuple[int, int, int, int], int]:
        """The records of each shape."""
        counts: dict[tuple[int, int, int, int], int] = {}
        for shard in self.shards:
            counts[shard.shape] = counts.get(shard.shape, 0) + shard.records
        return counts


def write_index(
    folder: str | os.PathLike[str], entries: Iterable[Mapping[str, Any]], facts: Mapping[str, Any]
) -> None:
    """Writes `index.json`, which replaces one that is there.

    Args:
        folder: of the shards.
        entries: what `ShardWriter.close` returned for each.
        facts: see `Index`; without `scale` 1 and `shift` 0, no encoders.

    Raises:
        ValueError: there are no shards, two have one name, or they do not go together.
    """
    folder, entries = Path(folder), list(entries)
    defaults = {"autoencoder": "", "text_encoder": "", "scale": 1.0, "shift": 0.0, "factor": [1, 1, 1]}
    content = {
        "version": VERSION,
        "records": sum(entry["records"] for entry in entries),
        **defaults,
        **facts,
        "shards": sorted(entries, key=lambda entry: (entry["shape"], entry["file"])),
    }
    _parse(folder, content)
    draft = folder / f"unfinished-{INDEX_FILE}"
    with draft.open("w") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / INDEX_FILE)


def read_index(folder: str | os.PathLike[str]) -> Index:
    """Returns the index of a folder, each of whose files was found with the size that it says.

    Raises:
        ValueError: there is none, it cannot be read, or a file is missing or has another size; names the file.
    """
    path = Path(folder) / INDEX_FILE
    if not path.is_file():
        unfinished = any(Path(folder).glob("*.array_record")) if Path(folder).is_dir() else False
        why = "; its shards were not finished: run the same encode command again" if unfinished else ""
        raise ValueError(f"{path}: does not exist; it is written when all shards are{why}")
    with named(path):
        content = json.loads(path.read_text())
    index = _parse(Path(folder), content)
    for shard in index.shards:
        file = index.folder / shard.file
        if not file.is_file():
            raise ValueError(f"{file}: does not exist; {INDEX_FILE} says it has {shard.records} records")
        if (size := file.stat().st_size) != shard.bytes:
            raise ValueError(f"{file}: has {size} bytes, {INDEX_FILE} says {shard.bytes}")
    return index


def check_encoders(index: Index, *, text: str = "", autoencoder: str = "") -> None:
    """Compares the encoders that shards were made with, with those that a config names.

    Args:
        index: of the shards.
        text: fingerprint of the text encoder; "" compares nothing.
        autoencoder: of the autoencoder; "" compares nothing.

    Raises:
        ValueError: they are others.
    """
    for field, fact, wanted in (
        ("text_encoder", "text_encoder", text),
        ("autoencoder", "autoencoder", autoencoder),
    ):
        stored = index.facts[fact]
        if wanted and stored != wanted:
            made = f"with {stored[:12]}..." if stored else "without one"
            raise ValueError(
                f"config.{field}.path names an encoder with fingerprint {wanted[:12]}..., but the shards in "
                f"{index.folder} were made {made}; name that encoder, encode again, or set config.{field}.path=''"
            )


def _parse(folder: Path, content: Any) -> Index:
    path = folder / INDEX_FILE
    if not isinstance(content, dict) or content.get("version") != VERSION:
        version = content.get("version") if isinstance(content, dict) else None
        raise ValueError(f"{path}: has version {version}, must be {VERSION}")
    with named(path):
        shards = tuple(Shard(**(entry | {"shape": tuple(entry["shape"])})) for entry in content["shards"])
        facts = {
            name: value for name, value in content.items() if name not in ("version", "records", "shards")
        }
        if not shards or min(shard.records for shard in shards) < 1:
            raise ValueError("has no shards, or one without records")
        if any(Path(shard.file).name != shard.file for shard in shards):
            raise ValueError("names a file that is not in its folder")
        if len({shard.file for shard in shards}) < len(shards):
            raise ValueError("names a file twice")
        for name in ("channels", "text_dim", "labels", "captions"):
            values = {_common(shard, name) for shard in shards}
            if len(values) > 1:
                raise ValueError(f"shards differ in {name}: {', '.join(map(str, sorted(values, key=str)))}")
        if sum(shard.records for shard in shards) != content["records"]:
            raise ValueError(
                f"says {content['records']} records, its shards have {sum(s.records for s in shards)}"
            )
    return Index(folder, tuple(sorted(shards, key=lambda shard: (shard.shape, shard.file))), facts)


def _common(shard: Shard, name: str) -> Any:
    """What all shards of a folder have alike."""
    if name == "channels":
        return shard.shape[0]
    return shard.classes is not None if name == "labels" else getattr(shard, name)
