"""What an encoding ends with: the index, the list of what was left out, and a page of pictures and histograms."""

import collections
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from matplotlib.figure import Figure
from PIL import Image

from data_pipelines.shards.record import text_of, unpack
from ptdit_jax import files, plots
from ptdit_jax.encode.folder import Unit
from ptdit_jax.encode.statistics import Statistics
from ptdit_jax.encoders.autoencoder import Autoencoder

QUARANTINE, PAGE = "quarantine.jsonl", "summary.png"
COLUMNS, ROWS = 8, 3  # of the contact sheet
SHAPES = 6  # that are decoded for it; each is a program to compile
TILE = 128  # pixels of a tile's longer side


def write_quarantine(folder: Path, units: Sequence[Unit]) -> collections.Counter[str]:
    """Write a line of JSON for each record that was left out, and count them by reason."""
    lines = [one for unit in units for one in unit.quarantine]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    files.write(folder / QUARANTINE, lambda draft: draft.write_text(text, errors="backslashreplace"))
    return collections.Counter(line["reason"] for line in lines)


def by_reason(reasons: collections.Counter[str]) -> str:
    """The text "damaged 12, too_small 3", the most frequent first."""
    return ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())


def draw(
    folder: Path, units: Sequence[Unit], reasons: collections.Counter[str], autoencoder: Autoencoder
) -> Path:
    """Draw the page: some records as the autoencoder gives them back, and what all records are like.

    Args:
      folder: of the shards.
      units: all of them.
      reasons: from `write_quarantine`.
      autoencoder: decodes what was stored.

    Returns:
      The picture.
    """
    statistics = Statistics()
    for unit in units:
        statistics.merge(unit.statistics)
    figure = Figure(figsize=(14, 10.5), dpi=110, layout="constrained")
    sheet, below = np.asarray(figure.subfigures(2, 1, height_ratios=(1.15, 1)))
    tiles = _contact_sheet(folder, units, autoencoder)
    for axes, place in zip(sheet.subplots(ROWS, COLUMNS).flat, range(ROWS * COLUMNS)):
        axes.set_axis_off()
        if place < len(tiles):
            picture, caption = tiles[place]
            axes.imshow(picture)
            axes.set_title(_short(caption), fontsize=7, parse_math=False)
    records = sum(statistics.shapes.values())
    sheet.suptitle(f"{records:,} records, some as the autoencoder gives them back", fontsize=11)
    panels: list[tuple[str, str, dict[str, int]]] = [
        ("shapes", "frames x rows x columns, pixels", dict(statistics.shapes.most_common())),
        ("shorter side before", "pixels, from", _numeric(statistics.sides)),
        ("width / height before", "", {f"{2 ** (k / 4):.2f}": n for k, n in _sorted(statistics.aspects)}),
    ]
    if statistics.tokens:
        panels.append(("tokens of captions", "", _binned(statistics.tokens)))
    if reasons:
        panels.append(("left out, by reason", "", dict(reasons.most_common())))
    for axes, (title, label, counts), colour in zip(
        below.subplots(1, len(panels), squeeze=False)[0], panels, plots.COLOURS
    ):
        axes.barh(range(len(counts)), list(counts.values()), color=colour)
        axes.set_yticks(range(len(counts)), list(counts), fontsize=7)
        axes.invert_yaxis()
        axes.set(title=title, xlabel="records", ylabel=label)
        axes.grid(alpha=0.3, axis="x")
    path = folder / PAGE
    files.write(path, lambda draft: figure.savefig(draft))
    return path


def _contact_sheet(
    folder: Path, units: Sequence[Unit], autoencoder: Autoencoder
) -> list[tuple[np.ndarray, str]]:
    """Records spread over the shards of the most frequent shapes: a decoded frame and the caption or key of each."""
    shards = [shard for unit in units for shard in unit.shards]
    counts: collections.Counter[tuple[int, ...]] = collections.Counter()
    for shard in shards:
        counts[tuple(shard["shape"])] += shard["records"]
    shapes = [shape for shape, _ in counts.most_common(SHAPES)]
    tiles: list[tuple[np.ndarray, str]] = []
    for number, shape in enumerate(shapes):
        wanted = ROWS * COLUMNS // len(shapes) + (number < ROWS * COLUMNS % len(shapes))
        places = np.unique(np.linspace(0, counts[shape] - 1, wanted).round().astype(int))
        for shard, first in _starts([shard for shard in shards if tuple(shard["shape"]) == shape]):
            inside = [int(p) - first for p in places if first <= p < first + shard["records"]]
            if inside:
                with ArrayRecordDataSource(str(folder / shard["file"])) as source:
                    tiles += [_tile(unpack(source[place]), autoencoder) for place in inside]
    return tiles


def _starts(shards: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], int]]:
    """Shards, with the number that the first record of each has among all of them."""
    ends = np.cumsum([shard["records"] for shard in shards])
    return [(shard, int(end) - shard["records"]) for shard, end in zip(shards, ends)]


def _tile(record: dict[str, np.ndarray], autoencoder: Autoencoder) -> tuple[np.ndarray, str]:
    """The middle frame of a record, (H, W, 3) uint8 of at most `TILE`, and its caption or key."""
    mean = np.split(record["moments"].view(ml_dtypes.bfloat16).astype(np.float32), 2)[0]
    middle = mean.shape[1] // 2
    frames = mean if autoencoder.factor[0] > 1 else mean[:, middle : middle + 1]
    decoded = np.asarray(autoencoder.decode((frames[None] - autoencoder.shift) * autoencoder.scale))
    frame = plots.to_uint8(np.moveaxis(np.nan_to_num(decoded[0, :, decoded.shape[2] // 2]), 0, -1))
    picture = Image.fromarray(frame)
    picture.thumbnail((TILE, TILE))
    return np.asarray(picture), text_of(record["caption"] if "caption" in record else record["key"])


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 28 else text[:27] + "…"


def _sorted(counts: collections.Counter[str]) -> list[tuple[int, int]]:
    return sorted((int(value), count) for value, count in counts.items())


def _numeric(counts: collections.Counter[str]) -> dict[str, int]:
    return {f"{value:,}": count for value, count in _sorted(counts)}


def _binned(counts: collections.Counter[str], bins: int = 16) -> dict[str, int]:
    """Counts of numbers in at most so many ranges of one width."""
    pairs = _sorted(counts)
    width = max(-(-pairs[-1][0] // bins), 1)
    found: dict[str, int] = {}
    for value, count in pairs:
        low = (value - 1) // width * width + 1
        name = f"{low}" if width == 1 else f"{low} to {low + width - 1}"
        found[name] = found.get(name, 0) + count
    return found
