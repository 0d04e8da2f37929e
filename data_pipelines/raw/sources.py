"""The table of raw sources, and how one is opened."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from data_pipelines.raw.digits import DigitFilms, DigitPictures
from data_pipelines.raw.embedded import ParquetSource
from data_pipelines.raw.folder import FolderSource
from data_pipelines.raw.multiview import GObjaverse, MultiviewSource
from data_pipelines.raw.prepared import TfdsSource
from data_pipelines.raw.records import RawSource
from data_pipelines.raw.webdataset import WebDataset

RAW: dict[str, Callable[..., RawSource]] = {
    "images": functools.partial(FolderSource, kind="image"),
    "webdataset": WebDataset,
    "parquet": ParquetSource,
    "tfds": TfdsSource,
    "videos": functools.partial(FolderSource, kind="video"),
    "multiview": MultiviewSource,
    "gobjaverse": GObjaverse,
    "digits": DigitPictures,
    "moving_digits": DigitFilms,
}
"""What the name of a raw source can be."""


def open_raw(name: str, path: str = "", **options: Any) -> RawSource:
    """Opens a raw source; no picture or film is read.

    Args:
        name: a key of `RAW`.
        path: the folder or file of its records; "" for the embedded ones.
        options: of the source, as its class has them; text is taken as the number or truth it spells.

    Returns:
        The source: not empty, its records by number from any thread.

    Raises:
        ValueError: the name, the path or an option is wrong, or there is no record.
    """
    if name not in RAW:
        raise ValueError(f"{name!r} is no raw source; there are {', '.join(RAW)}")
    known = options_of(name)
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}; it has {', '.join(known)}")
    values = {option: _value(name, option, value, known[option]) for option, value in options.items()}
    source = RAW[name](path, **values)
    if not len(source):
        raise ValueError(f"{name}: {path!r} has no record")
    return source


def options_of(name: str) -> dict[str, Any]:
    """Returns the options of a source and their defaults."""
    opener = RAW[name]
    fixed = opener.keywords if isinstance(opener, functools.partial) else {}
    parameters = inspect.signature(opener).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in fixed}


def _value(name: str, option: str, value: Any, default: Any) -> Any:
    """An option in the type of its default, which a command line gives as text."""
    kind = type(default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is kind:
        return value
    words = {"true": True, "1": True, "false": False, "0": False}
    try:
        if isinstance(value, str):
            return words[value.lower()] if kind is bool else kind(value)
    except (KeyError, ValueError):
        pass
    wanted = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}[kind]
    raise ValueError(f"{name}: {option}={value!r} must be {wanted}")
