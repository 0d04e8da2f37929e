"""Protocols by name, and options of one's own: `NAME`, or `NAME?OPTION=VALUE&OPTION=VALUE`.

A protocol is a frozen dataclass whose fields are texts, whole numbers, or whole numbers and None, which is "all".
"""

import dataclasses
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from data_pipelines.raw.naming import split_options

Protocol = TypeVar("Protocol")


def check(protocol: Any, texts: Mapping[str, Collection[str]], least: Mapping[str, int]) -> None:
    """See that options are as they must be.

    Args:
      protocol: whose they are.
      texts: name of an option -> what it may be.
      least: name of an option -> the least that it may be.

    Raises:
      ValueError: one is not; names it, its value and what would be right.
    """
    for name, known in texts.items():
        if (value := getattr(protocol, name)) not in known:
            raise ValueError(f"{name}={value} must be of {', '.join(known)}")
    for name, smallest in least.items():
        if (value := getattr(protocol, name)) < smallest:
            raise ValueError(f"{name}={value} must be at least {smallest}")


def preset(presets: Mapping[str, Protocol], name: str, **changes: Any) -> Protocol:
    """A protocol by name, with options of one's own.

    Args:
      presets: protocols by name.
      name: of one of them.
      changes: its fields that are others.

    Raises:
      ValueError: there is no such protocol, or an option is wrong.
    """
    if name not in presets:
        raise ValueError(f"protocol {name} must be of {', '.join(presets)}")
    found: Any = presets[name]
    return dataclasses.replace(found, **changes)


def parse(presets: Mapping[str, Protocol], text: str, **changes: Any) -> Protocol:
    """A protocol as a command line or a config names it.

    Args:
      presets: protocols by name, of one kind.
      text: such as "stylegan_v?frames=32&reference_count=500"; a count of "all" is None.
      changes: fields that stand above those of the text.

    Raises:
      ValueError: there is no such protocol or option, or a value is wrong.
    """
    name, given = split_options(text)
    kinds = typing.get_type_hints(type(next(iter(presets.values()))))
    for option, value in given.items():
        if option not in kinds:
            raise ValueError(f"{text}: there is no option {option!r}; there are {', '.join(kinds)}")
        if isinstance(kinds[option], types.UnionType) and value == "all":
            changes.setdefault(option, None)
        elif kinds[option] is str:
            changes.setdefault(option, value)
        elif value.isdecimal():
            changes.setdefault(option, int(value))
        else:
            raise ValueError(f"{text}: {option}={value} must be a whole number")
    return preset(presets, name, **changes)
