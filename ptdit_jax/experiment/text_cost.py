"""What text costs a run, from stored states and from an encoder inside the training step."""

import math
from typing import Any

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


def report(config: Any) -> str:
    """The table of both; "" for a model without text."""
    model = config.model
    if model.condition != "text":
        return ""
    lengths = sorted({min(TOKENS, model.text_length), model.text_length})
    rows = []
    for tokens in lengths:
        size = stored_bytes(model.text_dim, tokens)
        terabytes = f"{size * CAPTIONS / 1e12:,.1f} TB for {CAPTIONS / 1e6:,.0f} M captions"
        rows.append(
            [f"stored, {tokens} tokens", "none", "none", f"{size / 1e3:,.0f} KB a caption, {terabytes}"]
        )
    known = encoder_of(config)
    if known is None:
        return table([*HEADER], rows)
    arch, name = known
    itemsize = {"float32": 4, "bfloat16": 2}[config.text_encoder.dtype]
    memory = itemsize * t5_layout.number_of_parameters(arch) / share_of_parameters(config)
    _, layout = rules.layout(config)
    step = (
        3 * complexity.total(complexity.forward(rules.architecture(config), layout, model.text_length)).total
    )
    for tokens in lengths:
        extra = macs(arch, tokens)
        rows.append([f"live, {tokens} tokens", gib(round(memory)), f"+{extra / step:.1%}", "captions alone"])
    note = (
        f"live: {name}, {config.text_encoder.dtype}, frozen, split as the network's parameters are; {arch.depth} "
        f"blocks of width {arch.width}.  Its batches are padded to model.text_length={model.text_length} tokens.  A "
        "step is three times the network's forward pass.  data.text="
        f"{config.data.text!r} here."
    )
    return f"{table([*HEADER], rows)}\n\n{note}"
