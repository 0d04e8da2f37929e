"""What a sample must be to be kept, in the order from the cheapest question to the dearest."""

import math
from collections.abc import Mapping
from typing import Any

from data_pipelines.ingest.options import Settings
from data_pipelines.ingest.reasons import LeftOut

TEXT_BYTES = 2**20  # of a caption or a .json, whatever the filters say


def score(metadata: Mapping[str, Any], column: str) -> float | None:
    """Returns the number that a column holds, or None: absent, null, NaN, a bool, or a text that is no number."""
    value = metadata.get(column)
    if isinstance(value, bool):
        return None
    try:
        number = float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def check_text(settings: Settings, caption: str | None, metadata: Mapping[str, Any]) -> None:
    """Looks at what is known without the picture.

    Lengths are counted in Unicode characters, and in words as white space divides them.

    Raises:
        LeftOut: a score or the caption does not pass.
    """
    for column, bound in settings.min_score:
        if (number := score(metadata, column)) is None:
            raise LeftOut("no_score", f"no number in {column}")
        if number < bound:
            raise LeftOut("score_too_low", f"{column} {number:g} is below {bound:g}")
    for column, bound in settings.max_score:
        if (number := score(metadata, column)) is None:
            raise LeftOut("no_score", f"no number in {column}")
        if number > bound:
            raise LeftOut("score_too_high", f"{column} {number:g} is above {bound:g}")
    if not (caption or "").strip():
        if settings.asks_for_captions:
            raise LeftOut("no_caption", "no caption" if caption is None else "an empty caption")
        return
    text = (caption or "").strip()
    for what, count, low, high in (
        ("characters", len(text), settings.min_caption_chars, settings.max_caption_chars),
        ("words", len(text.split()), settings.min_caption_words, settings.max_caption_words),
    ):
        if count < low:
            raise LeftOut("caption_too_short", f"{count} {what} are fewer than {low}")
        if high and count > high:
            raise LeftOut("caption_too_long", f"{count} {what} are more than {high}")


def check_size(settings: Settings, width: int, height: int) -> None:
    """Looks at width and height, in pixels as shown.

    Raises:
        LeftOut: they do not pass.
    """
    if min(width, height) < settings.min_side:
        raise LeftOut("too_small", f"{width}x{height}: a side is below {settings.min_side}")
    if width * height < settings.min_pixels:
        raise LeftOut("too_small", f"{width}x{height}: fewer pixels than {settings.min_pixels}")
    if settings.max_aspect and max(width, height) > settings.max_aspect * min(width, height):
        raise LeftOut("aspect", f"{width}x{height}: the sides are more than 1 to {settings.max_aspect:g}")
