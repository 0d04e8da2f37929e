"""Pictures of samples: grids, film strips and animations, each with how it was made in its file.

Shapes: N samples, C channels (1 grey or 3 RGB), F frames, H rows, W columns. Values are in [-1, 1]; what lies
outside is clipped. Pixels are enlarged by whole numbers and stay square and sharp.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import einops
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ptdit_jax.plots import settings as files

TILE = 64  # pixels that a sample's shorter side is enlarged to, at least
GAP = 6  # pixels between samples
STRIP = 2  # pixels between the frames of a film strip
SPEED = 8.0  # frames a second
FASTEST = 100  # of them, at most: the shortest frame of a GIF is 1/100 s
CAPTION = 18  # height of a caption in pixels
PAPER, INK = 255, 0  # grey levels of background and text
# What samples are written as, by the suffix of the file in small letters.
STILL = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}
MOVING = {".gif": "GIF", ".webp": "WEBP", ".apng": "PNG"}
LARGEST = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535}  # pixels of a side that a format or its writer has


def sample_grid(
    images: np.ndarray,
    labels: Sequence[object] | np.ndarray | None,
    png_path: str | Path,
    *,
    columns: int | None = None,
    legend: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Writes a picture of samples, each under its label: images side by side, a video as a row of its frames.

    Args:
        images: (N, C, F, H, W) in [-1, 1].
        labels: N captions, or None.
        png_path: the picture to write, of one of the formats of `STILL`; the folder must exist.
        columns: samples a row; None: a column for each different label if they fill the rows, else a square.
            Videos have one sample a row.
        legend: lines of text below, wrapped.
        settings: how the samples were made, which the file keeps where its format can; see `plots.settings`.

    Raises:
        ValueError: the shapes are not as above.
    """
    films = _films(images, labels)
    if films.shape[1] > 1:
        film = films.transpose(0, 2, 1, 3, 4)  # (N, H, F, W, C): the frames of a sample beside each other
        gapped = np.pad(film, ((0, 0), (0, 0), (0, 0), (0, STRIP), (0, 0)), constant_values=PAPER)
        tiles = gapped.reshape(*film.shape[:2], -1, film.shape[-1])[:, :, :-STRIP]
        columns = 1
    else:
        tiles = films[:, 0]
    columns = columns or _columns(len(tiles), labels)
    save([_page(tiles, labels, columns, legend)], png_path, settings=settings)


