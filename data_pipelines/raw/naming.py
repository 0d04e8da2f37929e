"""How a command line names a dataset: `NAME:PATH?OPTION=VALUE&OPTION=VALUE`."""

import dataclasses
from collections.abc import Collection


@dataclasses.dataclass(frozen=True)
class SourceName:
    """What such a text says.

    Attributes:
      name: of a source, a key of `data_pipelines.raw.RAW` or of `data_pipelines.sources.SOURCES`.
      path: "" for an embedded one.
      options: by name, as typed.
    """

    name: str
    path: str
    options: dict[str, str]


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """What is before the options of a text, and these.

    Raises:
      ValueError: an option is not OPTION=VALUE.
    """
    place, _, tail = text.partition("?")
    pairs = [part.partition("=") for part in tail.split("&") if part]
    if wrong := [option for option, equals, _ in pairs if not equals or not option]:
        raise ValueError(f"{text}: {wrong[0]!r} must be OPTION=VALUE")
    return place, {option: value for option, _, value in pairs}


def parse_name(text: str, names: Collection[str]) -> SourceName:
    """Read a text.

    Args:
      text: the text.
      names: of sources.

    Raises:
      ValueError: it is not of that form, or there is no such source.
    """
    name, _, path = text.partition("?")[0].partition(":")
    if name not in names:
        raise ValueError(f"{text}: must be NAME or NAME:PATH, where NAME is one of {', '.join(names)}")
    return SourceName(name, path, split_options(text)[1])
