"""What single fields of a config may be: names and ranges."""

import math
from collections.abc import Callable
from typing import Any

from ptdit_jax.training.optimizer import SCHEDULES

CHOICES = {
    "numerics.prng": ("threefry2x32",),  # others draw otherwise for a sample alone and in a batch
    "numerics.default_dtype": ("float32",),
    "numerics.matmul_precision": ("default", "tensorfloat32", "float32"),
    "optimizer.schedule": tuple(SCHEDULES),
    "train.on_nonfinite": ("stop", "skip"),
}
"""Fields that name something, where no other part of the project checks the name."""

LIMITS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "seed": ("in [0, 2**32)", lambda v: 0 <= v < 2**32),
    "model.mlp_ratio": ("at least 1", lambda v: v >= 1),
    "model.channels": ("at least 1", lambda v: v >= 1),
    "model.sample_size": ("at least 1", lambda v: v >= 1),
    "model.classes": ("at least 1", lambda v: v >= 1),
    "model.text_dim": ("at least 1", lambda v: v >= 1),
    "model.text_length": ("at least 1", lambda v: v >= 1),
    "model.attention_chunk": ("at least 0 (0 for all queries at once)", lambda v: v >= 0),
    "data.height": ("at least 1", lambda v: v >= 1),
    "data.width": ("at least 1", lambda v: v >= 1),
    "data.frames": ("at least 1", lambda v: v >= 1),
    "data.pixel_frames": ("0 (as many as data.frames) or more", lambda v: v >= 0),
    "data.pixels_per_latent": ("at least 1", lambda v: v >= 1),
    "data.batch": ("at least 1", lambda v: v >= 1),
    "data.read_threads": ("at least 0", lambda v: v >= 0),
    "data.prefetch": ("at least 1", lambda v: v >= 1),
    "optimizer.learning_rate": ("positive and finite", lambda v: 0 < v < math.inf),
    "optimizer.warmup_steps": ("at least 0", lambda v: v >= 0),
    "optimizer.b1": ("in [0, 1)", lambda v: 0 <= v < 1),
    "optimizer.b2": ("in [0, 1)", lambda v: 0 <= v < 1),
    "optimizer.eps": ("positive", lambda v: v > 0),
    "optimizer.weight_decay": ("at least 0", lambda v: v >= 0),
    "optimizer.clip_norm": ("positive, or 0 for no clipping", lambda v: v >= 0),
    "optimizer.accumulate": ("at least 1", lambda v: v >= 1),
    "train.steps": ("at least 1", lambda v: v >= 1),
    "train.condition_dropout": ("in [0, 1)", lambda v: 0 <= v < 1),
    "train.log_every": ("at least 1", lambda v: v >= 1),
    "train.explode_factor": ("above 1, or 0 for off", lambda v: v == 0 or v > 1),
    "checkpoint.every": ("at least 1", lambda v: v >= 1),
    "checkpoint.keep": ("at least 0 (0 keeps all)", lambda v: v >= 0),
    "sampling.count": ("at least 1", lambda v: v >= 1),
    "sampling.batch": ("at least 1", lambda v: v >= 1),
    "sampling.seed": ("in [0, 2**32)", lambda v: 0 <= v < 2**32),
    "evaluation.count": ("at least 1", lambda v: v >= 1),
    "compression.video_frames": ("at least 1", lambda v: v >= 1),
}
"""Ranges of single numbers."""
