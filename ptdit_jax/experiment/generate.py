"""Samples from a trained network, the same for a seed and a label whatever they are made together with.

Shapes: N samples, B of them made together, K captions, L text tokens, E text features, C channels, F frames, H height,
W width.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ptdit_jax import cli
from ptdit_jax.diffusion.samplers import State
from ptdit_jax.experiment.build import Experiment
from ptdit_jax.experiment.caching import Calibration
from ptdit_jax.experiment.sampling_steps import Observe, Steps
from ptdit_jax.progress import Bar
from ptdit_jax.training.denoising import null_condition

Text = tuple[np.ndarray, np.ndarray]
"""States (K, L, E) float32 and mask (K, L) bool of captions."""


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


def turns_of(labels: np.ndarray) -> np.ndarray:
    """How many samples of the same label come before each (N,) uint32."""
    seen: dict[int, int] = {}
    turns = np.zeros(len(labels), np.uint32)
    for i, label in enumerate(labels.tolist()):
        turns[i] = seen.get(label, 0)
        seen[label] = turns[i] + 1
    return turns


def sample_keys(
    seed: int | np.ndarray, labels: np.ndarray, prng: str, turns: np.ndarray | None = None
) -> jax.Array:
    """A key of `prng` for each sample (N,): a function of the seed, its label and its turn among that label.

    Args:
      seed: of all samples, or (N,) uint32.
      labels: (N,).
      prng: the implementation of keys.
      turns: (N,); None: `turns_of` the labels.
    """
    turns = turns_of(labels) if turns is None else turns

    def fold(root: Any, label: Any, turn: Any) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(root, label), turn)

    if isinstance(seed, np.ndarray):
        root, axis = jax.vmap(lambda each: jax.random.key(each, impl=prng))(seed.astype(np.uint32)), 0
    else:
        root, axis = jax.random.key(seed, impl=prng), None
    return jax.vmap(fold, (axis, 0, 0))(root, labels.astype(np.uint32), turns.astype(np.uint32))


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is to be sampled.

    Attributes:
      labels: (N,) int32, the class of each sample or, with text, the number of its caption; without either they
        only number the noise.
      text: of the captions, for a text-conditional network.
      negative: of the captions that take the place of the empty one in guidance, one for each of `text`; None: the
        empty caption for all.
      captions: (N,) which of `text` each sample has; None: that of its label.
      turns: (N,) which sample of its label each is; None: counted here.
      seeds: (N,) of the noise of each, in place of one for all.
    """

    labels: np.ndarray
    text: Text | None = None
    negative: Text | None = None
    captions: np.ndarray | None = None
    turns: np.ndarray | None = None
    seeds: np.ndarray | None = None

    def given(self, chosen: np.ndarray, experiment: Experiment) -> tuple[Any, Any]:
        """Condition and null condition of the chosen samples; None for a network without."""
        if experiment.classes is None and experiment.text is None:
            return None, None
        condition: Any = self.labels[chosen]
        if self.text is not None:
            rows = (self.labels if self.captions is None else self.captions)[chosen]
            condition = tuple(array[rows] for array in self.text)
            if self.negative is not None:
                return condition, tuple(array[rows] for array in self.negative)
        return condition, jax.tree.map(np.asarray, null_condition(condition, experiment.null))