def animation(
    videos: np.ndarray,
    labels: Sequence[object] | np.ndarray | None,
    path: str | Path,
    *,
    columns: int | None = None,
    frames_per_second: float = SPEED,
    legend: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Writes a grid of moving samples as an endless animation, of one of the formats of `MOVING`.

    Args:
        videos: (N, C, F, H, W) in [-1, 1].
        labels: N captions, or None.
        path: the file to write; the folder must exist.
        columns: samples a row; None as in `sample_grid`.
        frames_per_second: speed.
        legend: as in `sample_grid`.
        settings: as in `sample_grid`.

    Raises:
        ValueError: the shapes or the suffix are not as above.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in MOVING:
        raise ValueError(f"{path}: an animation is one of {', '.join(MOVING)}")
    made = pages(videos, labels, columns=columns, legend=legend)
    save(made, path, frames_per_second=frames_per_second, settings=settings)


def frames_of(sample: np.ndarray) -> list[Image.Image]:
    """The frames of one sample (C, F, H, W) in [-1, 1], pixel for pixel."""
    pixels = np.moveaxis(to_uint8(sample), 0, -1)  # (F, H, W, C)
    return [Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in pixels]


def save(
    frames: Sequence[Image.Image],
    path: str | Path,
    *,
    frames_per_second: float = SPEED,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Writes one picture, of a format of `STILL`, or frames as an endless animation, of one of `MOVING`."""
    suffix, options = Path(path).suffix.lower(), files.options(path, settings)
    first, *rest = frames
    if suffix in STILL:
        first.save(path, quality=95, **options)  # JPEG alone has a quality
        return
    moving: dict[str, Any] = {"duration": round(1000 / frames_per_second), "loop": 0, "lossless": True}
    first.save(path, format=MOVING[suffix], save_all=True, append_images=rest, **moving, **options)


def pages(
    videos: np.ndarray,
    labels: Sequence[object] | np.ndarray | None,
    *,
    columns: int | None = None,
    legend: Sequence[str] = (),
) -> list[Image.Image]:
    """The frames of `animation`, each a grid of the samples at one time."""
    films = _films(videos, labels)
    columns = columns or _columns(len(films), labels)
    return [_page(films[:, frame], labels, columns, legend) for frame in range(films.shape[1])]


def check_size(
    path: Path,
    shape: Sequence[int],
    labels: Sequence[object] | np.ndarray | None,
    *,
    columns: int | None = None,
    legend: Sequence[str] = (),
) -> None:
    """Refuses what would be too large for its format, for samples (N, C, F, H, W) that are not made yet.

    Raises:
        ValueError: it would.
    """
    count, _, frames, height, width = shape
    factor = math.ceil(TILE / min(height, width))
    height, width, columns = factor * height, factor * width, columns or _columns(count, labels)
    if frames > 1 and path.suffix.lower() not in MOVING:
        width, columns = frames * (width + STRIP) - STRIP, 1
    size = _page_size(count, height, width, labels, columns, legend)
    limit = LARGEST.get((STILL | MOVING)[path.suffix.lower()], math.inf)
    if max(size) > limit:
        raise ValueError(
            f"{path}: {count} samples are a picture of {size[1]:,} x {size[0]:,} pixels, and {path.suffix} has up "
            f"to {limit:,} a side; make fewer, or write .png or .npy"
        )


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Maps [-1, 1] to 0..255, rounding to the nearest and clipping what is outside; any shape, finite values."""
    if not np.isfinite(images).all():
        raise ValueError("the samples hold values that are not finite; nothing is drawn from them")
    return np.rint((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)


def _films(images: np.ndarray, labels: Sequence[object] | np.ndarray | None) -> np.ndarray:
    """Returns checked samples as (N, F, H', W', C) uint8, enlarged so that they can be seen."""
    images = np.asarray(images)
    if images.ndim != 5 or images.shape[1] not in (1, 3) or not images.size:
        raise ValueError(f"images {images.shape}: must be (N, C, F, H, W) with C of 1 or 3")
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"{len(labels)} labels for {len(images)} images")
    factor = math.ceil(TILE / min(images.shape[3:]))
    return einops.repeat(to_uint8(images), "n c f h w -> n f (h a) (w b) c", a=factor, b=factor)


def _columns(count: int, labels: Sequence[object] | np.ndarray | None) -> int:
    """Returns how many samples go into a row when the caller leaves it open."""
    kinds = len({str(label) for label in labels}) if labels is not None else 0
    return kinds if 1 < kinds <= 16 and count % kinds == 0 else math.ceil(math.sqrt(count))


def _page_size(
    count: int, height: int, width: int, labels: object, columns: int, legend: Sequence[str]
) -> tuple[int, int]:
    """Returns the rows and columns of pixels of a page of tiles."""
    cell = height + GAP + (CAPTION if labels is not None else 0)
    across = min(columns, count) * (width + GAP) + GAP
    return math.ceil(count / columns) * cell + GAP + CAPTION * len(_wrapped(legend, across)), across


@functools.cache
def _font() -> Any:
    """The font that comes with matplotlib, which has the letters of more languages than Pillow's."""
    return ImageFont.truetype(
        Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", CAPTION - 5
    )


def _wrapped(legend: Sequence[str], width: int) -> list[str]:
    """Lines of text that fit a page of some width, words that are longer cut."""
    font, lines = _font(), []
    for text in legend:
        line = ""
        for word in text.split():
            longer = f"{line} {word}".strip()
            if font.getlength(longer) <= width - 2 * GAP:
                line = longer
                continue
            lines += [line] if line else []
            while font.getlength(word) > width - 2 * GAP and len(word) > 1:
                fits = next(
                    n
                    for n in range(len(word) - 1, 0, -1)
                    if n == 1 or font.getlength(word[:n]) <= width - 2 * GAP
                )
                lines.append(word[:fits])
                word = word[fits:]
            line = word
        lines.append(line)
    return lines


def _page(
    tiles: np.ndarray, labels: Sequence[object] | np.ndarray | None, columns: int, legend: Sequence[str] = ()
) -> Image.Image:
    """Lays tiles (N, H, W, C) uint8 out row by row on white paper, each under its caption."""
    count, height, width, channels = tiles.shape
    caption = CAPTION if labels is not None else 0
    columns = min(columns, count)
    cell_height, cell_width = height + caption + GAP, width + GAP
    size = _page_size(count, height, width, labels, columns, legend)
    paper = np.full((*size, channels), PAPER, np.uint8)
    corners = [(GAP + i // columns * cell_height, GAP + i % columns * cell_width) for i in range(count)]
    for tile, (top, left) in zip(tiles, corners, strict=True):
        paper[top + caption : top + caption + height, left : left + width] = tile
    page = Image.fromarray(paper[..., 0] if channels == 1 else paper)
    draw, font = ImageDraw.Draw(page), _font()
    ink = INK if channels == 1 else (INK, INK, INK)
    for label, (top, left) in zip(labels if labels is not None else (), corners):
        draw.text((left + width / 2, top + caption / 2), str(label), fill=ink, font=font, anchor="mm")
    top = math.ceil(count / columns) * cell_height + GAP
    for line in _wrapped(legend, size[1]):
        draw.text((GAP, top + CAPTION / 2), line, fill=ink, font=font, anchor="lm")
        top += CAPTION
    return page
