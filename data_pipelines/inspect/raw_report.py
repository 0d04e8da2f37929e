"""A report of a raw source: what some of its records are, and why others cannot be used."""

import collections
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from data_pipelines.inspect import figures
from data_pipelines.raw import RawRecord, RawSource, Unusable, decode
from data_pipelines.raw.listing import counted

THREADS = 4
NAMED = 3  # keys that are named of each reason
FRAMES = 4  # of a film or an object in the sheet
SHOWN = 8  # classes
SHEET = 64  # tiles

Tiles = list[tuple[np.ndarray, str]]


def report(source: RawSource, count: int, decoding: dict[str, Any]) -> tuple[list[str], Tiles]:
    """Looks at some records, evenly spread.

    Args:
        source: any.
        count: how many at most.
        decoding: arguments of `decode`.

    Returns:
        Lines of text; tiles of a sheet.

    Raises:
        ValueError: none of them can be used.
    """
    numbers = np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).astype(np.int64)).tolist()
    began = time.monotonic()

    def look(number: int) -> tuple[RawRecord, Any]:
        record = source[number]
        try:
            frames = decode(record, **decoding)
        except Unusable as problem:
            return record, problem
        places = np.linspace(0, len(frames) - 1, min(len(frames), FRAMES)).astype(int)
        few = [figures.thumbnail(frames[place]) for place in places] if number in shown else None
        return record, (len(frames), frames.shape[1:3], few)

    shown = set(numbers[:: max(len(numbers) // SHEET, 1)])
    with ThreadPoolExecutor(THREADS) as pool:
        looked = list(counted(pool.map(look, numbers), f"records looked at, of {len(numbers):,}"))
    seconds = time.monotonic() - began
    good = [(record, found) for record, found in looked if not isinstance(found, Unusable)]
    bad = [(record.key, found) for record, found in looked if isinstance(found, Unusable)]
    lines = [f"records: {len(source):,}, of which {len(looked):,} were looked at: {len(good):,} can be used"]
    lines += [f"note: {note}" for note in source.notes]
    lines += _problems(bad)
    if not good:
        raise ValueError("\n".join([*lines, "none of the records looked at can be used"]))
    records = [record for record, _ in good]
    lines.append(f"kind: {', '.join(sorted({record.kind for record in records}))}")
    sizes = [size for _, (_, size, _) in good]
    lines.append("least / quartiles / most:")
    lines.append(f"  rows {figures.spread([height for height, _ in sizes])}")
    lines.append(f"  columns {figures.spread([width for _, width in sizes])}")
    if records[0].kind != "image":
        lines.append(f"  frames {figures.spread([frames for _, (frames, _, _) in good])}")
    lines += ["columns : rows", *figures.bars(figures.aspects(sizes))]
    lines += _captions(records) + _labels(source, records)
    lines.append(f"decoded {len(looked) / max(seconds, 1e-9):,.0f} records a second with {THREADS} threads")
    tiles = [
        (frame, record.caption or record.key)
        for record, (_, _, few) in good
        if few is not None
        for frame in few
    ]
    return lines, tiles[:SHEET]


def _problems(bad: list[tuple[str, Unusable]]) -> list[str]:
    reasons = collections.defaultdict(list)
    for key, problem in bad:
        reasons[problem.reason].append((key, problem.text))
    lines = []
    for reason, found in sorted(reasons.items(), key=lambda item: -len(item[1])):
        lines.append(f"  {len(found):,} cannot: {reason}")
        lines += [f"    {key}: {text}" for key, text in found[:NAMED]]
    return lines


def _captions(records: list[RawRecord]) -> list[str]:
    captions = [record.caption for record in records if record.caption is not None]
    if not captions:
        return ["captions: none"]
    numbers = [len(caption) for caption in captions]
    lines = [f"captions: {len(captions):,} of {len(records):,} records, characters {figures.spread(numbers)}"]
    return lines + figures.bars(figures.lengths(numbers))


def _labels(source: RawSource, records: list[RawRecord]) -> list[str]:
    if source.classes is None:
        return ["labels: none"]
    names = getattr(source, "class_names", ())
    counts = collections.Counter(record.label for record in records if record.label is not None)
    lines = [f"labels: {source.classes:,} classes, {len(counts):,} of them here"]
    often = counts.most_common(SHOWN)
    return lines + figures.bars([(names[label] if names else str(label), count) for label, count in often])
