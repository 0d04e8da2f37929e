"""What a run has kept and left out: counts by reason, histograms, as JSON and as text."""

import bisect
import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from data_pipelines.ingest.options import Settings
from data_pipelines.ingest.reasons import REASONS

JSON, TEXT = "report.json", "report.txt"
BAR = 40  # characters of the longest
HISTOGRAMS: dict[str, tuple[float, ...]] = {  # lower ends of the bins
    "shorter side, pixels": (0, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096),
    "width over height": (0, 0.25, 0.33, 0.5, 0.67, 0.8, 1, 1.01, 1.25, 1.5, 2, 3, 4),
    "words of a caption": (0, 1, 3, 5, 10, 20, 40, 80, 160, 320),
}


def histogram_counts(width: int, height: int, caption: str | None) -> dict[str, int]:
    """Returns a count of one in a bin of each histogram, as `merge` adds them up."""
    values = (min(width, height), width / height, len((caption or "").split()))
    return {
        f"{name}: {bisect.bisect_right(bins, value) - 1}": 1
        for (name, bins), value in zip(HISTOGRAMS.items(), values)
    }


def merge(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Adds counts up by their names."""
    total: dict[str, int] = {}
    for part in counts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total


def report(counts: Mapping[str, int], settings: Settings) -> dict[str, Any]:
    """Makes the report of all counts, fit for JSON."""
    left_out = {
        reason: counts[f"left out: {reason}"] for reason in REASONS if f"left out: {reason}" in counts
    }
    kept = counts.get("kept", 0)
    histograms = {
        name: {f"{low:g}": counts.get(f"{name}: {number}", 0) for number, low in enumerate(bins)}
        for name, bins in HISTOGRAMS.items()
    }
    return {
        "read": kept + sum(left_out.values()),
        "kept": kept,
        "bytes": counts.get("bytes", 0),
        "shards": -(-kept // settings.shard_size),
        "left_out": dict(sorted(left_out.items(), key=lambda item: (-item[1], item[0]))),
        "histograms": histograms,
        "settings": dataclasses.asdict(settings),
    }


def as_json(content: Mapping[str, Any]) -> bytes:
    """Returns the bytes of report.json."""
    return (json.dumps(content, indent=2) + "\n").encode()


def as_text(content: Mapping[str, Any]) -> str:
    """Returns the report for readers."""
    lines = [
        f"{content['read']:,} samples read, {content['kept']:,} kept in {content['shards']:,} shards, "
        f"{content['bytes']:,} bytes"
    ]
    if content["left_out"]:
        width = len(f"{max(content['left_out'].values()):,}")
        lines += ["", "left out (each is listed in quarantine/)"]
        lines += [
            f"  {count:>{width},}  {reason:<18} {REASONS[reason]}"
            for reason, count in content["left_out"].items()
        ]
    for name, bins in content["histograms"].items():
        filled = [number for number, count in enumerate(bins.values()) if count]
        if not filled:
            continue
        lines += ["", f"{name}, from"]
        shown = list(bins.items())[filled[0] : filled[-1] + 1]
        most = max(count for _, count in shown)
        lines += [f"  {low:>5}  {'#' * -(-count * BAR // most):<{BAR}}  {count:,}" for low, count in shown]
    return "\n".join(lines) + "\n"


def nothing_left(content: Mapping[str, Any]) -> str:
    """Returns the line for a run that kept nothing: what each reason has removed."""
    parts = [f"{count:,} {reason}" for reason, count in content["left_out"].items()]
    return f"nothing is left of {content['read']:,} samples: {', '.join(parts) or 'the input is empty'}"
