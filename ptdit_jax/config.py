"""The rules of a config: what its fields may be together, how it is stored, and what may change on a resume.

The meaning of each field is in `configs/common.py`.  A check that belongs to a part of the project is made by
that part (`models.architecture`, `diffusion.make`, `data_pipelines.open_source`, ...) and called here.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from configs import common
from data_pipelines import check_text, open_source
from data_pipelines.text import NULL_FILE
from ptdit_jax import diffusion, evaluation, models
from ptdit_jax.diffusion.samplers import make_sampler
from ptdit_jax.models.compression import window_for
from ptdit_jax.models.proxy import check_injection
from ptdit_jax.models.variants import IMAGE_FAMILIES
from ptdit_jax.models.window import Triple, Windowing, windowing
from ptdit_jax.parallel.axes import AXES, RULES
from ptdit_jax.training.optimizer import SCHEDULES

Config = Any
"""An `Config`, whose type stubs give every field every type at once."""

CHOICES = {
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

HARMLESS = (
    "train.steps",  # with a constant schedule only
    "train.log_every",
    "train.on_nonfinite",
    "checkpoint.",
    "sampling.",
    "evaluation.",
    "data.path",
    "data.read_threads",
    "data.prefetch",
    "profile.",
    "mesh.",  # the same function; sums over devices may round differently
    "model.remat",
    "model.attention_chunk",
    "model.unroll",
)
"""Fields, and sections ending with a dot, that a resumed run may change: parameters keep their meaning."""

STALE = 0.05  # share of random parameters in the average that is sampled, above which there is a warning


def validate(config: Config, *, devices: int | None = None, check_data: bool = True) -> None:
    """Check every field and every combination of fields before anything is built.

    Args:
      config: the whole config.
      devices: number of devices the run has, to check `mesh` and `data.batch` against; None leaves that out.
      check_data: also open the data source and compare its channels, size and classes with the config, and look
        at an `evaluation.name` of the user's own.

    Raises:
      ValueError: one line a problem, all at once, each with the field, its value and what would be right.
    """
    flat = flatten(config)
    problems = [
        f"{field}={flat[field]!r} must be {rule}"
        for field, (rule, holds) in LIMITS.items()
        if not holds(flat[field])
    ]
    problems += [
        f"{field}={flat[field]!r} is unknown; it is one of {', '.join(map(repr, allowed))}"
        for field, allowed in CHOICES.items()
        if flat[field] not in allowed
    ]
    if not problems:  # the rest may count on sane numbers
        for check in (_network, _objective, _optimizer, _sampling, _profile):
            problems += check(config)
        problems += _mesh(config, devices)
        if check_data or ":" not in config.evaluation.name:
            problems += _evaluation(config)
    if not problems and check_data:
        problems += _data(config)
    if problems:
        raise ValueError("\n".join(dict.fromkeys(problems)))


def warnings(config: Config) -> Iterator[str]:
    """What a valid config allows and hardly means, a line each."""
    decay, steps = config.sampling.ema, config.train.steps
    held = decay**steps
    if held > STALE and not config.train.init_from:
        yield (
            f"sampling.ema={decay}: after train.steps={steps} this average is still {held:.0%} the random parameters "
            "of the start; train longer, or sample a smaller decay (one of train.ema_decays)"
        )


def layout(config: Config, *, frames: int = 0, height: int = 0, width: int = 0) -> tuple[Triple, Windowing]:
    """The window and the token layout of samples of `config.data`, or of another size.

    Args:
      config: the whole config.
      frames: latent frames; 0 = those of `config.data`, here and below.
      height: latent rows.
      width: latent columns.

    Returns:
      The window (p_f, p_h, p_w) to call the model with, and its layout of the token grid.

    Raises:
      ValueError: the patch does not divide the size, or no window is possible.
    """
    data, patch = config.data, config.model.patch
    frames, height, width = frames or data.frames, height or data.height, width or data.width
    for field, value in (("height", height), ("width", width)):
        if value < 1 or patch < 1 or value % patch:
            raise ValueError(f"data.{field}={value} must be a positive multiple of model.patch={patch}")
    scale = data.pixels_per_latent
    window = window_for(config.compression, frames, height * scale, width * scale)
    if any(not isinstance(c, int) or c < 1 for c in window) or len(window) != 3:
        raise ValueError(f"compression: window {window} must be three positive integers (p_f, p_h, p_w)")
    tokens = windowing((frames, height // patch, width // patch), window, config.compression.proxy)
    return tokens.window, tokens


def architecture(config: Config) -> models.Architecture:
    """The network of a config, for samples of `config.data`: its fields with nothing left "auto".

    Raises:
      ValueError: naming the field, its value, and what would be right.
    """
    window, _ = layout(config)
    return models.architecture(config.model, window, learn_variance=config.diffusion.learn_variance)


def make_objective(config: Config, *, frames: int = 0, height: int = 0, width: int = 0):
    """The diffusion objective of a config for samples of `config.data`, or of another latent size.

    Raises:
      ValueError: for an impossible `config.diffusion`.
    """
    data = config.data
    return diffusion.make(
        **config.diffusion.to_dict(),
        height_px=(height or data.height) * data.pixels_per_latent,
        width_px=(width or data.width) * data.pixels_per_latent,
        latent_frames=frames or data.frames,
        pixel_frames=frames or data.pixel_frames or data.frames,
    )


def profiled_steps(config: Config) -> range:
    """The steps of `config.profile.steps`; empty for "".

    Raises:
      ValueError: it is something else than "FIRST:LAST".
    """
    text = config.profile.steps
    first, _, last = text.partition(":")
    if text and not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise ValueError(
            f"profile.steps={text!r} must be FIRST:LAST, such as 10:13, with 1 <= FIRST <= LAST, or ''"
        )
    return range(int(first), int(last) + 1) if text else range(0)


def flatten(config: Config) -> dict[str, Any]:
    """`{"model.depth": 6, ...}`, in the order of the file."""
    return dict(_leaves(config.to_dict(), ""))


def to_json(config: Config) -> str:
    """The config as indented JSON; tuples become arrays."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def from_json(text: str) -> Config:
    """The locked config that `to_json` wrote; arrays become tuples, fields added since have their defaults.

    Raises:
      ValueError: the text is no config, or has a field that does not exist.
    """
    try:
        fields = dict(_leaves(json.loads(text), ""))
    except (json.JSONDecodeError, AttributeError) as error:
        raise ValueError(f"this is no config: {error}") from error
    config = common.get_config()
    for field, value in fields.items():
        try:
            config.update_from_flattened_dict({field: tuple(value) if isinstance(value, list) else value})
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{field}={value!r} is no field of this version of ptdit_jax: {error}"
            ) from error
    return config


