"""Table 2 of arXiv 2409.04005: what the parts of PT-DiT are worth, one left out or replaced at a time.

    launch/sweep.sh configs/sweeps/ablations.py --jobs 2

Structure: without proxies (GIIM), without shifted windows (SWSA), without windows of either kind (TCM).
Extraction of proxies: the mean of a window (full), its top-left token, a random one, or the one most similar to the
others.  Injection: by cross-attention (full), interpolation, or a Linear for each token of a window.  Compression
ratio: windows of 2x2 (full), 4x4 or 8x8 tokens.

On digits every variant is trained with three seeds, and judged by 500 samples: their Fréchet distance from the real
scans, in the space of the decision values of a classifier of digits; the share that it recognises; precision, recall.

What digits cannot show: an image of 8x8 tokens has no detail that its proxies do not see, so that windows have little
to add, and the network here is a hundred times smaller than that of the paper.  The order of variants on photographs is
another question.

Expected on 2 CPU cores: 22 minutes; digits without proxies are the worst, windows are worth nothing (docs/sweeps.md).
"""

from collections.abc import Iterator
from typing import Any

from configs.sweeps.common import DIGITS, Point, over_seeds, ratio

BASES = {"digits": "configs/c2i_digits.py", "imagenet": "configs/c2i_s_256.py"}

VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "no-giim": {"model.giim": False},
    "no-swsa": {"model.shift_every": -1},
    "no-tcm": {"model.tcm": False},
    "top-left": {"model.extraction": "top_left"},
    "random": {"model.extraction": "random"},
    "similarity": {"model.extraction": "similarity"},
    "interpolate": {"model.injection": "interpolate"},
    "linear": {"model.injection": "linear"},
    "ratio-4x4": ratio(4),
    "ratio-8x8": ratio(8),
}
"""The rows of the paper's table, one thing other than in "full" each."""


def points(size: str) -> Iterator[Point]:
    """On digits with three seeds each; on ImageNet 256 as in the paper, guidance 6 and 50 steps, with one."""
    if size == "digits":
        # Pixels are tokens, so that windows of 8x8 exist.
        small = {"model.patch": 1, "model.depth": 2, "data.batch": 16, "train.steps": 2400}
        base = {**DIGITS, **small, **ratio(2), "optimizer.learning_rate": 4e-3}
        yield from over_seeds((name, {**base, **fields}) for name, fields in VARIANTS.items())
    else:
        base = {"sampling.guidance": 6.0, "sampling.steps": 50}
        yield from ((name, {**base, **fields}) for name, fields in VARIANTS.items())
