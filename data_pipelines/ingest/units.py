"""The parts that the input is divided into: a tar, a Parquet file, or some files of a folder."""

import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from data_pipelines.ingest import storage
from data_pipelines.ingest.folders import TABLES, list_folder, read_files, suffix_of
from data_pipelines.ingest.found import Found
from data_pipelines.ingest.options import Settings
from data_pipelines.ingest.pictures import SUFFIXES
from data_pipelines.ingest.storage import Entry
from data_pipelines.ingest.tables import read_table
from data_pipelines.ingest.tars import read_tar

FILES = 1000  # of a folder in a unit
LOOK = 100  # samples that are looked at before the start

Unit = dict[str, Any]  # fit for JSON: "kind", and what `read_unit` needs of it


def plan(settings: Settings, out: str) -> list[Unit]:
    """Lists the sources and divides them, always in the same way.

    Args:
        settings: names the sources.
        out: the folder of the results.

    Raises:
        ValueError: a source is not there, is nothing that is known, or holds `out`.
    """
    units: list[Unit] = []
    for source in settings.sources:
        if not storage.is_url(source) and not storage.is_url(out):
            inner, outer = os.path.realpath(out), os.path.realpath(source)
            if os.path.commonpath([inner, outer]) == outer:
                raise ValueError(
                    f"--out={out} is inside --source={source}, which would read it; name another folder"
                )
        found = storage.entries(source)
        if not found:
            raise ValueError(f"--source={source}: there is no such file, or no file in this folder")
        kind = settings.format if settings.format != "auto" else _kind(source, found)
        if kind == "webdataset":
            new = _tars(found)
        elif kind == "parquet":
            new = [_of_file(entry, "parquet") for entry in found if suffix_of(entry.uri) == "parquet"]
        else:
            samples = list_folder(source, found)
            parts = [samples[start : start + FILES] for start in range(0, len(samples), FILES)]
            new = [{"kind": "folder", "files": part} for part in parts]
        if not new:
            raise ValueError(f"--source={source} holds nothing of --format {kind}")
        units += new
    return units


def read_unit(unit: Unit, settings: Settings) -> Iterator[Found]:
    """Goes through the samples of a unit, always in the same order."""
    if unit["kind"] == "webdataset":
        return read_tar(unit["uri"], unit["sidecar"], settings)
    if unit["kind"] == "parquet":
        return read_table(unit["uri"], settings)
    return read_files(unit["files"], settings)


def check_columns(units: Sequence[Unit], settings: Settings) -> None:
    """Looks for the columns that flags name at the begin of the input.

    Raises:
        ValueError: none of the first samples has one of them.
    """
    first = list(itertools.islice((found for unit in units for found in read_unit(unit, settings)), LOOK))
    known = {name for found in first for name in found.metadata}
    for column in settings.columns:
        if column not in known:
            there = f"they have {', '.join(sorted(known))}" if known else "they have none"
            raise ValueError(f"no column {column} in the first {len(first)} samples; {there}")
    if settings.caption_column and settings.caption_column not in known:
        there = f"they have {', '.join(sorted(known)) or 'none'}"
        raise ValueError(
            f"--caption-column {settings.caption_column}: not in the first {len(first)} samples; {there}"
        )


def fingerprint(units: Sequence[Unit]) -> str:
    """Returns a hash of the names, sizes and times of all that is read."""
    state = hashlib.sha256()
    for unit in units:
        state.update(json.dumps(unit, sort_keys=True).encode() + b"\n")
    return state.hexdigest()


def _kind(source: str, found: Sequence[Entry]) -> str:
    suffixes = {suffix_of(entry.uri) for entry in found}
    if "tar" in suffixes:
        return "webdataset"
    if suffixes & SUFFIXES or any(os.path.basename(entry.uri) in TABLES for entry in found):
        return "folder"
    if "parquet" in suffixes:
        return "parquet"
    raise ValueError(f"--source={source} holds no tar, no Parquet, and no picture or film")


def _tars(found: Sequence[Entry]) -> list[Unit]:
    names = {entry.uri: entry for entry in found}
    units = []
    for entry in found:
        if suffix_of(entry.uri) == "tar":
            beside = names.get(entry.uri.removesuffix(".tar") + ".parquet")
            sidecar = {"sidecar": beside and beside.uri, "beside": beside and [beside.size, beside.time]}
            units.append(_of_file(entry, "webdataset") | sidecar)
    return units


def _of_file(entry: Entry, kind: str) -> Unit:
    return {"kind": kind, "uri": entry.uri, "size": entry.size, "time": entry.time}
