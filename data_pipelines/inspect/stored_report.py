"""A report of a stored source: latents or pixels that are ready to train on, and text states.

Shapes: C channels, F frames, H rows, W columns, l text states.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from data_pipelines import values
from data_pipelines.inspect import figures

FRAMES = 4  # of a film in the sheet
SHOWN = 16  # records in the sheet

Tiles = list[tuple[np.ndarray, str]]
Decoder = Callable[[np.ndarray], Any]
"""Scaled latents (1, C, F, H, W) float32 to pixels (1, 3, F, H, W) in [-1, 1]."""


def report(source: Any, name: str, count: int, decoder: Decoder | None) -> tuple[list[str], Tiles]:
    """Looks at some records, evenly spread.

    Args:
        source: a `sources.Source`.
        name: `data.name`.
        count: how many at most.
        decoder: of latents; without one their principal components are shown as colours.

    Returns:
        Lines of text; tiles of a sheet.

    Raises:
        ValueError: a record cannot be read, or none is finite.
    """
    lines = [f"records: {len(source):,}, x of shape {source.shape} (C, F, H, W)"]
    shapes = getattr(source, "buckets", ())
    if len(shapes) > 1:
        lines += ["shapes:", *figures.bars([(str(shape), records) for shape, _, records in shapes])]
    looked = values.look(name, source) if len(shapes) <= 1 else None
    if looked is not None:
        pixels = source.shape[0] in (1, 3)
        lines.append(looked.line(pixels=pixels))
        if warning := looked.warning(pixels=pixels):
            lines.append(f"warning: {warning}")
    numbers = np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).astype(np.int64)).tolist()
    shown = set(numbers[:: max(len(numbers) // SHOWN, 1)][:SHOWN])
    states, labels, tiles, characters = [], [], [], []
    for number in numbers:
        sample = source[number]
        if "text" in sample:
            states.append(len(sample["text"]))
        if "label" in sample:
            labels.append(int(sample["label"]))
        caption = sample.get("caption")
        if caption is not None:
            characters.append(len(caption))
        if number in shown:
            frames = pictures(np.asarray(sample["x"]), decoder)
            few = np.linspace(0, len(frames) - 1, min(len(frames), FRAMES)).astype(int)
            tiles += [(frames[k], caption or f"record {number}") for k in few]
    lines.append(f"looked at {len(numbers):,} records; least / quartiles / most:")
    if states:
        lines += [f"  text states {figures.spread(states)}", *figures.bars(figures.lengths(states))]
    if characters:
        lines.append(f"  characters of a caption {figures.spread(characters)}")
    lines.append(f"text: {f'{source.text.dim} features' if source.text is not None else 'none'}")
    if source.text is not None and source.text.null is None:
        lines.append(
            "warning: there is no null_text.npz, the states of the empty caption, which guidance needs"
        )
    found = (
        f"{source.classes} classes, {len(set(labels))} of them here" if source.classes is not None else "none"
    )
    lines.append(f"labels: {found}")
    return lines, tiles


def pictures(x: np.ndarray, decoder: Decoder | None) -> np.ndarray:
    """Returns one record (C, F, H, W) as frames (F, H, W, 3) uint8.

    With 1 or 3 channels it is taken as pixels. Else it is decoded, or, without a decoder, its three principal
    components over the record are red, green and blue: forms are seen, colours mean nothing.
    """
    channels = x.shape[0]
    if channels in (1, 3):
        pixels = np.repeat(x, 3, axis=0) if channels == 1 else x
    elif decoder is not None:
        pixels = np.asarray(decoder(x[None].astype(np.float32)), np.float32)[0]
    else:
        flat = x.reshape(channels, -1).astype(np.float64)
        flat = flat - flat.mean(axis=1, keepdims=True)
        parts, strengths, _ = np.linalg.svd(flat, full_matrices=False)
        kept = parts[:, :3].T @ flat
        sizes = np.maximum(np.abs(kept).max(axis=1, keepdims=True), 1e-12)
        if channels < 3:
            kept, sizes = np.resize(kept, (3, kept.shape[1])), np.ones((3, 1))
        pixels = (kept / sizes).reshape(3, *x.shape[1:]) if strengths.any() else np.zeros((3, *x.shape[1:]))
    return np.moveaxis(np.rint((np.clip(pixels, -1, 1) + 1) * 127.5).astype(np.uint8), 0, -1)
