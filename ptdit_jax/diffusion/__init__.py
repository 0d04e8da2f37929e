"""Diffusion: paths, objectives, samplers and guidance.  It knows no network and no config object.

A network is a function `denoise(x_t, t)` of data (B, C, F, H, W) and times (B,) in [0, 1]; t = 1 is noise.
"""

from ptdit_jax.diffusion import times as _times
from ptdit_jax.diffusion.losses import Objective
from ptdit_jax.diffusion.paths import PATHS
from ptdit_jax.diffusion.samplers import SAMPLERS

__all__ = ["PREDICTIONS_OF", "SAMPLERS", "Objective", "make"]

PREDICTIONS_OF = {"flow": ("velocity",), "vp": ("eps", "x0", "v")}


def make(
    *,
    path: str,
    prediction: str,
    learn_variance: bool,
    times: str,
    shift: str,
    shift_scale: float,
    weighting: str,
    min_snr_gamma: float,
    height_px: int | None = None,
    width_px: int | None = None,
    latent_frames: int | None = None,
    pixel_frames: int | None = None,
) -> Objective:
    """The objective of a run from the fields of `config.diffusion`; configs/common.py has their meaning.

    The size of a sample (decoded pixels, latent frames, decoded frames) is needed only with a `shift`.

    Raises:
        ValueError: for an unknown name, or fields that exclude each other.
    """
    with_path = f" with path {path!r}"
    _choose("path", path, tuple(PATHS))
    _choose("prediction", prediction, PREDICTIONS_OF[path], with_path)
    _choose("times", times, _times.TIMES if path == "flow" else ("uniform",), with_path)
    _choose("shift", shift, _times.SHIFTS if path == "flow" else ("none",), with_path)
    _choose("weighting", weighting, ("uniform", "min_snr"))
    if learn_variance and path != "vp":
        raise ValueError("diffusion.learn_variance is True; only path 'vp' has a variance to learn")
    if not shift_scale > 0:
        raise ValueError(f"diffusion.shift_scale is {shift_scale}; it must be positive")
    if shift == "none" and shift_scale != 1:
        raise ValueError(f"diffusion.shift_scale is {shift_scale}; without a shift it must be 1")
    if not min_snr_gamma > 0:
        raise ValueError(f"diffusion.min_snr_gamma is {min_snr_gamma}; it must be positive")

    ratio = 1.0
    if shift != "none":
        size = (height_px, width_px, latent_frames, pixel_frames)
        if height_px is None or width_px is None or latent_frames is None or pixel_frames is None:
            raise ValueError(
                f"diffusion.shift is {shift!r}, which needs the sample's height_px, width_px, latent_frames "
                f"and pixel_frames; got {size}"
            )
        ratio = _times.shift_ratio(
            shift,
            height_px=height_px,
            width_px=width_px,
            latent_frames=latent_frames,
            pixel_frames=pixel_frames,
            scale=shift_scale,
        )
        if ratio == 0:
            raise ValueError(
                f"diffusion.shift 'released' puts every time at 0 for {pixel_frames} decoded frames: it "
                "needs 1, or 17 and more; use 'latent_frames'"
            )
    return Objective(
        path=PATHS[path],
        prediction=prediction,
        learn_variance=learn_variance,
        times=times,
        shift_ratio=ratio,
        weighting=weighting,
        min_snr_gamma=min_snr_gamma,
    )


def _choose(field: str, value: str, allowed: tuple[str, ...], context: str = "") -> None:
    if value not in allowed:
        raise ValueError(f"diffusion.{field} is {value!r}; it must be one of {', '.join(allowed)}{context}")
