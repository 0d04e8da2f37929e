"""What single fields of a config may be: kinds of values, names and ranges."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from configs import common
from ptdit_jax.config.storage import flatten
from ptdit_jax.encoders.clean import CLEANINGS
from ptdit_jax.training.optimizer import SCHEDULES

LARGEST = 2**31 - 1  # of whole numbers, seeds apart: XLA counts in 32 bits

CHOICES = {
    "numerics.prng": ("threefry2x32",),  # others draw otherwise for a sample alone and in a batch
    "numerics.default_dtype": ("float32",),
    "numerics.matmul_precision": ("default", "tensorfloat32", "float32"),
    "optimizer.schedule": tuple(SCHEDULES),
    "model.null_mask": ("own", "caption"),
    "autoencoder.dtype": ("float32", "bfloat16"),
    "autoencoder.posterior": ("sample", "mode"),
    "autoencoder.tile": ("auto", "yes", "no"),
    "data.text": ("stored", "live"),
    "text_encoder.clean": tuple(CLEANINGS),
    "text_encoder.dtype": ("float32", "bfloat16"),
    "train.on_nonfinite": ("stop", "skip"),
    "checkpoint.on_damage": ("stop", "previous"),
    "sampling.cache": ("none", "magcache", "global"),
    "encode.clip": ("start", "middle"),
    "encode.no_caption": ("skip", "empty"),
}
"""Fields that name something, where no other part of the project checks the name."""

LIMITS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "seed": ("in [0, 2**32)", lambda v: 0 <= v < 2**32),
    "model.depth": ("at least 0 (0 for the variant's)", lambda v: v >= 0),
    "model.width": ("at least 0 (0 for the variant's)", lambda v: v >= 0),
    "model.heads": ("at least 0 (0 for the variant's)", lambda v: v >= 0),
    "model.patch_height": ("at least 0 (0 for model.patch)", lambda v: v >= 0),
    "model.out_channels": ("at least 0 (0 for as many as the objective needs)", lambda v: v >= 0),
    "model.shift_every": ("at least -1 (-1 for no shifted windows)", lambda v: v >= -1),
    "model.unroll": ("at least 0 (0 for all)", lambda v: v >= 0),
    "model.mlp_ratio": ("at least 1", lambda v: v >= 1),
    "model.channels": ("at least 1", lambda v: v >= 1),
    "model.sample_size": ("at least 1", lambda v: v >= 1),
    "model.classes": ("at least 1", lambda v: v >= 1),
    "model.text_dim": ("at least 1", lambda v: v >= 1),
    "model.text_length": ("at least 1", lambda v: v >= 1),
    "model.size_condition": ("at least 0 (0 for none)", lambda v: v >= 0),
    "model.attention_chunk": ("at least 0 (0 for all queries at once)", lambda v: v >= 0),
    "data.height": ("at least 1", lambda v: v >= 1),
    "data.width": ("at least 1", lambda v: v >= 1),
    "data.frames": ("at least 1", lambda v: v >= 1),
    "data.max_shapes": ("at least 1", lambda v: v >= 1),
    "data.pixel_frames": ("0 (as many as data.frames) or more", lambda v: v >= 0),
    "data.pixels_per_latent": ("at least 1", lambda v: v >= 1),
    "data.batch": ("at least 1", lambda v: v >= 1),
    "data.read_threads": ("in [0, 1024]", lambda v: 0 <= v <= 1024),
    "data.prefetch": ("at least 1", lambda v: v >= 1),
    "encode.unit": ("in [1, 1000000]", lambda v: 1 <= v <= 1_000_000),
    "encode.batch": ("at least 1", lambda v: v >= 1),
    "encode.captions": ("at least 1", lambda v: v >= 1),
    "encode.decode_threads": ("in [1, 1024]", lambda v: 1 <= v <= 1024),
    "encode.max_aspect": ("at least 1, or 0 for any", lambda v: v == 0 or v >= 1),
    "encode.min_side": ("at least 0 (0 for any)", lambda v: v >= 0),
    "encode.max_enlarge": ("positive, or 0 for any", lambda v: v >= 0),
    "encode.fps": ("positive, or 0 for that of the film", lambda v: v >= 0),
    "encode.stride": ("at least 1", lambda v: v >= 1),
    "encode.shard_mib": ("at least 1", lambda v: v >= 1),
    "autoencoder.pixel_channels": ("3 or 1", lambda v: v in (1, 3)),
    "autoencoder.tile_size": ("a multiple of 8, or 0 for the autoencoder's", lambda v: v >= 0 and v % 8 == 0),
    "autoencoder.tile_frames": (
        "4k+1 and at least 5, or 0 for the autoencoder's",
        lambda v: v == 0 or (v > 4 and v % 4 == 1),
    ),
    "optimizer.learning_rate": ("positive and finite", lambda v: 0 < v < math.inf),
    "optimizer.warmup_steps": ("at least 0", lambda v: v >= 0),
    "optimizer.b1": ("in [0, 1)", lambda v: 0 <= v < 1),
    "optimizer.b2": ("in [0, 1)", lambda v: 0 <= v < 1),
    "optimizer.eps": ("positive", lambda v: v > 0),
    "optimizer.weight_decay": ("at least 0", lambda v: v >= 0),
    "optimizer.clip_norm": ("positive, or 0 for no clipping", lambda v: v >= 0),
    "optimizer.accumulate": ("at least 1", lambda v: v >= 1),
    "train.steps": ("at least 1", lambda v: v >= 1),
    "train.init_ema": ("in [0, 1) (0 for the raw parameters)", lambda v: 0 <= v < 1),
    "train.condition_dropout": ("in [0, 1)", lambda v: 0 <= v < 1),
    "train.log_every": ("at least 1", lambda v: v >= 1),
    "train.explode_factor": ("above 1, or 0 for off", lambda v: v == 0 or v > 1),
    "checkpoint.every": ("at least 1", lambda v: v >= 1),
    "checkpoint.keep": ("at least 0 (0 keeps all)", lambda v: v >= 0),
    "sampling.count": ("at least 1", lambda v: v >= 1),
    "sampling.batch": ("at least 1", lambda v: v >= 1),
    "sampling.steps": ("at most 100000", lambda v: v <= 100_000),
    "sampling.guidance": ("at least 0 (1 for none)", lambda v: v >= 0),
    "sampling.guidance_channels": ("at least 0 (0 for all channels)", lambda v: v >= 0),
    "sampling.cache_threshold": ("at least 0 (0 skips none)", lambda v: v >= 0),
    "sampling.cache_skips": ("at least 1", lambda v: v >= 1),
    "sampling.cache_first": ("in [0, 1]", lambda v: 0 <= v <= 1),
    "sampling.cache_every": ("at least 1 (1 computes at every evaluation)", lambda v: v >= 1),
    "sampling.seed": ("in [0, 2**32)", lambda v: 0 <= v < 2**32),
    "evaluation.count": ("at least 1", lambda v: v >= 1),
    "evaluation.every": ("at least 0 (0: at the end only)", lambda v: v >= 0),
    "compression.video_frames": ("at least 1", lambda v: v >= 1),
}
"""Ranges of single numbers."""

KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "text", tuple: "a tuple"}


def field_problems(flat: dict[str, Any]) -> Iterator[str]:
    """What is wrong with single fields, a line each.

    Args:
      flat: every field, from `storage.flatten`.
    """
    for field, default in flatten(common.get_config()).items():
        value = flat.get(field)  # a dict in its place has fields of its own
        if rule := _kind_problem(field, value, default):
            yield f"{field}={value!r} must be {rule}"
        elif field in LIMITS and not LIMITS[field][1](value):
            yield f"{field}={value!r} must be {LIMITS[field][0]}"
        elif field in CHOICES and value not in CHOICES[field]:
            yield f"{field}={value!r} is unknown; it is one of {', '.join(map(repr, CHOICES[field]))}"


def _kind_problem(field: str, value: Any, default: Any) -> str | None:
    """What a field must be by the kind of its default, where it is something else."""
    kind = type(default)
    if not _is(kind, value):
        return KINDS[kind]
    if kind is tuple and not field.startswith("compression."):  # which has a rule for its triples
        element = type(default[0]) if default else str
        if not all(_is(element, part) for part in value):
            return f"a tuple, each of its parts {KINDS[element]}"
        numbers = value if element in (int, float) else ()
    else:
        numbers = (value,) if kind in (int, float) else ()
    if not all(map(math.isfinite, numbers)):
        return "finite"
    if not field.endswith("seed") and any(isinstance(n, int) and abs(n) > LARGEST for n in numbers):
        return f"at most {LARGEST}"
    return None


def _is(kind: type, value: Any) -> bool:
    """Whether a value is of a kind; whole numbers are numbers, True is none."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