def batches(
    steps: Steps, params: Any, wanted: Wanted, *, seed: int, description: str | None = "sample"
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Make one sample for each label, as many at a time as `steps` makes together.

    Args:
      steps: the programs; what is compiled once serves every later call.
      params: the network's parameters.
      wanted: see there.
      seed: of the noise; equal seeds, labels and turns give equal samples (up to rounding, with another batch).
      description: of the progress bar; None for no bar.

    Yields:
      Numbers (n,) of samples, in order, and the samples (n, C, F, H, W) float32.

    Raises:
      ValueError: for a guidance that the network does not allow.
      NotFinite: a sample is not finite; the batch that it is in is the last.
    """
    labels, batch = wanted.labels, steps.batch
    silent = description is None or jax.process_index() != 0
    inputs = _inputs(steps, wanted, seed)
    starts = range(0, len(labels), batch)
    for first in starts[:1]:  # before the clock of the bar runs
        steps.step(params, *inputs(first)[1:], steps.sampling.guidance, silent=silent)
    with Bar(len(starts) * len(steps.rows), description or "", "eval", silent=silent) as bar:
        for first in starts:
            samples = np.empty((0, *steps.experiment.shape), np.float32)
            chosen, *given = inputs(first)
            for state in _evaluated(steps, params, labels[first : first + batch], given):
                bar.update()
                samples = state.x
            samples = np.asarray(steps.gather(samples))[: len(labels) - first]
            yield chosen[: len(samples)], samples


def unfolding(steps: Steps, params: Any, wanted: Wanted, *, seed: int) -> Iterator[tuple[int, np.ndarray]]:
    """One batch of samples and what they look like after every evaluation of the network.

    Args:
      steps: see `batches`, here and below.
      params: the network's parameters.
      wanted: no more samples than `steps` makes together.
      seed: of the noise.

    Yields:
      How many evaluations are done, and what is there then (N, C, F, H, W) float32; last, the samples of `batches`.

    Raises:
      ValueError: as `batches`, or there are too many samples.
      NotFinite: a sample is not finite.
    """
    count = len(wanted.labels)
    if count > steps.batch:
        raise ValueError(f"{count} samples are more than the {steps.batch} that are made together")
    _, *given = _inputs(steps, wanted, seed)(0)
    for number, state in enumerate(_evaluated(steps, params, wanted.labels, given), 1):
        yield number, np.asarray(steps.gather(state.x))[:count]


def _inputs(steps: Steps, wanted: Wanted, seed: int) -> Callable[[int], tuple[np.ndarray, jax.Array, Any]]:
    """What gives numbers, keys and conditions of the batch that begins with a number; the last sample fills it up.

    Raises:
      ValueError: for a guidance or conditions that the network does not allow.
    """
    experiment, labels, scale = steps.experiment, wanted.labels, steps.sampling.guidance
    if scale != 1 and steps.is_unconditional:
        raise ValueError(f"guidance {scale} must be 1: the model is unconditional")
    if (wanted.text is None) != (experiment.text is None):
        raise ValueError(
            f"a model with text={experiment.text} (L, E) {'needs' if wanted.text is None else 'has no'} captions"
        )
    own = seed if wanted.seeds is None else wanted.seeds
    keys = sample_keys(own, labels, experiment.prng, wanted.turns)
    all_keys = np.asarray(jax.random.key_data(keys))

    def inputs(first: int) -> tuple[np.ndarray, jax.Array, Any]:
        chosen = np.arange(first, first + steps.batch).clip(max=len(labels) - 1)
        given = jax.device_put(wanted.given(chosen, experiment), steps.place)
        return chosen, steps.place_keys(all_keys[chosen]), given

    return inputs


def _evaluated(steps: Steps, params: Any, labels: np.ndarray, inputs: Sequence[Any]) -> Iterator[State]:
    """The state of a batch after every evaluation, of which the last is finite.

    Args:
      steps: see `batches`.
      params: the network's parameters.
      labels: of the batch's own samples, those that fill it up left out.
      inputs: keys and conditions.

    Raises:
      NotFinite: it is not.
    """
    keys, given = inputs
    step, state = steps.step(params, keys, given, steps.sampling.guidance), steps.start(keys)
    since = jax.device_put(np.full(steps.batch, -1, np.int32), steps.place)
    for number, row in enumerate(steps.rows):
        state = step(state, number, row)
        since = steps.watch(since, state.x, np.int32(number))
        jax.block_until_ready(state)  # so that a bar tells the truth
        yield state
    since = np.asarray(steps.gather(since))[: len(labels)]
    if (since >= 0).any():
        message = _not_finite(since, labels, steps.rows, params, steps.sampling)
        raise NotFinite(message, np.empty((0, *steps.experiment.shape), np.float32))


def generate(
    experiment: Experiment,
    params: Any,
    labels: np.ndarray,
    *,
    text: Text | None = None,
    sampling: Any,
    seed: int,
    mesh: Mesh,
    description: str | None = "sample",
    calibration: Calibration | None = None,
    observe: Observe | None = None,
) -> np.ndarray:
    """All samples of `batches` at once.

    Args:
      experiment: the network and its objective.
      params: the network's parameters.
      labels: see `Wanted`.
      text: see `Wanted`.
      sampling: the `sampling` section of a config.
      seed: see `batches`.
      mesh: devices, which share each batch.
      description: see `batches`.
      calibration: see `Steps`.
      observe: see `Steps`.

    Returns:
      (N, C, F, H, W) float32.

    Raises:
      ValueError: for a sampler or a guidance that the network does not allow.
      NotFinite: a sample is not finite; it holds the batches before that of the sample.
    """
    steps = Steps(experiment, sampling, mesh, count=len(labels), calibration=calibration, observe=observe)
    made = [np.empty((0, *experiment.shape), np.float32)]
    try:
        for _, samples in batches(steps, params, Wanted(labels, text), seed=seed, description=description):
            made.append(samples)
    except NotFinite as error:
        raise NotFinite(str(error), np.concatenate(made)) from error
    return np.concatenate(made)


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
