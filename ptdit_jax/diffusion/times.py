"""Times in [0, 1]: how training draws them, how resolution shifts them."""

import jax
import jax.numpy as jnp
import numpy as np

from ptdit_jax.diffusion.paths import STEPS

TIMES = ("uniform", "logit_normal")
SHIFTS = ("none", "latent_frames", "released")


def uniform(key: jax.Array, batch: int, dtype: jnp.dtype) -> jax.Array:
    """Times (B,) uniform on [0, 1)."""
    return jax.random.uniform(key, (batch,), dtype)


def logit_normal(key: jax.Array, batch: int, dtype: jnp.dtype) -> jax.Array:
    """Times (B,) = sigmoid(N(0, 1)), most often in the middle of the path (arXiv 2403.03206, Sec. 3.1)."""
    return jax.nn.sigmoid(jax.random.normal(key, (batch,), dtype))


def uniform_steps(key: jax.Array, batch: int, dtype: jnp.dtype) -> jax.Array:
    """Times (B,) uniform on the 1000 steps of the VP chain, 0, 0.001 ... 0.999."""
    return jax.random.randint(key, (batch,), 0, STEPS).astype(dtype) / STEPS


def shift_ratio(
    rule: str, *, height_px: int, width_px: int, latent_frames: int, pixel_frames: int, scale: float
) -> float:
    """The r of the resolution shift: sqrt(H W / 512^2) sqrt(T) scale; larger samples need more noise.

    Args:
        rule: "none" gives 1; "latent_frames" counts T in latent frames; "released" is the published code's,
            T = 5 (pixel frames // 17) for a video: it suits that autoencoder only and is 0 under 17 frames.
        height_px: of the decoded sample, pixels.
        width_px: of the decoded sample, pixels.
        latent_frames: length of the sample.
        pixel_frames: length of the decoded sample; one frame has T = 1 under every rule.
        scale: factor on r.
    """
    if rule == "none":
        return 1.0
    if rule == "latent_frames":
        duration = latent_frames
    else:
        assert rule == "released", rule
        duration = 1 if pixel_frames == 1 else pixel_frames // 17 * 5
    return float(np.sqrt(height_px * width_px / 512**2) * np.sqrt(duration) * scale)
