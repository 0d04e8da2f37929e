"""Which compression ratio (p_f, p_h, p_w) belongs to which size (Sec. 3.2.3 of arXiv 2409.04005)."""

import math

import ml_collections


def window_for(
    compression: ml_collections.ConfigDict, frames: int, height_px: int, width_px: int
) -> tuple[int, int, int]:
    """The window of a size: `compression.fixed`, or the table's row nearest in log of the side √(height·width).

    With `compression.by_time` it is the window of its first interval; `config.by_time.parts` has those of all.

    Sides between two rows take the nearer one (768 px on a side: 1024's), beyond the table its last row, so that
    the number of windows stays near 8x8.

    Args:
      compression: the `compression` section of a config.
      frames: latent frames; p_f is 1 for one frame, else `compression.video_frames`.
      height_px: height in pixels of the decoded image.
      width_px: width in pixels.

    Returns:
      (p_f, p_h, p_w) in tokens.

    Raises:
      ValueError: if the fixed window is not three positive integers.
    """
    if compression.by_time:
        return tuple(compression.by_time[0][2])
    if compression.fixed:
        window = tuple(compression.fixed)
        if len(window) != 3 or any(not isinstance(c, int) or c < 1 for c in window):
            raise ValueError(
                f"compression.fixed={window} must be three positive integers (p_f, p_h, p_w), or ()"
            )
        return window
    table = {int(name[2:]): tuple(compression[name]) for name in compression if name.startswith("px")}
    side = math.sqrt(height_px * width_px)
    nearest = min(table, key=lambda row: abs(math.log(row / side)))
    _, ratio_h, ratio_w = table[nearest]
    return (1 if frames == 1 else compression.video_frames, ratio_h, ratio_w)
