"""Samples from a trained network, the same for a seed and a label whatever they are made together with.

Shapes: N samples, K captions, L text tokens, E text features, C channels, F frames, H height, W width.
"""

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jax.sharding import Mesh

from ptdit_jax.diffusion.guidance import classifier_free
from ptdit_jax.diffusion.samplers import State, make_sampler
from ptdit_jax.experiment.build import Experiment
from ptdit_jax.parallel.axes import RULES
from ptdit_jax.parallel.rules import batch_sharding, replicated


def labels_in_turn(count: int, classes: int, only: int | None = None) -> np.ndarray:
    """The labels (count,) int32 of a picture: 0, 1, ... classes - 1, 0, 1, ..., or `only` one of them.

    Raises:
      ValueError: if `only` is no class.
    """
    if only is None:
        return np.arange(count, dtype=np.int32) % classes
    if not 0 <= only < classes:
        raise ValueError(f"--label={only} must be in [0, {classes}), the classes of the model")
    return np.full(count, only, np.int32)


def sample_keys(seed: int, labels: np.ndarray, prng: str) -> jax.Array:
    """A key of `prng` for each sample (N,): a function of the seed, its label and its turn among that label."""
    seen: dict[int, int] = {}
    turns = np.zeros(len(labels), np.uint32)
    for i, label in enumerate(labels.tolist()):
        turns[i] = seen.get(label, 0)
        seen[label] = turns[i] + 1
    root = jax.random.key(seed, impl=prng)
    fold = lambda label, turn: jax.random.fold_in(jax.random.fold_in(root, label), turn)  # noqa: E731
    return jax.vmap(fold)(labels.astype(np.uint32), turns)


def generate(
    experiment: Experiment,
    params: Any,
    labels: np.ndarray,
    *,
    text: tuple[np.ndarray, np.ndarray] | None = None,
    sampling: Any,
    seed: int,
    mesh: Mesh,
    description: str | None = "sample",
) -> np.ndarray:
    """Make one sample for each label.

    Args:
      experiment: the network and its objective.
      params: the network's parameters.
      labels: (N,) int32, the class of each sample or, with `text`, the number of its caption; without either they
        only number the noise.
      text: states (K, L, E) and mask (K, L) of the captions, for a text-conditional network.
      sampling: the `sampling` section of a config: sampler, steps, guidance, guidance_interval, batch.
      seed: of the noise; equal seeds and labels give equal samples (up to rounding, with another batch).
      mesh: devices, which share each batch.
      description: of the progress bar; None for no bar.

    Returns:
      (N, C, F, H, W) float32.

    Raises:
      ValueError: for a sampler or a guidance that the network does not allow.
    """
    objective = experiment.objective
    unconditional = experiment.classes is None and experiment.text is None
    if sampling.guidance != 1 and unconditional:
        raise ValueError(f"guidance {sampling.guidance} must be 1: the model is unconditional")
    if (text is None) != (experiment.text is None):
        raise ValueError(
            f"a model with text={experiment.text} (L, E) {'needs' if text is None else 'has no'} captions"
        )
    method = make_sampler(objective, sampling.sampler, steps=sampling.steps)
    share = math.prod(mesh.shape.get(axis, 1) for axis in RULES["batch"])
    batch = math.ceil(min(sampling.batch, len(labels)) / share) * share
    place = batch_sharding(mesh)

    def denoiser(params: Any, condition: Any, keys: jax.Array) -> Callable:
        def denoise(x: jax.Array, t: jax.Array, given: Any) -> jax.Array:
            return experiment.network(params, x, t, *given)

        if unconditional:
            return lambda x, t: denoise(x, t, (None, keys))
        nulls = jax.tree.map(
            lambda given, null: jnp.broadcast_to(null, given.shape), condition, experiment.null
        )
        interval = tuple(sampling.guidance_interval)
        return classifier_free(denoise, (condition, keys), (nulls, keys), sampling.guidance, interval)

    def start(keys: jax.Array) -> State:
        return method.start(jax.vmap(lambda key: jax.random.normal(key, experiment.shape))(keys))

    def step(
        params: Any, keys: jax.Array, condition: Any, state: State, number: jax.Array, row: Any
    ) -> State:
        fold_and_split = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, number)))
        noise_keys, network_keys = fold_and_split(
            keys
        ).T  # (N,) each: a sample's noise comes from its own key
        return method.step(noise_keys, denoiser(params, condition, network_keys), state, row)

    start = jax.jit(start, out_shardings=place)
    step = jax.jit(step, out_shardings=place, donate_argnums=3)
    gather = jax.jit(lambda x: x, out_shardings=replicated(mesh))

    silent = description is None or jax.process_index() != 0
    rows = [{name: np.float32(value) for name, value in row.items()} for row in method.rows()]
    all_keys = np.asarray(jax.random.key_data(sample_keys(seed, labels, experiment.prng)))
    wrap = functools.partial(jax.random.wrap_key_data, impl=experiment.prng)
    place_keys = jax.jit(wrap, out_shardings=place)
    starts = range(0, len(labels), batch)

    def inputs(first: int) -> tuple[jax.Array, Any]:
        """Keys and condition of a batch; the last one repeats the last sample."""
        chosen = np.arange(first, first + batch).clip(max=len(labels) - 1)
        condition = None if unconditional else labels[chosen]
        if text is not None:
            condition = tuple(array[labels[chosen]] for array in text)
        return place_keys(all_keys[chosen]), jax.device_put(condition, place)

    if not silent:
        print("compiling the sampler ...", end=" ", flush=True)
    before = time.perf_counter()
    keys, condition = inputs(0)
    step = step.lower(params, keys, condition, start(keys), np.uint32(0), rows[0]).compile()
    if not silent:
        print(f"{time.perf_counter() - before:.1f} s", flush=True)

    samples = []
    total = len(starts) * len(rows)
    with tqdm.tqdm(total=total, desc=description, unit="eval", dynamic_ncols=True, disable=silent) as bar:
        for first in starts:
            keys, condition = inputs(first)
            state = start(keys)
            for number, row in enumerate(rows):
                state = step(params, keys, condition, state, np.uint32(number), row)
                jax.block_until_ready(state)  # so that the bar tells the truth
                bar.update(1)
            samples.append(np.asarray(gather(state.x))[: len(labels) - first])
    return np.concatenate(samples)
