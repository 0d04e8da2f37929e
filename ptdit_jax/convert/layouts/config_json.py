"""The `config.json` of a folder of diffusers: what it says of the network, beside our config."""

from collections.abc import Mapping
from typing import Any

from ptdit_jax.convert.layouts import LAYOUTS, foreign
from ptdit_jax.convert.layouts.base import Layout
from ptdit_jax.models.variants import Architecture

FIELDS = {
    "num_layers": "model.depth",
    "num_attention_heads": "model.heads",
    "attention_head_dim": "model.width / model.heads",
    "cross_attention_dim": "model.width",
    "in_channels": "model.channels",
    "out_channels": "model.out_channels",
    "patch_size": "model.patch",
    "sample_size": "model.sample_size",
    "num_embeds_ada_norm": "model.classes",
    "caption_channels": "model.text_dim",
    "use_additional_conditions": "model.size_condition (true: 8)",
    "interpolation_scale": "max(model.sample_size // 64, 1)",
}
"""What of it is which field of ours; other facts are of the class and must be as it has them."""

DEFAULTS = {
    "DiTTransformer2DModel": {
        "num_attention_heads": 16,
        "attention_head_dim": 72,
        "in_channels": 4,
        "num_layers": 28,
        "sample_size": 32,
        "patch_size": 2,
        "num_embeds_ada_norm": 1000,
        "norm_type": "ada_norm_zero",
    },
    "PixArtTransformer2DModel": {
        "num_attention_heads": 16,
        "attention_head_dim": 72,
        "in_channels": 4,
        "out_channels": 8,
        "num_layers": 28,
        "cross_attention_dim": 1152,
        "sample_size": 128,
        "patch_size": 2,
        "norm_type": "ada_norm_single",
        "attention_type": "default",
    },
}
"""What diffusers takes for what a file lacks."""

COMMON = {"activation_fn": "gelu-approximate", "attention_bias": True, "norm_elementwise_affine": False}


def check_class(facts: Mapping[str, Any], file: str) -> str:
    """The class, which must be one that has a layout here.

    Raises:
      ValueError: it is another one of diffusers.
    """
    name = foreign.class_name(facts)
    if name not in DEFAULTS:
        known = " and ".join(DEFAULTS)
        raise ValueError(f"{file} is of {name}, another family of diffusers; conversions take its {known}")
    return str(name)


def check(facts: Mapping[str, Any], layout: Layout, arch: Architecture, file: str) -> None:
    """Compare a `config.json` with a network.

    Args:
      facts: what the file says.
      layout: of the weights beside it.
      arch: the network of our config.
      file: for messages.

    Raises:
      ValueError: one line with each difference.
    """
    name = check_class(facts, file)
    if layout.facts is None:
        titles = [other.title for other in LAYOUTS if other.facts]
        raise ValueError(
            f"{file} is of {name}, but the weights beside it have not the layout of {' or '.join(titles)}"
        )
    wanted = layout.facts(arch)
    if wanted["_class_name"] != name:
        raise ValueError(f"{file} is of {name}; model.family={arch.family!r} is {wanted['_class_name']}")
    given = {**COMMON, **DEFAULTS[name], **{key: value for key, value in facts.items() if value is not None}}
    given.setdefault("out_channels", given["in_channels"])
    if name == "PixArtTransformer2DModel" and isinstance(given["sample_size"], int):
        given.setdefault("use_additional_conditions", given["sample_size"] == 128)
        given.setdefault("interpolation_scale", max(given["sample_size"] // 64, 1))
    problems = []
    for key, value in wanted.items():
        if key.startswith("_") or key == "norm_eps" or given.get(key) == value:
            continue
        ours = f", the config's {FIELDS[key]} gives {value!r}" if key in FIELDS else f" must be {value!r}"
        problems.append(f"{key} {given.get(key)!r}{ours}")
    if problems:
        raise ValueError(f"{file} is not of the config's network: " + " | ".join(problems))
