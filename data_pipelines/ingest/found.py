"""What readers of sources give, and how values of theirs are made safe to store."""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from data_pipelines.ingest.filters import TEXT_BYTES
from data_pipelines.ingest.reasons import LeftOut

CAPTIONS = ("caption", "text", "TEXT", "prompt")  # names of a caption's column, the first that is there


@dataclasses.dataclass(frozen=True)
class Found:
    """A sample as it lies in a source, its media not yet read.

    Attributes:
        source: path or URL of the file it is in, or that it is.
        key: its name there.
        suffix: of its media, in small letters.
        offset: where the media begin: bytes of a tar, row group of a Parquet file, 0 of a file.
        size: how many bytes; or the row in its row group.
        caption: None without one.
        metadata: of its .json and its row in a table, fit for JSON.
        read: returns the media's bytes.
        problem: why it is left out before it is looked at.
    """

    source: str
    key: str
    suffix: str = ""
    offset: int = 0
    size: int = 0
    caption: str | None = None
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    read: Callable[[], bytes] = bytes
    problem: LeftOut | None = None


def text(value: str) -> str:
    """Returns a text that UTF-8 can hold; what it cannot is spelt out."""
    return value.encode("utf-8", "backslashreplace").decode()


def plain(value: Any) -> Any:
    """Returns what JSON can hold of a value: no NaN, no bytes, no dates but their text."""
    if isinstance(value, bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping):
        return {text(str(name)): plain(item) for name, item in value.items() if not isinstance(item, bytes)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value if not isinstance(item, bytes)]
    return text(str(value))


def parse_caption(content: bytes) -> str:
    """Returns the caption that a .txt holds.

    Raises:
        LeftOut: it is too large, or no UTF-8 text.
    """
    if len(content) > TEXT_BYTES:
        raise LeftOut("caption_too_long", f"{len(content):,} bytes are more than {TEXT_BYTES:,}")
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise LeftOut("caption_not_text", error) from error


def parse_metadata(content: bytes) -> dict[str, Any]:
    """Returns the object that a .json holds.

    Raises:
        LeftOut: it is too large, or holds none.
    """
    if len(content) > TEXT_BYTES:
        raise LeftOut("bad_metadata", f"{len(content):,} bytes of .json are more than {TEXT_BYTES:,}")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise LeftOut("bad_metadata", error) from error
    if not isinstance(value, dict):
        raise LeftOut("bad_metadata", "the .json holds no object")
    return plain(value)


def caption_of(row: Mapping[str, Any], column: str = "") -> str | None:
    """Returns the caption of a table's row: the column that is named, or the first of `CAPTIONS` that holds a text."""
    for name in [column] if column else CAPTIONS:
        if isinstance(value := row.get(name), str):
            return value.strip()
    return None


def leaves_its_folder(name: str) -> bool:
    """Whether a name in an archive or a table leads outside of where it is."""
    parts = name.replace("\\", "/").split("/")
    return os.path.isabs(name) or name.startswith(("/", "\\")) or ".." in parts or "\0" in name
