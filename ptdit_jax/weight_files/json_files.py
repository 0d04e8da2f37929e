"""JSON files of others: read as an object, or refused in a line."""

import json
from pathlib import Path
from typing import Any

DEEPEST = 32  # levels of objects and lists


def read(file: Path, what: str) -> dict[str, Any]:
    """The object in a file.

    Args:
      file: the file.
      what: what it should be, for messages.

    Raises:
      ValueError: it is not JSON, or no object, or nested beyond what can be read.
      OSError: it cannot be read.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{file} is no {what}: it is nested too deep to be read") from error
    except ValueError as error:  # no JSON, no UTF-8, or a number of more digits than Python takes
        raise ValueError(f"{file} is no {what}: it is not JSON: {str(error).splitlines()[0]}") from error
    if _is_deep(content):
        raise ValueError(f"{file} is no {what}: it is nested too deep")
    if not isinstance(content, dict):
        raise ValueError(f"{file} is no {what}: it holds {_kind(content)}, not an object {{...}}")
    return content


def _is_deep(content: Any) -> bool:
    level = [content]
    for _ in range(DEEPEST):
        level = [
            item
            for value in level
            for item in (
                value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
            )
        ]
    return bool(level)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {list: "a list", str: "a string", bool: "true or false"}.get(type(value), "a number")
