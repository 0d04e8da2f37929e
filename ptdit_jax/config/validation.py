"""The check of a config: every field, and every combination of fields, before anything is built.

A check that belongs to a part of the project is made by that part (`models.architecture`, `diffusion.make`,
`data_pipelines.open_source`, ...) and called here.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from data_pipelines import check_captions, check_text, open_source
from data_pipelines.members import shapes_of
from data_pipelines.text import NULL_FILE
from ptdit_jax import evaluation, files
from ptdit_jax.config import by_time
from ptdit_jax.config.derived import (
    Config,
    architecture,
    layout,
    make_objective,
    make_sampling,
    profiled_steps,
    window,
)
from ptdit_jax.config.limits import field_problems
from ptdit_jax.config.live import live_problems
from ptdit_jax.config.shapes import shape_problems
from ptdit_jax.config.size import training_problems
from ptdit_jax.config.storage import flatten
from ptdit_jax.models.proxy import check_injection
from ptdit_jax.models.variants import IMAGE_FAMILIES
from ptdit_jax.parallel.axes import AXES, RULES, filled
from ptdit_jax.parallel.chips import Machine

STALE = 0.05  # share of random parameters in the average that is sampled, above which there is a warning


def validate(
    config: Config, *, devices: int | None = None, check_data: bool = True, machine: Machine | None = None
) -> None:
    """Check every field and every combination of fields before anything is built.

    Args:
      config: the whole config.
      devices: number of devices the run has, to check `mesh` and `data.batch` against; None takes those of `machine`,
        and without one leaves that out.
      check_data: also open the data source and compare its channels, size and classes with the config, and look
        at the files of judges by networks, and at an `evaluation.name` of the user's own.
      machine: what the config is for, see `size.training_problems`.

    Raises:
      ValueError: one line a problem, all at once, each with the field, its value and what would be right.
    """
    if devices is None and machine is not None:
        devices = machine.devices
    problems = list(field_problems(flatten(config)))
    if not problems:  # the rest may count on sane numbers
        problems += _network(config, machine)
        problems += _mesh(config, devices)
        if not problems:
            problems += training_problems(config, machine)
        for check in (_objective, _optimizer, _sampling, _initial, _profile, live_problems):
            problems += check(config)
        problems += _paths(config, files.path if check_data else files.check)
        name = config.evaluation.name
        if check_data or not (":" in name or name in evaluation.by_networks.JUDGES):
            problems += _evaluation(config)
    if not problems and check_data:
        problems += _data(config, machine)
    if problems:
        raise ValueError("\n".join(dict.fromkeys(problems)))


def warnings(config: Config) -> Iterator[str]:
    """What a valid config allows and hardly means, or what is done to it by design, a line each."""
    for part in by_time.parts(config):
        asked, (_, tokens) = window(part.config), layout(part.config)
        if tokens.window != asked:
            yield (
                f"compression: the window {asked} is larger than the grid {tokens.grid} of tokens; it is "
                f"{tokens.window}"
            )
    decay, steps = config.sampling.ema, config.train.steps
    held = decay**steps
    if held > STALE and not config.train.init_from:
        yield (
            f"sampling.ema={decay}: after train.steps={steps} this average is still {held:.0%} the random parameters "
            "of the start; train longer, or sample a smaller decay (one of train.ema_decays)"
        )
    sampling = config.sampling
    if sampling.steps == 1 and sampling.sampler in ("ddpm", "ddim") and sampling.time_grid == "auto":
        yield (
            "sampling.steps=1: as in guided-diffusion the one step is the chain's last, which takes pure noise for "
            "almost clean data; sampling.time_grid='trailing' starts at its first"
        )


def _attempt(*calls: Callable[[], Any]) -> Iterator[str]:
    """The messages of those calls that raise a ValueError."""
    for call in calls:
        try:
            call()
        except ValueError as error:
            yield str(error)


def _network(config: Config, machine: Machine | None) -> Iterable[str]:
    model, compression = config.model, config.compression
    rows = [f"compression.{name}" for name in compression if name.startswith("px")]
    for field in [*rows, *(f"compression.{name}" for name in ("fixed", "proxy") if compression[name])]:
        value = compression[field.removeprefix("compression.")]
        if len(value) != 3 or any(type(c) is not int or c < 1 for c in value):
            yield f"{field}={value} must be three integers of at least 1 (p_f, p_h, p_w)"
            return
    problems = list(by_time.form_problems(config)) or list(_attempt(lambda: layout(config)))
    problems = problems or list(by_time.problems(config))
    if problems:
        yield from problems
        return
    _, tokens = layout(config)
    learn_variance = config.diffusion.learn_variance
    problems = list(_attempt(lambda: architecture(config, platform=machine.platform if machine else None)))
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
    if model.size_condition not in (0, config.data.pixels_per_latent):
        yield (
            f"model.size_condition={model.size_condition} must be 0 or data.pixels_per_latent="
            f"{config.data.pixels_per_latent}, so that sizes are embedded in pixels"
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
        yield from _attempt(lambda: make_sampling(objective, sampling))
    if sampling.ema not in (0, *config.train.ema_decays):
        yield (
            f"sampling.ema={sampling.ema} must be one of train.ema_decays={config.train.ema_decays}, or 0 "
            "for the raw parameters"
        )
    interval = sampling.guidance_interval
    if len(interval) != 2 or not 0 <= interval[0] <= interval[1] <= 1:
        yield f"sampling.guidance_interval={interval} must be (low, high) with 0 <= low <= high <= 1"
    if sampling.cache == "global" and (config.model.family != "ptdit" or not config.model.giim):
        yield (
            f"sampling.cache='global' keeps what proxies inject: model.family={config.model.family!r} with "
            f"model.giim={config.model.giim} has none; 'magcache' serves every network"
        )
    if sampling.guidance_channels > config.model.channels:
        yield (
            f"sampling.guidance_channels={sampling.guidance_channels} must be at most model.channels="
            f"{config.model.channels}; 0 guides all of them"
        )
    if sampling.guidance != 1 and config.model.condition == "none":
        yield f"sampling.guidance={sampling.guidance} must be 1 with model.condition='none'"
    elif sampling.guidance != 1 and config.train.condition_dropout == 0:
        yield (
            f"sampling.guidance={sampling.guidance} must be 1 with train.condition_dropout=0: the null "
            "condition would never be trained"
        )


def _evaluation(config: Config) -> Iterable[str]:
    section = config.evaluation
    if section.every and section.name == "none":
        yield f"evaluation.every={section.every} needs evaluation.name, what samples are judged by"
    if section.every and config.sampling.cache == "magcache":
        yield f"evaluation.every={section.every}: sampling.cache='magcache' is calibrated at the end of a run alone"
    try:
        found = evaluation.find(section)
    except ValueError as error:
        yield str(error)
        return
    if found is not None:
        yield from found.check(config)


def _initial(config: Config) -> Iterable[str]:
    train = config.train
    for field in ("init_ema", "init_skip"):
        if train[field] and not train.init_from:
            yield f"train.{field}={train[field]} needs train.init_from, the run or checkpoint that it is about"


def _profile(config: Config) -> Iterable[str]:
    yield from _attempt(lambda: profiled_steps(config))


def _paths(config: Config, check: Callable[[str, str], Any]) -> Iterable[str]:
    for field in ("data.path", "train.init_from"):
        section, name = field.split(".")
        if path := config[section][name]:
            yield from _attempt(lambda path=path, field=field: check(path, field))


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
    sizes = filled(axes, devices)
    replicas = math.prod(sizes[name] for name in RULES["batch"])
    micro = config.data.batch / config.optimizer.accumulate
    if micro % replicas:
        yield (
            f"data.batch={config.data.batch} / optimizer.accumulate={config.optimizer.accumulate} must be a "
            f"multiple of the replicas, mesh.data={sizes['data']} times mesh.fsdp={sizes['fsdp']}"
        )


def _data(config: Config, machine: Machine | None) -> Iterable[str]:
    try:
        source = open_source(config.data)
    except ValueError as error:
        yield str(error)
        return
    data, model = config.data, config.model
    yield from shape_problems(config, shapes_of(source), machine)
    shapes, ratios = len(shapes_of(source)), len(by_time.parts(config))
    if ratios > 1 and shapes * ratios > data.max_shapes:
        yield (
            f"data.max_shapes={data.max_shapes} must be at least {shapes * ratios}, or compression.by_time have fewer "
            f"ratios: a training step is compiled for each of {shapes} shapes of records and {ratios} ratios"
        )
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
    elif model.condition == "text" and data.text == "live":
        yield from _attempt(lambda: check_captions(data, source))
    elif model.condition == "text":
        yield from _attempt(lambda: check_text(data, source, model.text_length, model.text_dim))
        if source.text is not None and source.text.null is None and config.train.condition_dropout:
            yield (
                f"train.condition_dropout={config.train.condition_dropout} needs the text encoder's states of the "
                f"empty caption, {NULL_FILE} in data.path={data.path!r} (docs/data.md); or set it to 0"
            )
