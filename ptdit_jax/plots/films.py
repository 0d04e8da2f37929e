"""Films as MP4 (H.264), with how they were made as their comment."""

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from ptdit_jax.plots.samples import PAPER, SPEED

CODEC = "libx264"
QUALITY = "12"  # H.264's constant rate factor: 0 without loss, 51 the worst


def write(
    frames: Sequence[Image.Image],
    path: str | Path,
    *,
    frames_per_second: float = SPEED,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Writes frames of one size as a film; a row or column of white fills an odd side, which H.264 has not.

    Args:
        frames: grey or RGB, one after the other.
        path: the file to write; the folder must exist.
        frames_per_second: speed.
        settings: see `plots.settings`.

    Raises:
        OSError: this build of FFmpeg has no H.264.
    """
    if CODEC not in av.codecs_available:
        raise OSError(f"{path}: this build of PyAV has no {CODEC}; write .gif, .webp or .apng")
    width, height = frames[0].size
    with av.open(str(path), "w", format="mp4") as container:
        if settings is not None:
            container.metadata["comment"] = json.dumps(settings)
        stream = container.add_stream(CODEC, rate=Fraction(frames_per_second).limit_denominator(1000))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": QUALITY}
        for frame in frames:
            page = np.full((stream.height, stream.width, 3), PAPER, np.uint8)
            page[:height, :width] = np.asarray(frame.convert("RGB"))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(page, format="rgb24")))
        container.mux(stream.encode())
