"""Sizes in pixels, as people say them, to sizes in latents, as networks have them."""

import re
from typing import Any

from ptdit_jax.experiment import decoding

SIZE = re.compile(r"(\d+)\s*[xX×*]\s*(\d+)")


def parse(size: str) -> tuple[int, int]:
    """(H, W) of `--size`, in pixels.

    Raises:
      ValueError: it is no size.
    """
    match = SIZE.fullmatch(size.strip())
    if match is None:
        raise ValueError(f"--size={size} must be HEIGHTxWIDTH in pixels, such as 512x512")
    return int(match[1]), int(match[2])


def latent_size(config: Any, size: str | None, frames: int | None, *, views: bool = False) -> dict[str, int]:
    """What `experiment.build` takes for `--size` and `--frames`; 0 for what is not given.

    Args:
      config: the whole config.
      size: HEIGHTxWIDTH in pixels.
      frames: of the film, in pixels; of `views`, their number.
      views: each frame is a picture by itself.

    Returns:
      `frames`, `height` and `width` in latents, and `pixel_frames`.

    Raises:
      ValueError: naming the flag, and the nearest that would do.
    """
    time, rows, columns = decoding.factor_of(config)
    found = {"frames": 0, "height": 0, "width": 0, "pixel_frames": 0}
    if size is not None:
        model = config.model
        patches = (model.patch_height or model.patch, model.patch)
        sides = zip(("height", "width"), parse(size), (rows, columns), patches, strict=True)
        for name, value, factor, patch in sides:
            step = factor * patch
            if value < 1 or value % step:
                below = value // step * step
                near = " or ".join(str(v) for v in (below, below + step) if v)
                raise ValueError(
                    f"--size={size}: the {name} {value} must be a multiple of {step}, {factor} pixels a latent times "
                    f"model.patch={patch}: {near}"
                )
            found[name] = value // factor
    if frames is not None:
        time = 1 if views else time
        if frames < 1 or (frames - 1) % time:
            below = max((frames - 1) // time, 0) * time + 1
            raise ValueError(
                f"--frames={frames} must be {'1 or more' if time == 1 else f'{time}k+1, as the autoencoder makes'}: "
                f"{below} or {below + time}"
            )
        found["frames"], found["pixel_frames"] = (frames - 1) // time + 1, frames
    return found