def conflicts(saved: Config, config: Config) -> list[str]:
    """Why a run with `saved` cannot be continued with `config`: one line a field, none when it can."""
    old, new = flatten(saved), flatten(config)
    changed = [field for field in new if old[field] != new[field]]
    lines = [f"{f}={new[f]!r}, was {old[f]!r}" for f in changed if not f.startswith(HARMLESS)]
    if "train.steps" in changed and config.optimizer.schedule != "constant":
        lines.append(
            f"train.steps={config.train.steps}, was {saved.train.steps}: the {config.optimizer.schedule!r} "
            "schedule of the learning rate depends on it"
        )
    return lines


def _leaves(tree: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _attempt(*calls: Callable[[], Any]) -> Iterator[str]:
    """The messages of those calls that raise a ValueError."""
    for call in calls:
        try:
            call()
        except ValueError as error:
            yield str(error)


def _network(config: Config) -> Iterable[str]:
    model, compression = config.model, config.compression
    rows = [f"compression.{name}" for name in compression if name.startswith("px")]
    for field in [*rows, *(f"compression.{name}" for name in ("fixed", "proxy") if compression[name])]:
        value = compression[field.removeprefix("compression.")]
        if len(value) != 3 or any(not isinstance(c, int) or c < 1 for c in value):
            yield f"{field}={value} must be three integers of at least 1 (p_f, p_h, p_w)"
            return
    problems = list(_attempt(lambda: layout(config)))
    if problems:
        yield from problems
        return
    _, tokens = layout(config)
    learn_variance = config.diffusion.learn_variance
    problems = list(_attempt(lambda: architecture(config)))
    if problems:
        yield from problems
        return
    arch = architecture(config)
    if arch.giim:
        yield from _attempt(lambda: check_injection(arch.injection, tokens, arch.linear_tokens))
    if arch.family in IMAGE_FAMILIES and config.data.frames > 1:
        yield (
            f"data.frames={config.data.frames} must be 1 with model.family={arch.family!r}, whose positions are those "
            "of one frame; 'full3d' and 'factorized' are for videos"
        )
    allowed = (2 * arch.channels,) if learn_variance else (arch.channels, 2 * arch.channels)
    if arch.out_channels not in allowed:
        yield (
            f"model.out_channels={model.out_channels} must be 0 or {' or '.join(map(str, allowed))} with "
            f"model.channels={arch.channels} and diffusion.learn_variance={learn_variance}"
        )
    mesh = config.mesh
    if arch.width % (max(mesh.fsdp, 1) * max(mesh.context, 1)):
        yield (
            f"mesh.fsdp={mesh.fsdp} times mesh.context={mesh.context} must divide the width {arch.width} of the "
            "network"
        )
    if arch.heads % max(mesh.tensor, 1):
        yield f"mesh.tensor={mesh.tensor} must divide the {arch.heads} heads of the network"


def _objective(config: Config) -> Iterable[str]:
    yield from _attempt(lambda: make_objective(config))


def _optimizer(config: Config) -> Iterable[str]:
    optimizer, train = config.optimizer, config.train
    if config.data.batch % optimizer.accumulate:
        yield f"optimizer.accumulate={optimizer.accumulate} must divide data.batch={config.data.batch}"
    if optimizer.schedule != "constant" and optimizer.warmup_steps >= train.steps:
        yield f"optimizer.warmup_steps={optimizer.warmup_steps} must be below train.steps={train.steps}"
    decays = train.ema_decays
    if any(not isinstance(d, float) or not 0 < d < 1 for d in decays) or len(set(decays)) < len(decays):
        yield f"train.ema_decays={decays} must be different numbers in (0, 1), or () for no average"


def _sampling(config: Config) -> Iterable[str]:
    sampling = config.sampling
    if not list(_attempt(lambda: make_objective(config))):
        objective = make_objective(config)
        yield from _attempt(lambda: make_sampler(objective, sampling.sampler, steps=sampling.steps))
    if sampling.ema not in (0, *config.train.ema_decays):
        yield (
            f"sampling.ema={sampling.ema} must be one of train.ema_decays={config.train.ema_decays}, or 0 "
            "for the raw parameters"
        )
    interval = sampling.guidance_interval
    if len(interval) != 2 or not 0 <= interval[0] <= interval[1] <= 1:
        yield f"sampling.guidance_interval={interval} must be (low, high) with 0 <= low <= high <= 1"
    if sampling.guidance != 1 and config.model.condition == "none":
        yield f"sampling.guidance={sampling.guidance} must be 1 with model.condition='none'"
    elif sampling.guidance != 1 and config.train.condition_dropout == 0:
        yield (
            f"sampling.guidance={sampling.guidance} must be 1 with train.condition_dropout=0: the null "
            "condition would never be trained"
        )


def _evaluation(config: Config) -> Iterable[str]:
    try:
        found = evaluation.find(config.evaluation.name)
    except ValueError as error:
        yield str(error)
        return
    if found is not None:
        yield from found.check(config)


def _profile(config: Config) -> Iterable[str]:
    yield from _attempt(lambda: profiled_steps(config))


def _mesh(config: Config, devices: int | None) -> Iterable[str]:
    axes = {name: config.mesh[name] for name in AXES}
    text = ", ".join(f"mesh.{name}={size}" for name, size in axes.items())
    open_axes = [name for name, size in axes.items() if size == -1]
    if len(open_axes) > 1 or any(size < 1 and size != -1 for size in axes.values()):
        yield f"{text}: each must be at least 1, and one may be -1 (the devices that are left)"
        return
    if devices is None:
        return
    fixed = math.prod(size for size in axes.values() if size != -1)
    if devices % fixed or (not open_axes and devices != fixed):
        yield f"{text}: the product must {'divide' if open_axes else 'be'} the number of devices, {devices}"
        return
    sizes = {name: devices // fixed if size == -1 else size for name, size in axes.items()}
    replicas = math.prod(sizes[name] for name in RULES["batch"])
    micro = config.data.batch / config.optimizer.accumulate
    if micro % replicas:
        yield (
            f"data.batch={config.data.batch} / optimizer.accumulate={config.optimizer.accumulate} must be a "
            f"multiple of the replicas, mesh.data={sizes['data']} times mesh.fsdp={sizes['fsdp']}"
        )


def _data(config: Config) -> Iterable[str]:
    problems = list(_attempt(lambda: open_source(config.data)))
    if problems:
        yield from problems
        return
    source, data, model = open_source(config.data), config.data, config.model
    channels = source.shape[0]
    if channels != model.channels:
        yield f"model.channels={model.channels} must be {channels}, the channels of data.name={data.name!r}"
    if model.condition == "class" and source.classes is None:
        yield f"model.condition='class' needs labels; the records of data.name={data.name!r} have none"
    elif model.condition == "class" and source.classes is not None and source.classes > model.classes:
        yield (
            f"model.classes={model.classes} must be at least {source.classes}, the classes of "
            f"data.name={data.name!r}"
        )
    elif model.condition == "text":
        yield from _attempt(lambda: check_text(data, source, model.text_length, model.text_dim))
        if source.text is not None and source.text.null is None and config.train.condition_dropout:
            yield (
                f"train.condition_dropout={config.train.condition_dropout} needs the text encoder's states of the "
                f"empty caption, {NULL_FILE} in data.path={data.path!r} (docs/data.md); or set it to 0"
            )
