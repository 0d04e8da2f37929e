"""A compression ratio by time step, the paper's future work: what it costs and gains on digits.

    launch/sweep.sh configs/sweeps/dynamic_ratio.py --jobs 2
    launch/sweep.sh configs/sweeps/dynamic_ratio.py:quick --jobs 1

Windows of 2x2 or of 4x4 tokens at all times; coarse at much noise and fine at little (t = 1 is noise), where details
are decided; and the reverse.  One set of weights in each, `compression.by_time` (docs/dynamic_compression.md).

What digits cannot show: scans of 16x16 pixels are enlarged ones of 8x8 and have no more detail, and of 64 tokens
attention is a small part of the arithmetic, so that a ratio changes little of the cost.

On one core of a busy machine each of the 12 runs took 10 minutes; `quick`, one seed and a fifth of the steps, 13.
"""

from collections.abc import Iterator
from typing import Any

from configs.sweeps.common import DIGITS, Point, over_seeds, ratio

BASES = {"digits": "configs/c2i_digits.py", "quick": "configs/c2i_digits.py"}
FINE, COARSE = (1, 2, 2), (1, 4, 4)
VARIANTS: dict[str, dict[str, Any]] = {
    "fine": ratio(2),
    "coarse": ratio(4),
    "coarse-at-noise": {"compression.by_time": ((0.0, 0.5, FINE), (0.5, 1.0, COARSE))},
    "fine-at-noise": {"compression.by_time": ((0.0, 0.5, COARSE), (0.5, 1.0, FINE))},
}


def points(size: str) -> Iterator[Point]:
    """Digits of 16 pixels, 8x8 tokens: with three seeds, or quick with one."""
    base = {**DIGITS, "data.height": 16, "data.width": 16, "model.sample_size": 16}
    if size == "quick":
        base["train.steps"] = 500
    seeds = (0,) if size == "quick" else (0, 1, 2)
    yield from over_seeds(((name, {**base, **fields}) for name, fields in VARIANTS.items()), seeds)
