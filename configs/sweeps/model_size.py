"""Quality against cost over sizes of the network, PT-DiT beside its baselines.

    launch/sweep.sh configs/sweeps/model_size.py --jobs 2

What digits cannot show: the largest network here has a few million parameters and sees 1,797 scans a hundred times, so
that more of it soon learns them by heart; how quality grows with size on photographs is another question. Each point
is trained once: differences as small as those between the seeds of the ablations are chance.

Expected on 2 CPU cores: 21 minutes; quality grows with size in each family (docs/sweeps.md).
"""

from collections.abc import Iterator

from configs.sweeps.common import BASELINES, DIGITS, Point, ratio

BASES = {"digits": "configs/c2i_digits.py", "imagenet": "configs/c2i_s_256.py:sit"}
SIZES = ((2, 32), (2, 64), (4, 64), (4, 128), (6, 128))  # blocks and width on digits
VARIANTS = {"s": "S", "b": "B", "l": "L"}  # on ImageNet; PT-DiT's are called S-Class, ...


def points(size: str) -> Iterator[Point]:
    """On digits, sizes by blocks and width; on ImageNet 256, the published variants."""
    for family in ("ptdit", *BASELINES):
        if size == "digits":
            for depth, width in SIZES:
                fields = {"model.family": family, "model.depth": depth, "model.width": width}
                fields |= BASELINES.get(family, {})
                yield f"{family}-{depth}x{width}", {**DIGITS, **ratio(2), **fields}
        else:
            for name, variant in VARIANTS.items():
                variant += "-Class" if family == "ptdit" else ""
                yield f"{family}-{name}", {"model.family": family, "model.variant": variant}
