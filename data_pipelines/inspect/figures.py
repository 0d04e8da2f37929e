"""Numbers as lines of text, and pictures as one sheet."""

import collections
import math
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

BAR = 40  # characters of the longest bar
RATIOS = (
    1 / 4,
    1 / 3,
    1 / 2,
    2 / 3,
    4 / 5,
    1.0,
    5 / 4,
    3 / 2,
    2.0,
    3.0,
    4.0,
)  # width over height, as bins are named
TILE, TEXT = 128, 16  # pixels: side of a picture in the sheet, height of its caption
COLUMNS = 8


def spread(values: Sequence[float], unit: str = "") -> str:
    """Returns the least, the quartiles and the most of some numbers, which must be some."""
    low, first, middle, third, high = np.percentile(values, (0, 25, 50, 75, 100))
    return f"{low:,.0f} / {first:,.0f} / {middle:,.0f} / {third:,.0f} / {high:,.0f}{unit}"


def bars(counts: Sequence[tuple[str, int]]) -> list[str]:
    """Returns a histogram, a line an entry."""
    most = max((count for _, count in counts), default=1)
    wide = max((len(name) for name, _ in counts), default=0)
    lines = []
    for name, count in counts:
        bar = "█" * math.ceil(BAR * count / max(most, 1))
        lines.append(f"  {name:>{wide}} {bar:<{BAR}} {count:,}")
    return lines


def aspects(sizes: Iterable[tuple[int, int]]) -> list[tuple[str, int]]:
    """Returns how many of some sizes (height, width) are nearest to each ratio of width to height."""
    counts = collections.Counter(
        int(np.argmin([abs(math.log(width / height / ratio)) for ratio in RATIOS])) for height, width in sizes
    )
    names = [f"{ratio:g}:1" if ratio >= 1 else f"1:{1 / ratio:g}" for ratio in RATIOS]
    return [(name, counts[place]) for place, name in enumerate(names) if counts[place]]


def lengths(numbers: Sequence[int]) -> list[tuple[str, int]]:
    """Returns how many of some whole numbers lie in each of the intervals [0], [1, 1], [2, 3], [4, 7], ..."""
    counts = collections.Counter(int(number).bit_length() for number in numbers)
    named = ((bits, f"{2 ** (bits - 1)} to {2**bits - 1}" if bits else "0") for bits in sorted(counts))
    return [(name, counts[bits]) for bits, name in named]


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Returns a picture (H, W, 3) uint8 whole, as large as a tile of the sheet shows it."""
    scale = (TILE - 4) / max(pixels.shape[:2])
    size = (max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1))
    way = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize(size, way))


def sheet(tiles: Sequence[tuple[np.ndarray, str]], columns: int = COLUMNS) -> Image.Image:
    """Returns pictures (H, W, 3) uint8 side by side, whole, each with the begin of its caption below it."""
    rows = math.ceil(len(tiles) / columns)
    made = Image.new("RGB", (columns * TILE, rows * (TILE + TEXT)), "white")
    draw, font = ImageDraw.Draw(made), ImageFont.load_default(size=10)
    for number, (pixels, text) in enumerate(tiles):
        left, top = number % columns * TILE, number // columns * (TILE + TEXT)
        picture = Image.fromarray(thumbnail(pixels))
        made.paste(picture, (left + (TILE - picture.width) // 2, top + (TILE - picture.height) // 2))
        line = " ".join(text.split())
        while line and draw.textlength(line, font=font) > TILE - 4:
            line = line[:-2]
        draw.text((left + 2, top + TILE + 1), line, fill="black", font=font)
    return made
