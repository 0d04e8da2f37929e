"""Samples from a trained network, the same for a seed and a label whatever they are made together with.

Shapes: N samples, K captions, L text tokens, E text features, C channels, F frames, H height, W width.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ptdit_jax import cli
from ptdit_jax import config as rules
from ptdit_jax.diffusion.guidance import classifier_free
from ptdit_jax.diffusion.samplers import State
from ptdit_jax.experiment.build import Experiment
from ptdit_jax.parallel.axes import RULES
from ptdit_jax.parallel.rules import batch_sharding, replicated
from ptdit_jax.progress import Bar
from ptdit_jax.training.denoising import null_condition


class NotFinite(cli.RunError):
    """Samples that are not finite.

    Attributes:
      samples: (n, C, F, H, W) float32, the first n of those asked for: the batches before, which are.
    """

    def __init__(self, message: str, samples: np.ndarray):
        super().__init__(message)
        self.samples = samples


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


def sample_keys(seed: int, labels: np.ndarray) -> jax.Array:
    """A random key for each sample (N,): a function of the seed, its label and its turn among that label."""
    seen: dict[int, int] = {}
    turns = np.zeros(len(labels), np.uint32)
    for i, label in enumerate(labels.tolist()):
        turns[i] = seen.get(label, 0)
        seen[label] = turns[i] + 1
    root = jax.random.key(seed)
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
      sampling: the `sampling` section of a config.
      seed: of the noise; equal seeds and labels give equal samples (up to rounding, with another batch).
      mesh: devices, which share each batch.
      description: of the progress bar; None for no bar.

    Returns:
      (N, C, F, H, W) float32.

    Raises:
      ValueError: for a sampler or a guidance that the network does not allow.
      NotFinite: a sample is not finite; the batch that it is in is the last.
    """
    objective = experiment.objective
    unconditional = experiment.classes is None and experiment.text is None
    if sampling.guidance != 1 and unconditional:
        raise ValueError(f"guidance {sampling.guidance} must be 1: the model is unconditional")
    if (text is None) != (experiment.text is None):
        raise ValueError(
            f"a model with text={experiment.text} (L, E) {'needs' if text is None else 'has no'} captions"
        )
    method = rules.make_sampling(objective, sampling)
    share = math.prod(mesh.shape.get(axis, 1) for axis in RULES["batch"])
    batch = math.ceil(min(sampling.batch, len(labels)) / share) * share
    place = batch_sharding(mesh)

    def denoiser(params: Any, condition: Any, keys: jax.Array) -> Callable:
        def denoise(x: jax.Array, t: jax.Array, given: Any) -> jax.Array:
            return experiment.network(params, x, t, *given)

        if unconditional:
            return lambda x, t: denoise(x, t, (None, keys))
        nulls = null_condition(condition, experiment.null)
        interval, channels = tuple(sampling.guidance_interval), sampling.guidance_channels
        return classifier_free(
            denoise, (condition, keys), (nulls, keys), sampling.guidance, interval, channels
        )

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

    def watch(since: jax.Array, x: jax.Array, number: jax.Array) -> jax.Array:
        """The evaluation (B,) int32 since which a sample is not finite, -1 for one that is."""
        finite = jnp.isfinite(x).all(axis=tuple(range(1, x.ndim)))
        return jnp.where(finite, -1, jnp.where(since < 0, number, since))

    start = jax.jit(start, out_shardings=place)
    step = jax.jit(step, out_shardings=place, donate_argnums=3)
    watch = jax.jit(
        watch, out_shardings=place
    )  # a program of its own leaves the bits of the samples as they are
    gather = jax.jit(lambda x: x, out_shardings=replicated(mesh))

    silent = description is None or jax.process_index() != 0
    rows = [{name: np.float32(value) for name, value in row.items()} for row in method.rows()]
    all_keys = np.asarray(jax.random.key_data(sample_keys(seed, labels)))
    place_keys = jax.jit(jax.random.wrap_key_data, out_shardings=place)
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
    with Bar(total, description or "", "eval", silent=silent) as bar:
        for first in starts:
            keys, condition = inputs(first)
            state = start(keys)
            since = jax.device_put(np.full(batch, -1, np.int32), place)
            for number, row in enumerate(rows):
                state = step(params, keys, condition, state, np.uint32(number), row)
                since = watch(since, state.x, np.int32(number))
                jax.block_until_ready(state)  # so that the bar tells the truth
                bar.update()
            since = np.asarray(gather(since))[: len(labels) - first]
            if (since >= 0).any():
                done = np.concatenate([np.empty((0, *experiment.shape), np.float32), *samples])
                raise NotFinite(_not_finite(since, labels[first:], rows, params, sampling), done)
            samples.append(np.asarray(gather(state.x))[: len(labels) - first])
    return np.concatenate(samples)


def _not_finite(since: np.ndarray, labels: np.ndarray, rows: list[dict], params: Any, sampling: Any) -> str:
    """A line about a batch with samples that are not finite since some evaluation of the network."""
    bad = since >= 0
    number = since[bad].min()
    label = labels[: len(since)][since == number][0]
    finite = jax.jit(
        lambda tree: jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()
    )
    why = (
        "; the guidance may be too large" * (sampling.guidance != 1)
        if finite(params)
        else "; nor are the parameters"
    )
    return (
        f"{bad.sum()} of {len(since)} samples made together are not finite, the first (label {label}) since "
        f"evaluation {number + 1} of {len(rows)}, at t = {rows[number]['t']:.4g} ({sampling.sampler}, "
        f"{sampling.steps} steps, guidance {sampling.guidance:g}){why}"
    )
