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
from ptdit_jax.parallel.axes import RULES
from ptdit_jax.parallel.rules import batch_sharding, replicated


class Steps:
    """The compiled programs of sampling at one size, for any prompts, labels, seeds and scales of guidance.

    One program of the guided step serves all of them; without guidance (scale 1) the network sees half as much, which
    is another.

    Attributes:
      experiment: the network and its objective.
      sampling: the `sampling` section of a config; its `guidance` and `seed` are not in the programs.
      mesh: devices, which share each batch.
      batch: B.
      traces: how often a step was traced, by whether it was guided; once each, however many samples are made.
    """

    def __init__(self, experiment: Experiment, sampling: Any, mesh: Mesh, *, count: int | None = None):
        """Describe them; nothing is compiled yet.

        Args:
          experiment: see above.
          sampling: see above.
          mesh: see above.
          count: samples that there will be at most, if that is known; B is no larger.

        Raises:
          ValueError: for a sampler that the network does not allow.
        """
        self.experiment, self.sampling, self.mesh = experiment, sampling, mesh
        self.method = rules.make_sampling(experiment.objective, sampling)
        self.rows = [{name: np.float32(value) for name, value in row.items()} for row in self.method.rows()]
        share = math.prod(mesh.shape.get(axis, 1) for axis in RULES["batch"])
        together = sampling.batch if count is None else min(sampling.batch, count)
        self.batch = math.ceil(together / share) * share
        self.place = batch_sharding(mesh)
        self.traces = {True: 0, False: 0}
        self._compiled: dict[bool, Any] = {}
        self._step = jax.jit(self._one_step, out_shardings=self.place, donate_argnums=5, static_argnums=0)
        self.start = jax.jit(self._start, out_shardings=self.place)
        # A program of its own leaves the bits of the samples as they are.
        self.watch = jax.jit(_watch, out_shardings=self.place)
        self.gather = jax.jit(lambda x: x, out_shardings=replicated(mesh))
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
        guided, amount = scale != 1, np.float32(scale)
        if guided not in self._compiled:
            if not silent:
                print("compiling the sampler ...", end=" ", flush=True)
            before = time.perf_counter()
            arguments = (params, keys, given, amount, self.start(keys), np.uint32(0), self.rows[0])
            self._compiled[guided] = self._step.lower(guided, *arguments).compile()
            if not silent:
                print(f"{time.perf_counter() - before:.1f} s", flush=True)
        compiled = self._compiled[guided]
        return lambda state, number, row: compiled(params, keys, given, amount, state, np.uint32(number), row)

    def _start(self, keys: jax.Array) -> State:
        shape = self.experiment.shape
        return self.method.start(jax.vmap(lambda key: jax.random.normal(key, shape))(keys))

    def _one_step(
        self,
        guided: bool,
        params: Any,
        keys: jax.Array,
        given: Any,
        scale: jax.Array,
        state: State,
        number: jax.Array,
        row: Any,
    ) -> State:
        self.traces[guided] += 1
        fold_and_split = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, number)))
        # (N,) each: a sample's noise comes from its own key
        noise_keys, network_keys = fold_and_split(keys).T

        def denoise(x: jax.Array, t: jax.Array, given: Any) -> jax.Array:
            return self.experiment.network(params, x, t, *given)

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
