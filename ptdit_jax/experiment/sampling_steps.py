"""The compiled programs of sampling, which no prompt, label, seed or scale of guidance compiles again.

Shapes: B samples made together, C channels, F frames, H height, W width.
"""

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ptdit_jax import config as rules
from ptdit_jax.diffusion.guidance import classifier_free
from ptdit_jax.diffusion.samplers import State
from ptdit_jax.experiment.build import Experiment
from ptdit_jax.experiment.caching import Calibration, Plan, make_plan
from ptdit_jax.models.ptdit import Kept
from ptdit_jax.models.stack import joined_repeats, split_repeats
from ptdit_jax.parallel.axes import RULES
from ptdit_jax.parallel.rules import batch_sharding, replicated

Observe = Callable[[int, Kept], None]


class Steps:
    """The compiled programs of sampling at one size, for any prompts, labels, seeds and scales of guidance.

    One program of the guided step serves all of them; without guidance (scale 1) the network sees half as much, which
    is another.

    Attributes:
      experiment: the network and its objective.
      sampling: the `sampling` section of a config; its `guidance` and `seed` are not in the programs.
      mesh: devices, which share each batch.
      batch: B.
      plan: which evaluations reuse what of earlier ones; where some do, there are two programs of each, one that keeps
        and one that reuses.
      seconds: that compiling took.
      traces: how often a step was traced, by whether it was guided; once each, however many samples are made.
    """

    def __init__(
        self,
        experiment: Experiment,
        sampling: Any,
        mesh: Mesh,
        *,
        count: int | None = None,
        calibration: Calibration | None = None,
        observe: Observe | None = None,
    ):
        """Describe them; nothing is compiled yet.

        Args:
          experiment: see above.
          sampling: see above.
          mesh: see above.
          count: samples that there will be at most, if that is known; B is no larger.
          calibration: for `sampling.cache` "magcache".
          observe: called with the number of every evaluation and what all blocks added to the tokens (B, or guided 2B,
            m, n, D); nothing is reused then, whatever `sampling` says.

        Raises:
          ValueError: for a sampler or a cache that the network does not allow.
        """
        self.experiment, self.sampling, self.mesh = experiment, sampling, mesh
        self.method = rules.make_sampling(experiment.objective, sampling)
        self.rows = [{name: np.float32(value) for name, value in row.items()} for row in self.method.rows()]
        share = math.prod(mesh.shape.get(axis, 1) for axis in RULES["batch"])
        together = sampling.batch if count is None else min(sampling.batch, count)
        self.batch = math.ceil(together / share) * share
        self.place = batch_sharding(mesh)
        evaluations = self.method.evaluations
        self.observe = observe
        self.plan = (
            make_plan(sampling, evaluations, calibration)
            if observe is None
            else Plan("blocks", np.zeros(evaluations, bool))
        )
        is_whole = observe is None and not self.plan.reuse.any()  # then there is nothing to keep
        self._network = None if is_whole else experiment.keeping(self.plan.keep)
        self.traces = {True: 0, False: 0}
        self.seconds = 0.0
        self._compiled: dict[bool, tuple[Any, Any]] = {}
        donate: dict[str, Any] = {"donate_argnums": 5, "static_argnums": 0}
        self._step = jax.jit(self._one_step, out_shardings=self.place, **donate)
        self._keep = jax.jit(self._keeping_step, out_shardings=(self.place, None), **donate)
        self._reuse = jax.jit(self._reusing_step, out_shardings=self.place, **donate)
        self.start = jax.jit(self._start, out_shardings=self.place)
        # A program of its own leaves the bits of the samples as they are.
        self.watch = jax.jit(_watch, out_shardings=self.place)
        self.gather = jax.jit(lambda x: x, out_shardings=replicated(mesh))
        is_cpu = mesh.size == 1 and mesh.devices.flat[0].platform == "cpu"
        self._split = jax.jit(split_repeats) if is_cpu and experiment.unrolled else None
        wrap = functools.partial(jax.random.wrap_key_data, impl=experiment.prng)
        self.place_keys = jax.jit(wrap, out_shardings=self.place)

    @property
    def is_unconditional(self) -> bool:
        """Whether the network has no condition."""
        return self.experiment.classes is None and self.experiment.text is None

    def step(self, params: Any, keys: jax.Array, given: Any, scale: float, silent: bool = True) -> Callable:
        """The compiled (state, number, row) -> state of a batch, compiled where that was not done before.

        Args:
          params: the network's parameters.
          keys: (B,) of the samples.
          given: their condition and null condition, pytrees of (B, ...), or None twice.
          scale: of guidance.
          silent: say nothing of a compilation.
        """
        if self._split is not None:
            params = self._split(params)
        guided, amount = scale != 1, np.float32(scale)
        if guided not in self._compiled:
            if not silent:
                print("compiling the sampler ...", end=" ", flush=True)
            before = time.perf_counter()
            arguments = (params, keys, given, amount, self.start(keys), np.uint32(0), self.rows[0])
            self._compiled[guided] = self._compile(guided, arguments)
            seconds = time.perf_counter() - before
            self.seconds += seconds
            if not silent:
                print(f"{seconds:.1f} s", flush=True)
        full, reusing = self._compiled[guided]
        given_all = (params, keys, given, amount)
        kept: Kept = None

        def advance(state: State, number: int, row: Any) -> State:
            nonlocal kept
            arguments = (*given_all, state, np.uint32(number), row)
            if self._network is None:
                return full(*arguments)
            if self.plan.reuse[number]:
                return reusing(*arguments, kept)
            kept = None  # its memory is free for what follows
            state, kept = full(*arguments)
            if self.observe is not None:
                self.observe(number, kept)
            return state

        return advance

    def _compile(self, guided: bool, arguments: tuple) -> tuple[Any, Any]:
        """The program of an evaluation that computes everything, and of one that reuses, None where none does."""
        if self._network is None:
            return self._step.lower(guided, *arguments).compile(), None
        lowered = self._keep.lower(guided, *arguments)
        full = lowered.compile()
        if not self.plan.reuse.any():
            return full, None
        kept = jax.tree.map(
            lambda info, place: jax.ShapeDtypeStruct(info.shape, info.dtype, sharding=place),
            lowered.out_info[1],
            full.output_shardings[1],
        )
        return full, self._reuse.lower(guided, *arguments, kept).compile()

    def _start(self, keys: jax.Array) -> State:
        shape = self.experiment.shape
        return self.method.start(jax.vmap(lambda key: jax.random.normal(key, shape))(keys))

    def _one_step(self, guided: bool, params: Any, *arguments: Any) -> State:
        network = functools.partial(self.experiment.network, self._joined(params))
        return self._evaluate(guided, network, arguments)

    def _keeping_step(self, guided: bool, params: Any, *arguments: Any) -> tuple[State, Kept]:
        assert self._network is not None
        network, kept = self._network, None
        params = self._joined(params)

        # An evaluation calls it once.
        def keeping(x: jax.Array, t: jax.Array, condition: Any, keys: jax.Array) -> jax.Array:
            nonlocal kept
            output, kept = network(params, x, t, condition, keys, None)
            return output

        return self._evaluate(guided, keeping, arguments), kept

    def _reusing_step(self, guided: bool, params: Any, *arguments: Any) -> State:
        assert self._network is not None
        network, kept = self._network, arguments[-1]
        params = self._joined(params)

        def reusing(x: jax.Array, t: jax.Array, condition: Any, keys: jax.Array) -> jax.Array:
            return network(params, x, t, condition, keys, kept)[0]

        return self._evaluate(guided, reusing, arguments[:-1])

    def _joined(self, params: Any) -> Any:
        """What the network takes, of what the programs take."""
        return params if self._split is None else joined_repeats(params)

    def _evaluate(self, guided: bool, network: Callable, arguments: tuple[Any, ...]) -> State:
        """One row of the sampler; `network` is called with x, t, condition and keys."""
        keys, given, scale, state, number, row = arguments
        self.traces[guided] += 1
        fold_and_split = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, number)))
        # (N,) each: a sample's noise comes from its own key
        noise_keys, network_keys = fold_and_split(keys).T

        def denoise(x: jax.Array, t: jax.Array, given: Any) -> jax.Array:
            return network(x, t, *given)

        condition, nulls = given
        denoiser = classifier_free(
            denoise,
            (condition, network_keys),
            (nulls, network_keys),
            scale if guided else 1.0,
            tuple(self.sampling.guidance_interval),
            self.sampling.guidance_channels,
        )
        return self.method.step(noise_keys, denoiser, state, row)


def _watch(since: jax.Array, x: jax.Array, number: jax.Array) -> jax.Array:
    """The evaluation (B,) int32 since which a sample is not finite, -1 for one that is."""
    finite = jnp.isfinite(x).all(axis=tuple(range(1, x.ndim)))
    return jnp.where(finite, -1, jnp.where(since < 0, number, since))
