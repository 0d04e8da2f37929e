"""Captions and class labels as files and tables have them, to text and numbers, or a reason why not."""

import codecs
from collections.abc import Iterable, Sequence
from typing import Any

from data_pipelines.raw.media import Stored
from data_pipelines.raw.problems import Unusable

CAPTIONS = ("auto", "required", "optional", "none")
COLUMNS = ("caption", "text", "prompt")  # of a caption where no column is named
LONGEST = 10_000  # characters: 80 times what 120 tokens hold; what is longer is a page and no caption
MISSING = "has no caption, where others have one (captions='optional' allows it)"
_BYTES = 4 * 2**20  # that are read of a caption's file
_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def text_of(content: bytes) -> str:
    """Returns the bytes of a caption as text: UTF-8, with or without its mark, or UTF-16 with one.

    Raises:
        Unusable: with reason "caption_not_text".
    """
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8-sig")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        byte = f"byte {content[error.start]:#04x} at {error.start:,}"
        raise Unusable("caption_not_text", f"its caption is not UTF-8 ({byte})") from error


def checked(caption: Any, longest: int) -> str:
    """Returns a caption with plain ends of lines and nothing around it.

    Raises:
        Unusable: with reason "empty_caption", "caption_too_long" or "caption_not_text".
    """
    if not isinstance(caption, str):
        raise Unusable("caption_not_text", f"its caption is {type(caption).__name__} and no text")
    if not caption.isprintable() and ("\0" in caption or any("\ud800" <= c <= "\udfff" for c in caption)):
        raise Unusable("caption_not_text", "its caption has bytes that are no text")
    caption = caption.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not caption:
        raise Unusable("empty_caption", "its caption is empty")
    if len(caption) > longest:
        raise Unusable(
            "caption_too_long", f"its caption has {len(caption):,} characters, max_caption is {longest:,}"
        )
    return caption


def read(file: Stored, longest: int) -> str:
    """Returns the caption in a file.

    Raises:
        Unusable: see `text_of`, `checked`, and `Stored.open`.
    """
    with file.open() as stream:
        content = stream.read(_BYTES + 1)
    if len(content) > _BYTES:
        raise Unusable("caption_too_long", f"its caption has more than {_BYTES:,} bytes")
    return checked(text_of(content), longest)


def check_option(captions: str) -> None:
    """Raises for what the option `captions` cannot be.

    Raises:
        ValueError: it is not one of `CAPTIONS`.
    """
    if captions not in CAPTIONS:
        raise ValueError(f"captions={captions!r} must be one of {', '.join(CAPTIONS)}")


def column(option: str, name: str, columns: Sequence[str], defaults: Sequence[str] = COLUMNS) -> str | None:
    """Returns the column that an option names, or the first of some usual ones; None without any.

    Raises:
        ValueError: there is no such column.
    """
    if option:
        if option not in columns:
            raise ValueError(f"{name}={option!r}: there is no such column; there are {', '.join(columns)}")
        return option
    return next((usual for usual in defaults if usual in columns), None)


class Labels:
    """Class numbers of values: whole numbers are their own, other text gets numbers in the order of the alphabet."""

    def __init__(self, values: Iterable[Any], classes: int = 0) -> None:
        """Takes the values of all records, None where one has none, and the number of classes; 0 for the most."""
        kinds = {value if isinstance(value, str) else None for value in values if value is not None}
        words = sorted(word for word in kinds if word is not None)
        self.names: tuple[str, ...] = ()
        if words and not all(_whole(word) is not None for word in words):
            self.names = tuple(words)
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self._limit = classes

    def count(self, values: Iterable[Any]) -> int:
        """Returns the number of classes."""
        if self._limit or self.names:
            return self._limit or len(self.names)
        numbers = [number for value in values if (number := _whole(value)) is not None]
        return 1 + max(numbers, default=0)

    def number(self, value: Any) -> int:
        """Returns the class of a value.

        Raises:
            Unusable: with reason "no_label" or "bad_label".
        """
        if value is None or value == "":
            raise Unusable("no_label", "has no class label, where others have one")
        number = self._numbers.get(value) if self.names and isinstance(value, str) else _whole(value)
        if number is None or number < 0 or (self._limit and number >= self._limit):
            wanted = f"a whole number below {self._limit}" if self._limit else "a whole number from 0 on"
            raise Unusable("bad_label", f"has the class label {value!r}; it must be {wanted}")
        return number


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    text = value.strip() if isinstance(value, str) else ""
    return int(text) if text.removeprefix("-").isdecimal() and len(text) < 19 else None
