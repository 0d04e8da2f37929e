"""What text costs a run, from stored states and from an encoder inside the training step."""

import math
from typing import Any

from scipy.constants import mebi

from ptdit_jax import config as rules
from ptdit_jax.encoders import t5_layout, text
from ptdit_jax.encoders.t5 import T5Architecture
from ptdit_jax.models import complexity
from ptdit_jax.parallel.axes import RULES
from ptdit_jax.text_tables import gib, table

XXL = T5Architecture(
    vocabulary=32128,
    width=4096,
    heads=64,
    head_width=64,
    hidden=10240,
    depth=24,
    gated=True,
    activation="gelu_new",
    own_bias=False,
)
"""T5 v1.1 XXL, meant where a config has its features and names no encoder."""
CAPTIONS = 50_000_000  # of the paper's images
TOKENS = 40  # of a caption, about
HEADER = ("text", "GiB a device", "of a step's arithmetic", "disk")
STORED = 2  # bytes of a number in shards


def encoder_of(config: Any) -> tuple[T5Architecture, str] | None:
    """The text encoder of a config and its name; None where nobody knows it.

    Raises:
      ValueError: `text_encoder.path` has none.
    """
    if config.text_encoder.path:
        return text.find(config.text_encoder.path, needs_tokenizer=False).arch, config.text_encoder.path
    return (XXL, "T5 v1.1 XXL") if config.model.text_dim == XXL.width else None


def macs(arch: T5Architecture, tokens: int) -> int:
    """MACs of the encoder for a caption of so many tokens, padding included."""
    products = arch.width * (4 * arch.inner + (3 if arch.gated else 2) * arch.hidden)
    return arch.depth * (tokens * products + 2 * tokens * tokens * arch.inner)


def stored_bytes(dim: int, tokens: int) -> int:
    """Of a caption's states in a shard."""
    return STORED * dim * tokens


def share_of_parameters(config: Any) -> int:
    """Devices among which the encoder's kernels are split."""
    return math.prod(max(config.mesh[axis], 1) for name in ("embed", "heads") for axis in RULES[name])


def as_json(config: Any) -> dict[str, Any] | None:
    """What text costs, in bytes, MACs and shares; None for a model without text.

    `stored` and `live` hold the same lengths: about those of a caption, and `model.text_length`, to which live batches
    are padded.  `live` is None where nobody knows the encoder.
    """
    model = config.model
    if model.condition != "text":
        return None
    lengths = sorted({min(TOKENS, model.text_length), model.text_length})
    sizes = {tokens: stored_bytes(model.text_dim, tokens) for tokens in lengths}
    found: dict[str, Any] = {
        "text": config.data.text,
        "captions": CAPTIONS,
        "stored": [
            {"tokens": tokens, "bytes_a_caption": size, "terabytes": size * CAPTIONS / 1e12}
            for tokens, size in sizes.items()
        ],
        "live": None,
    }
    known = encoder_of(config)
    if known is None:
        return found
    arch, name = known
    itemsize = {"float32": 4, "bfloat16": 2}[config.text_encoder.dtype]
    _, layout = rules.layout(config)
    step = (
        3 * complexity.total(complexity.forward(rules.architecture(config), layout, model.text_length)).total
    )
    found["live"] = {
        "encoder": name,
        "dtype": config.text_encoder.dtype,
        "blocks": arch.depth,
        "width": arch.width,
        "bytes_a_device": round(
            itemsize * t5_layout.number_of_parameters(arch) / share_of_parameters(config)
        ),
        "lengths": [
            {"tokens": tokens, "macs_a_caption": (extra := macs(arch, tokens)), "share_of_step": extra / step}
            for tokens in lengths
        ],
    }
    return found


def report(config: Any) -> str:
    """The table of both; "" for a model without text."""
    found = as_json(config)
    if found is None:
        return ""
    rows = []
    for each in found["stored"]:
        terabytes = f"{each['terabytes']:,.1f} TB for {CAPTIONS / 1e6:,.0f} M captions"
        disk = f"{each['bytes_a_caption'] / 1e3:,.0f} KB a caption, {terabytes}"
        rows.append([f"stored, {each['tokens']} tokens", "none", "none", disk])
    live = found["live"]
    if live is None:
        return table([*HEADER], rows)
    memory = gib(live["bytes_a_device"])
    for each in live["lengths"]:
        share = f"+{each['share_of_step']:.1%}"
        rows.append([f"live, {each['tokens']} tokens", memory, share, "captions alone"])
    note = (
        f"live: {live['encoder']}, {live['dtype']}, frozen, split as the network's parameters are; {live['blocks']} "
        f"blocks of width {live['width']}.  Its batches are padded to model.text_length={config.model.text_length} "
        f"tokens.  A step is three times the network's forward pass.  data.text={config.data.text!r} here."
    )
    return f"{table([*HEADER], rows)}\n\n{note}"


def columns(config: Any) -> dict[str, Any]:
    """What the text of a config costs as it is, stored or live, as cells of a table; {} for a model without text.

    text, "stored" or "live"; text_mib, of the encoder on a device, over 2**20; text_share, its part of a step's
    arithmetic over that of the network; text_terabytes, of the paper's captions, at model.text_length.
    """
    found = as_json(config)
    if found is None:
        return {}
    if found["text"] == "stored":
        cost = {"text_mib": 0.0, "text_share": 0.0, "text_terabytes": found["stored"][-1]["terabytes"]}
    else:
        live = found["live"]
        cost = {
            "text_mib": live["bytes_a_device"] / mebi,
            "text_share": live["lengths"][-1]["share_of_step"],
            "text_terabytes": 0.0,
        }
    return {"text": found["text"]} | cost
