"""What follows from a point's config alone: parameters, multiply-accumulates, tokens."""

import dataclasses
import json
import math
from typing import Any

from ptdit_jax import config as rules
from ptdit_jax.models import complexity

OUTSIDE_STEP = (
    "seed",
    "train.init_",
    "train.log_every",
    "data.path",
    "checkpoint.",
    "sampling.",
    "evaluation.",
)
"""Fields that do not change the training step."""


@dataclasses.dataclass(frozen=True)
class Counts:
    """What follows from a config alone.

    Attributes:
      parameters: of the network.
      macs: multiply-accumulates of one forward pass of one sample.
      tokens: N.
      window: (p_f, p_h, p_w); None for a network without.
    """

    parameters: int
    macs: int
    tokens: int
    window: tuple[int, int, int] | None

    @property
    def ratio(self) -> int | None:
        """p, tokens a window."""
        return math.prod(self.window) if self.window else None


def count(config: Any) -> Counts:
    """What follows from a valid config alone."""
    text = step_fields(config)
    if text not in _COUNTS:
        arch, data = rules.architecture(config), config.data
        network = complexity.abstract(arch)
        ratio, _ = rules.layout(config)
        layout = network.layout((data.frames, data.height, data.width), ratio, config.compression.proxy)
        window = layout.window if config.model.family == "ptdit" else None  # others have no such windows
        macs = complexity.total(complexity.forward(arch, layout, config.model.text_length)).total
        _COUNTS[text] = Counts(complexity.parameters(network), macs, math.prod(layout.grid), window)
    return _COUNTS[text]


_COUNTS: dict[str, Counts] = {}
"""By `step_fields`: seeds share them."""


def step_fields(config: Any) -> str:
    """What the training step depends on."""
    return json.dumps({f: v for f, v in rules.flatten(config).items() if not f.startswith(OUTSIDE_STEP)})
