"""Compression ratios by time step (`compression.by_time`): the ratios of a run, and at which times each is used."""

import copy
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from ptdit_jax.config.derived import Config, layout, make_objective
from ptdit_jax.diffusion.spans import Span

FORM = "(t_from, t_to, (p_f, p_h, p_w))"


@dataclasses.dataclass(frozen=True)
class Part:
    """The times at which a ratio is used.

    Attributes:
      spans: of [0, 1], see `diffusion.spans`.
      config: the whole config, with this ratio at all times.
    """

    spans: tuple[Span, ...]
    config: Any


def parts(config: Config) -> tuple[Part, ...]:
    """The ratios of a config, each once, in the order of their first times; one without `compression.by_time`."""
    intervals = config.compression.by_time
    if not intervals:
        return (Part(((0.0, 1.0),), config),)
    spans: dict[tuple[int, ...], list[Span]] = {}
    for low, high, ratio in intervals:
        spans.setdefault(tuple(ratio), []).append((float(low), float(high)))
    return tuple(Part(tuple(of_ratio), fixed(config, ratio)) for ratio, of_ratio in spans.items())


def fixed(config: Config, ratio: tuple[int, ...]) -> Config:
    """The config with one ratio at all times and sizes."""
    one = copy.deepcopy(config)
    one.compression.update({"by_time": (), "fixed": ratio})
    return one


def holds(spans: tuple[Span, ...], t: float) -> bool:
    """Whether a time is in one of the spans."""
    return any(low <= t < high or t == high == 1 for low, high in spans)


def form_problems(config: Config) -> Iterator[str]:
    """What is wrong with `compression.by_time` as such, a line each."""
    name, intervals = "compression.by_time", config.compression.by_time
    for interval in intervals:
        if not (isinstance(interval, tuple | list) and len(interval) == 3 and _are_times(interval[:2])):
            yield f"{name}: {interval} must be {FORM}, with 0 <= t_from < t_to <= 1"
        elif not _is_ratio(interval[2]):
            yield f"{name}: {interval} must have three integers of at least 1 (p_f, p_h, p_w) as its ratio"
    if not all(isinstance(i, tuple | list) and len(i) == 3 and _are_times(i[:2]) for i in intervals):
        return
    ends = [0.0, *(high for _, high, _ in intervals)]
    starts = [*(low for low, _, _ in intervals), 1.0]
    for (before, after), number in zip(zip(ends, starts, strict=True), itertools.count()):
        if not intervals or before == after:
            continue
        what = "no ratio" if before < after else "two ratios"
        where = "at its start" if number == 0 else f"after {intervals[number - 1]}"
        low, high = sorted((before, after))
        yield f"{name}: the times from {low:g} to {high:g} have {what} ({where}); it must cover [0, 1] in order"


def problems(config: Config) -> Iterator[str]:
    """Why a network and its objective do not go with `compression.by_time`, a line each; its form is right."""
    name, compression = "compression.by_time", config.compression
    if not compression.by_time:
        return
    if config.model.family != "ptdit":
        yield f"{name} must be () with model.family={config.model.family!r}, which has no proxies"
        return
    if config.sampling.cache != "none":
        cache = f"sampling.cache={config.sampling.cache!r}"
        yield f"{name} must be () with {cache}: what is kept of one ratio is none of another"
    tokens = set()
    for part in parts(config):
        ratio = part.config.compression.fixed
        try:
            tokens.add(layout(part.config)[1].window_tokens)
            objective = make_objective(config)
        except ValueError as error:
            yield f"{name}, ratio {ratio}: {error}"
            continue
        if not dataclasses.replace(objective, spans=part.spans).mass > 0:
            yield f"{name}: no training time lies where the ratio is {ratio}, {part.spans}"
    if config.model.injection == "linear" and len(tokens) > 1:
        yield (
            f"{name}: its windows have {' and '.join(map(str, sorted(tokens)))} tokens; model.injection='linear' has "
            "parameters for windows of one number of tokens"
        )


def _are_times(ends: Any) -> bool:
    return all(type(t) in (int, float) for t in ends) and 0 <= ends[0] < ends[1] <= 1


def _is_ratio(ratio: Any) -> bool:
    return (
        isinstance(ratio, tuple | list) and len(ratio) == 3 and all(type(c) is int and c > 0 for c in ratio)
    )
