"""The Apache Beam pipeline: measure, leave out duplicates, divide into shards, write.

Between its steps go a few numbers and hashes of a sample, never its picture, its caption or its metadata: what was
measured is stored for each unit, and a shard is written from the sources.  All that is grouped is sorted before it is
used, so the result does not depend on workers or on how Beam bundles.  A step may run twice: it writes the same bytes
to the same place.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam  # pyright: ignore[reportMissingImports]
import numpy as np

from data_pipelines.ingest import near, storage
from data_pipelines.ingest.measured import load_unit
from data_pipelines.ingest.options import LEVELS, Settings
from data_pipelines.ingest.report import JSON, TEXT, as_json, as_text, merge, report
from data_pipelines.ingest.shards import place, shard_name, starts, write_quarantine, write_shard

UNITS = "units.jsonl"
OUT_OF = 100_000  # samples that a file of the quarantine lists

# A sample that is kept so far is (unit, index, pixels, name, sha256, hash of the pixels, perceptual hash or ""), and
# one that is left out (unit, (index, reason, line)).  Beam encodes texts and numbers without pickle.
UNIT, INDEX, PIXELS, NAME, BYTES_HASH, PIXELS_HASH, PHASH = range(7)
Sample = tuple[Any, ...]


class Measured(NamedTuple):
    """Outputs of a step that leaves samples out."""

    kept: Any
    left_out: Any


def build(pipeline: Any, settings: Settings, out: str) -> None:
    """Adds the steps to a pipeline.

    Args:
        pipeline: of Beam.
        settings: of the run.
        out: the folder, which holds `UNITS`.
    """
    units = (
        pipeline
        | "Units file" >> beam.Create([storage.join(out, UNITS)])
        | "Units" >> beam.FlatMap(_lines).with_output_types(tuple[int, str])
        | "Spread units" >> beam.Reshuffle()
    )
    outputs = units | "Measure" >> beam.FlatMap(_measure, out, settings).with_outputs("left_out", main="kept")
    kept, left_out = outputs["kept"], [outputs["left_out"]]
    for level, column in (("bytes", BYTES_HASH), ("pixels", PIXELS_HASH)):
        if LEVELS.index(settings.dedupe) >= LEVELS.index(level):
            step = _keep_best(kept, level, column, f"{level}_duplicate")
            kept = step.kept
            left_out.append(step.left_out)
    if settings.dedupe == "perceptual":
        step = _without_near(kept, settings.distance)
        kept = step.kept
        left_out.append(step.left_out)
    chosen = kept | "Unit of kept" >> beam.Map(lambda s: (s[UNIT], s[INDEX])).with_output_types(
        tuple[int, int]
    )
    shards, first = _into_shards(chosen, "Shards", settings.shard_size)
    written = shards | "Write shards" >> beam.Map(_write_shard, beam.pvalue.AsSingleton(first), out, settings)
    listed = tuple(left_out) | "All left out" >> beam.Flatten()
    listed = listed | "Type of left out" >> beam.Map(lambda s: s).with_output_types(
        tuple[int, tuple[int, str, str]]
    )
    files, first = _into_shards(listed, "Quarantine", OUT_OF)
    quarantined = files | "Write quarantine" >> beam.Map(
        _write_quarantine, beam.pvalue.AsSingleton(first), out
    )
    _ = (
        (written, quarantined)
        | "All counts" >> beam.Flatten()
        | "Add up" >> beam.CombineGlobally(merge)
        | "Write report" >> beam.Map(_write_report, out, settings)
    )


def _lines(uri: str) -> Iterator[tuple[int, str]]:
    yield from enumerate(storage.read_bytes(uri).decode().splitlines())


def _measure(unit: tuple[int, str], out: str, settings: Settings) -> Iterator[Any]:
    number, line = unit
    for index, row in enumerate(load_unit(out, number, json.loads(line), settings)):
        if row["reason"] is not None:
            yield beam.pvalue.TaggedOutput("left_out", (number, (index, "", "")))
            continue
        phash = "" if row["phash"] is None else f"{row['phash']:016x}"
        name = f"{row['key']} in {row['source']}"
        size = row["width"] * row["height"]
        yield number, index, size, name, row["sha256"], row["pixels"] or row["sha256"], phash


def best_first(sample: Sample) -> tuple:
    """Returns what samples that are the same picture are sorted by: the largest, then the first by key, is kept."""
    return -sample[PIXELS], sample[NAME], sample[UNIT], sample[INDEX]


def _choose(group: tuple[str, Iterable[Sample]], reason: str) -> Iterator[Any]:
    """Keeps the best of a group; what it holds is gone through twice, and not held."""
    _, samples = group
    best = min(samples, key=best_first)
    for sample in samples:
        if sample[:2] == best[:2]:
            yield sample
        else:
            line = f"of {best[NAME]}"
            yield beam.pvalue.TaggedOutput("left_out", (sample[UNIT], (sample[INDEX], reason, line)))


def _keep_best(samples: Any, name: str, column: int, reason: str) -> Measured:
    outputs = (
        samples
        | f"By {name}" >> beam.Map(lambda s: (s[column], s)).with_output_types(tuple[str, Sample])
        | f"Group {name}" >> beam.GroupByKey()
        | f"Best by {name}" >> beam.FlatMap(_choose, reason).with_outputs("left_out", main="kept")
    )
    return Measured(outputs["kept"], outputs["left_out"])


def _without_near(samples: Any, distance: int) -> Measured:
    """Keeps the best of each component of samples whose perceptual hashes are near each other; films pass."""
    films = samples | "Films" >> beam.Filter(lambda s: not s[PHASH])
    hashed = samples | "By hash" >> beam.FlatMap(_by_hash).with_output_types(tuple[str, Sample])
    # What candidates of a band are is found within the band; only which of them are near goes on to one place.
    labels = (
        hashed
        | "Hashes" >> beam.Keys()
        | "Each hash once" >> beam.Distinct()
        | "Bands" >> beam.FlatMap(_bands, distance).with_output_types(tuple[bytes, str])
        | "Group bands" >> beam.GroupByKey()
        | "Near in a band" >> beam.FlatMap(_near_in_band, distance).with_output_types(bytes)
        | "Components" >> beam.CombineGlobally(_join)
        | "Labels" >> beam.FlatMap(_labels).with_output_types(tuple[str, str])
    )
    outputs = (
        {"samples": hashed, "label": labels}
        | "Join labels" >> beam.CoGroupByKey()
        | "Label samples" >> beam.FlatMap(_label).with_output_types(tuple[str, Sample])
        | "Group components" >> beam.GroupByKey()
        | "Best of component" >> beam.FlatMap(_choose, "near_duplicate").with_outputs("left_out", main="kept")
    )
    return Measured((films, outputs["kept"]) | "With films" >> beam.Flatten(), outputs["left_out"])


def _by_hash(sample: Sample) -> Iterator[tuple[str, Sample]]:
    if sample[PHASH]:
        yield sample[PHASH], sample


def _bands(key: str, distance: int) -> Iterator[tuple[bytes, str]]:
    for band in near.band_keys(int(key, 16), distance):
        yield band, key


def _near_in_band(group: tuple[bytes, Iterable[str]], distance: int) -> Iterator[bytes]:
    found = near.near_components(np.array([int(key, 16) for key in group[1]], np.uint64), distance)
    if len(found):
        yield found.tobytes()


def _join(parts: Iterable[bytes]) -> bytes:
    """Components of components, (k, 2) uint64 as bytes; the order of the parts is nothing to them."""
    arrays = [np.frombuffer(part, np.uint64).reshape(-1, 2) for part in parts if part]
    return near.components(np.concatenate(arrays)).tobytes() if arrays else b""


def _labels(content: bytes) -> Iterator[tuple[str, str]]:
    if not content:
        return
    for value, label in np.frombuffer(content, np.uint64).reshape(-1, 2).tolist():
        yield f"{value:016x}", f"{label:016x}"


def _label(joined: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[tuple[str, Sample]]:
    key, found = joined
    for label in found["label"]:
        key = label
    for sample in found["samples"]:
        yield key, sample


def _into_shards(items: Any, name: str, size: int) -> tuple[Any, Any]:
    """Divides pairs of a unit and something of it by the order of units, and within them by that of the things.

    Returns:
        Pairs of a shard and its parts, and a collection of one: `starts`.
    """
    units = items | f"{name}: group" >> beam.GroupByKey() | f"{name}: sort" >> beam.MapTuple(_sorted)
    first = (
        units
        | f"{name}: count" >> beam.MapTuple(lambda unit, held: (unit, len(held)))
        | f"{name}: counts" >> beam.combiners.ToList()
        | f"{name}: starts" >> beam.Map(starts)
    )
    placed = units | f"{name}: place" >> beam.FlatMap(_place, beam.pvalue.AsSingleton(first), size)
    placed = placed | f"{name}: type" >> beam.Map(lambda pair: pair).with_output_types(tuple[int, Any])
    return placed | f"{name}: shards" >> beam.GroupByKey(), first


def _sorted(unit: int, items: Iterable[Any]) -> tuple[int, list[Any]]:
    return unit, sorted(items)


def _place(unit: tuple[int, list[Any]], first: dict[int, int], size: int) -> Iterator[tuple[int, tuple]]:
    return place(*unit, first, size)


def _write_shard(
    shard: tuple[int, Iterable], first: dict[int, int], out: str, settings: Settings
) -> dict[str, int]:
    name = shard_name(shard[0], first[-1], settings.shard_size)
    return write_shard(out, name, shard[1], settings)


def _write_quarantine(shard: tuple[int, Iterable], first: dict[int, int], out: str) -> dict[str, int]:
    return write_quarantine(out, shard_name(shard[0], first[-1], OUT_OF), shard[1])


def _write_report(counts: dict[str, int], out: str, settings: Settings) -> None:
    content = report(counts, settings)
    storage.write_bytes(storage.join(out, TEXT), out, as_text(content).encode())
    storage.write_bytes(storage.join(out, JSON), out, as_json(content))  # last: it says that the run is done
