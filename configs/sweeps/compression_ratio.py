"""Quality and cost of PT-DiT at several compression ratios and resolutions, beside its baselines.

    launch/sweep.sh configs/sweeps/compression_ratio.py --jobs 2
    launch/sweep.sh configs/sweeps/compression_ratio.py:imagenet --backend slurm

The ratio p is the number of tokens in a window, one of which becomes a proxy; it is no parameter, so `--warm-start`
can start each ratio from the weights of the one before.

What digits cannot show: scans of 16x16 pixels are enlarged ones of 8x8 and have no more detail, and with 16 or 64
tokens attention is a small part of the arithmetic, so that full attention (DiT) costs no more.  The gain of proxies
grows with the number of tokens: `python -m benchmarks.speed_vs_dit` times what this sweep is too small for.  Each point
is trained once: differences as small as those between the seeds of the ablations are chance.

Expected on 2 CPU cores: 20 minutes; no ratio costs quality, 4x4 of 64 tokens is the cheapest (docs/sweeps.md).
"""

from collections.abc import Iterator

from configs.sweeps.common import BASELINES, DIGITS, Point, ratio

BASES = {"digits": "configs/c2i_digits.py", "imagenet": "configs/c2i_s_256.py:sit"}


def points(size: str) -> Iterator[Point]:
    """Digits of 8 and 16 pixels; or ImageNet at 256 and 512 (latents in data/imagenet_256 and data/imagenet_512)."""
    for pixels in (8, 16) if size == "digits" else (256, 512):
        if size == "digits":
            side = pixels
            base = {**DIGITS}
        else:
            side = pixels // 8
            base = {"data.path": f"data/imagenet_{pixels}"}
        base |= {"data.height": side, "data.width": side, "model.sample_size": side}
        tokens = side // 2  # along each axis, with patches of two
        for window in (2, 4, 8, 16):
            if window <= tokens:
                yield f"ptdit-{pixels}px-{window}x{window}", {**base, **ratio(window)}
        for family, small in BASELINES.items():
            fields = small if size == "digits" else {"model.variant": "S"}
            yield f"{family}-{pixels}px", {**base, **ratio(2), "model.family": family, **fields}
