"""DiT's weights and SiT's have the same names and shapes, and time runs the other way: which of the two a file has.

What tells: the arguments of the script that wrote it, the config of an export beside it, and the outputs for the
variance, which DiT trains and SiT keeps at the zeros it starts with.  The names of file and folder are a hint.
"""

import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ptdit_jax.convert.layouts.base import Layout
from ptdit_jax.convert.weights import Weights
from ptdit_jax.models import Architecture
from ptdit_jax.models.variants import DIT_VARIANTS

FOLDERS = 3  # around the file, whose names count: results/000-SiT-XL-2-Linear/checkpoints/0400000.pt


def check(found: Weights, layout: Layout, arch: Architecture, config: Any) -> None:
    """Hold a file against the config, and print what was found and what is assumed.

    Args:
      found: weights of the family "dit".
      layout: theirs.
      arch: the config's network.
      config: the config.

    Raises:
      ValueError: the file is of the other, or of another size.
    """
    ours = of_config(config)
    fields = f"model.time_input={arch.time_input!r}, diffusion.path={config.diffusion.path!r}"
    name = found.arguments.get("model")
    said = _in_text(name) if isinstance(name, str) else None
    if said:
        if said != ours:
            raise ValueError(
                f"{found.path} is of {said}: its args have model={name!r}, but the config is {_article(ours)} "
                f"({fields}); {_advice(said)}"
            )
        _check_variant(found.path, str(name), arch)
        print(f"{said}, by the args in the file: model={name!r}")
        return
    _check_own_config(found, config)
    if layout.name == "diffusers":
        if ours == "SiT":
            raise ValueError(
                f"{found.path} is DiT in diffusers, but the config is of SiT ({fields}); {_advice('DiT')}"
            )
        print(_of_diffusers(arch))
        return
    trained = _variance_is_trained(found, arch)
    if trained is False and config.diffusion.learn_variance:
        raise ValueError(
            f"{found.path}: the outputs for the variance are all zero, as SiT leaves them, and "
            f"diffusion.learn_variance=True reads them; {_advice('SiT')}, or use diffusion.learn_variance=False with "
            f"model.out_channels={arch.out_channels} for a DiT that was trained without"
        )
    hint = _by_name(found.path)
    if hint and hint != ours:
        _warn(
            f"{found.path} looks by its name like {hint}; it is taken as {_article(ours)}, as the config has it "
            f"({fields}): where that is wrong, so is every sample"
        )
    elif trained and ours == "SiT":
        _warn(
            f"{found.path}: the outputs for the variance are trained, which DiT does and SiT does not; it is taken as "
            f"SiT's, as the config has it ({fields})"
        )
    else:
        why = (
            f"by its name and the config ({fields})" if hint else f"assumed, as the config has it ({fields})"
        )
        print(f"{_article(ours)}, {why}; the weights alone do not tell DiT from SiT")


def of_config(config: Any) -> str:
    """One of "DiT", "SiT" and "neither", a network of DiT's on another path than its own."""
    if config.model.time_input == "1-t":
        return "SiT"
    return "DiT" if config.diffusion.path == "vp" else "neither"


def _in_text(text: str) -> str | None:
    """The first of the two names in a text."""
    match = re.search(r"(?i)(?<![a-z])(sit|dit)(?![a-z])", text)
    return {"sit": "SiT", "dit": "DiT"}[match[1].lower()] if match else None


def _by_name(path: Path) -> str | None:
    for part in reversed(path.absolute().parts[-1 - FOLDERS :]):
        if kind := _in_text(part):
            return kind
    return None


def _article(kind: str) -> str:
    return "neither DiT's nor SiT's" if kind == "neither" else f"{kind}'s"


def _advice(kind: str) -> str:
    name = {"SiT": "sit", "DiT": "dit"}[kind]
    return f"use a config like configs/c2i_imagenet_256_{name}_xl.py"


def _check_variant(path: Path, name: str, arch: Architecture) -> None:
    match = re.search(r"-(\w+)/\d+$", name)
    size = DIT_VARIANTS.get(match[1]) if match else None
    if size and size.width == arch.width and size.heads != arch.heads:
        raise ValueError(f"{path} is of {name}, which has {size.heads} heads; model.heads={arch.heads}")


def _check_own_config(found: Weights, config: Any) -> None:
    """An export of this project has its config beside it, which says what no tensor does."""
    written = found.facts.get("config", found.facts)
    for section, field in (("model", "time_input"), ("model", "heads"), ("diffusion", "path")):
        values = written.get(section) if isinstance(written, dict) else None
        value = values.get(field) if isinstance(values, dict) else None
        if value is not None and value != config[section][field] and config[section][field]:
            raise ValueError(
                f"{found.path.parent / 'config.json'} has {section}.{field}={value!r}, the config "
                f"{config[section][field]!r}"
            )


def _variance_is_trained(found: Weights, arch: Architecture) -> bool | None:
    """Whether the second half of the outputs holds numbers; None if there is none, or nothing is trained yet."""
    name = "final_layer.linear.weight"
    if arch.out_channels != 2 * arch.channels or name not in found.tensors:
        return None
    weight = found.read(name)
    if weight.shape[0] != arch.patch**2 * arch.out_channels or not np.any(weight):
        return None
    rows = weight.reshape(arch.patch**2, 2, arch.channels, math.prod(weight.shape[1:]))
    return bool(np.any(rows[:, 1]))


def _of_diffusers(arch: Architecture) -> str:
    if arch.time_input == "1000t_diffusers":
        return "DiT in diffusers: steps are embedded at the frequencies of its class, as weights trained there have it"
    return (
        "DiT in diffusers: steps are embedded at DiT's own frequencies, as the published weights were trained; weights "
        "trained in diffusers need model.time_input='1000t_diffusers'"
    )


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)
