"""How a part of `benchmarks.accelerator` is measured on one device.

Shapes: B samples a step, N tokens of a sample.
"""

import dataclasses
import gc
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import light_build
from benchmarks.accelerator_parts import SIZES, SMALL_TOKENS, TRAIN, Part, config_of
from benchmarks.light_build import Built
from benchmarks.timing import median_seconds


@dataclasses.dataclass(frozen=True)
class Bench:
    """What all parts of a run are measured with.

    Attributes:
      device: JAX's first one, which everything runs on.
      peak: FLOP/s of its matrix products of bfloat16, measured in the same run.
      seconds: of repeated calls of a part at least.
    """

    device: Any
    peak: float
    seconds: float = 1.0

    @property
    def memory(self) -> int | None:
        """Bytes of the device that programs may use, None where it does not say."""
        return (self.device.memory_stats() or {}).get("bytes_limit")

    @property
    def most_in_use(self) -> int:
        """Bytes in use at once so far, at most; 0 where the device does not say."""
        return (self.device.memory_stats() or {}).get("peak_bytes_in_use", 0)


class TooLargeError(Exception):
    """A step needs more memory than there is.

    Attributes:
      batch: that may fit, at most half of what was tried; 0 where not even one sample would.
    """

    def __init__(self, message: str, batch: int):
        super().__init__(message)
        self.batch = batch


def measure(part: Part, bench: Bench) -> dict[str, Any]:
    """The row of a part.

    Returns:
      What it is (part, size, shape, pass, family, attention, blocks, width, parameters, tokens N), and what was found:
      batch, ms a step (the median of `calls`), samples_per_s, tflops (model FLOP/s / 1e12) and share of the measured
      peak, compiled_bytes, in_use_bytes (None unless this part raised it), compile_s, first_step_s.  Or, if one sample
      does not fit, `note` says so.

    Raises:
      FloatingPointError: the network's output is not finite.
    """
    built = light_build.build(config_of(part), bench.device.platform)
    tokens = math.prod(built.layout.grid)
    row = {
        "part": part.name,
        "size": part.size,
        "shape": part.shape,
        "pass": part.passed,
        "family": part.family,
        "attention": part.attention,
        "blocks": built.arch.depth,
        "width": built.arch.width,
        "parameters": built.parameters,
        "tokens": tokens,
    }
    most = SMALL_TOKENS if part.small else SIZES[part.size].tokens
    batch, why = 2 ** int(math.log2(max(1, most // tokens))), ""
    while batch:
        try:
            return row | _attempt(built, part, bench, batch)
        except TooLargeError as error:
            batch, why = error.batch, str(error)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            batch, why = batch // 2, str(error).splitlines()[0]
        gc.collect()  # what the attempt held, before the next one asks for memory
    return row | {"note": f"out of memory with one sample: {why}"}


def _attempt(built: Built, part: Part, bench: Bench, batch: int) -> dict[str, Any]:
    """Compile and time a part at one batch."""
    before = bench.most_in_use
    program, inputs = _train(built) if part.passed == TRAIN else _forward(built)
    keys = jax.random.split(
        jax.random.key(0, impl="rbg"), 2
    )  # compiles faster than threefry, and needs no more
    make = jax.jit(lambda keys: inputs(keys, batch))
    began = time.perf_counter()
    compiled = program.lower(*jax.eval_shape(make, keys)).compile()
    compile_s = time.perf_counter() - began
    needs = _fits(compiled.memory_analysis(), batch, bench.memory)

    given = jax.block_until_ready(make(keys))
    call, result = _calls(compiled, given)
    del given
    began = time.perf_counter()
    jax.block_until_ready(call())
    first_s = compile_s + time.perf_counter() - began
    median, calls = median_seconds(call, bench.seconds)
    if not all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(result())):
        raise FloatingPointError(f"{part.name}: the output at batch {batch} is not finite")
    work = 2 * built.macs * (3 if part.passed == TRAIN else 1)  # the backward pass needs twice the forward's
    speed = work * batch / median
    return {
        "batch": batch,
        "ms": 1e3 * median,
        "calls": calls,
        "samples_per_s": batch / median,
        "tflops": speed / 1e12,
        "share": speed / bench.peak,
        "compiled_bytes": needs,
        "in_use_bytes": bench.most_in_use if bench.most_in_use > before else None,
        "compile_s": compile_s,
        "first_step_s": first_s,
    }


def _train(built: Built) -> tuple[Any, Callable[[jax.Array, int], Any]]:
    """The training step, jitted, and a function that makes (state, batch, key) for it."""
    prng = built.config.numerics.prng

    def inputs(keys: jax.Array, batch: int) -> Any:
        state = light_build.random_state(built, keys[0])
        return state, light_build.random_batch(built, keys[1], batch), jax.random.key(0, impl=prng)

    return jax.jit(light_build.make_step(built), donate_argnums=0), inputs


def _forward(built: Built) -> tuple[Any, Callable[[jax.Array, int], Any]]:
    """A pass as a sampler makes it, jitted, and a function that makes its arguments."""

    def forward(params: Any, batch: dict[str, jax.Array]) -> tuple[None, jax.Array]:
        condition = (batch["text"], batch["text_mask"]) if "text" in batch else batch["label"]
        t = jnp.full(len(batch["x"]), 0.5)
        keys = jax.random.split(jax.random.key(0), len(batch["x"]))
        return None, built.network(params, batch["x"], t, condition, keys)

    def inputs(keys: jax.Array, batch: int) -> Any:
        return light_build.random_params(built, keys[0]), light_build.random_batch(built, keys[1], batch)

    return jax.jit(forward), inputs


def _calls(compiled: Any, given: tuple[Any, ...]) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A call of a program, each time with the state that the last one left, if any; and what the last one returned."""
    state, *rest = given
    left: list[Any] = [state, None]
    del state, given

    def call() -> Any:
        new, out = compiled(left[0], *rest)
        left[0], left[1] = (left[0] if new is None else new), out
        return new, out

    return call, lambda: left[1]


def _fits(stats: Any, batch: int, memory: int | None) -> int:
    """Bytes that a compiled step needs; TooLargeError, with a batch that may fit, where there are not so many."""
    fixed = stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
    fixed += stats.generated_code_size_in_bytes
    needs = fixed + stats.temp_size_in_bytes
    if memory is None or needs <= memory:
        return needs
    smaller = batch // 2 if fixed <= memory else 0
    while smaller > 1 and fixed + stats.temp_size_in_bytes * smaller / batch > memory:
        smaller //= 2
    raise TooLargeError(f"{needs / 2**30:.1f} GiB needed, of {memory / 2**30:.1f}", smaller)
