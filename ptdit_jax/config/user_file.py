"""A config from a Python file, the project's or a user's own."""

import difflib
from pathlib import Path
from typing import Any

import ml_collections

from configs import common
from ptdit_jax import user_code
from ptdit_jax.config.storage import flatten


def load(text: str) -> ml_collections.ConfigDict:
    """The config that a file's `get_config` returns.

    Args:
      text: FILE, or FILE:ARGUMENT for a `get_config` with an argument.

    Returns:
      A config with every field of `configs.common`, and no other.

    Raises:
      ValueError: one line with the file, its line where there is one, and what is wrong.
    """
    name, colon, argument = text.partition(":")
    path = Path(name)
    if not path.is_file():
        kind = "it is no file" if path.exists() else "there is no such file"
        raise ValueError(f"--config={name}: {kind}; configs/ has those of this project")
    module = user_code.load(path, f"config_file_{path.stem}")
    make = getattr(module, "get_config", None)
    if not callable(make):
        raise ValueError(f"{path}: it has no function get_config()")
    with user_code.told(path, "get_config()"):
        config: Any = make(argument) if colon else make()
    if not isinstance(config, ml_collections.ConfigDict):
        raise ValueError(
            f"{path}: get_config() returns {type(config).__name__}; it must return a config, begun with "
            "configs.common.get_config()"
        )
    fields, known = set(flatten(config)), flatten(common.get_config())
    if missing := [field for field in known if field not in fields]:
        raise ValueError(
            f"{path}: the config of get_config() has no {missing[0]}; begin it with configs.common.get_config()"
        )
    if unknown := sorted(fields - set(known)):
        raise ValueError(f"{path}: get_config(): {unknown[0]}: there is no such field; {hint(unknown[0])}")
    return config


def hint(field: str) -> str:
    """What a field that does not exist may have meant."""
    close = difflib.get_close_matches(field, list(flatten(common.get_config())), 1, 0.6)
    return f"did you mean {close[0]}?" if close else "configs/common.py lists the fields"
