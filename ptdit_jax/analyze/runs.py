"""The data and the samples of the run that is analysed.

Shapes: N samples, C channels, F frames, H height, W width, L text tokens, E text features.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from data_pipelines import open_source
from data_pipelines.text import caption_of, pad_all
from ptdit_jax import config as rules
from ptdit_jax.experiment import caching, live_text
from ptdit_jax.experiment.build import Experiment
from ptdit_jax.experiment.generate import generate
from ptdit_jax.experiment.judging import ask
from ptdit_jax.experiment.origin import Origin
from ptdit_jax.parallel import chips


def records(config: Any, count: int, *, seed: int) -> list[dict[str, np.ndarray]]:
    """Records of the data of a config that have its shape, drawn without replacement.

    Args:
      config: the whole config.
      count: how many.
      seed: of the draw.

    Raises:
      ValueError: the data cannot be read, or has fewer.
    """
    source, data = open_source(config.data), config.data
    shape = (config.model.channels, data.frames, data.height, data.width)
    found: list[dict[str, np.ndarray]] = []
    for number in np.random.default_rng(seed).permutation(len(source)):
        if len(found) == count:
            break
        record = dict(source[int(number)])
        if record["x"].shape == shape:
            found.append(record)
    if len(found) < count:
        raise ValueError(
            f"--count={count}: data.name={data.name!r} has {len(found)} records of shape {shape} (C, F, H, W)"
        )
    return found


def conditions(config: Any, given: Sequence[dict[str, np.ndarray]], mesh: Mesh) -> Any:
    """What a network is told of records: labels (N,) int32, text (N, L, E) float32 and mask (N, L) bool, or None.

    Raises:
      ValueError: the records have no label or text, or a text does not fit.
    """
    kind = config.model.condition
    if kind == "none":
        return None
    if kind == "text" and live_text.is_live(config):
        return live_text.encode(config, [caption_of(record) for record in given], mesh)
    field = "label" if kind == "class" else "text"
    if any(field not in record for record in given):
        raise ValueError(
            f"data.name={config.data.name!r} has records without {field}, which model.condition={kind!r} needs"
        )
    if kind == "class":
        return np.array([record["label"] for record in given], np.int32)
    length, name = config.model.text_length, f"data.name={config.data.name!r}: record"
    states = [record["text"] for record in given]
    return pad_all(states, length, truncate=config.data.truncate_text, name=name)


def samples(
    run: Origin, experiment: Experiment, params: Any, count: int, *, seed: int, mesh: Mesh
) -> tuple[np.ndarray, Any]:
    """Samples of all classes in turn, or of captions of the data, as the run makes them.

    Args:
      run: says how in `config.sampling`.
      experiment: of the run's config.
      params: of `Origin.load`.
      count: N.
      seed: of the noise.
      mesh: devices, which share each batch.

    Returns:
      (N, C, F, H, W) float32, and what they are conditioned on, as of `conditions`.

    Raises:
      ValueError: no memory here holds so many, or the sampler does not allow what the config says.
      NotFinite: a sample is not finite.
    """
    config = run.config
    if problems := list(rules.sampling_problems(config, chips.here(), count=count)):
        raise ValueError("\n".join(problems))
    asked, calibration = ask(config, experiment, count, mesh), caching.load(run.home)
    options = {"text": asked.text, "sampling": config.sampling, "calibration": calibration}
    made = generate(experiment, params, asked.numbers, seed=seed, mesh=mesh, **options)
    if asked.text is not None:
        return made, tuple(array[asked.numbers] for array in asked.text)
    return made, asked.labels


def batches(count: int, size: int) -> list[np.ndarray]:
    """Numbers (size,) of each batch of N; the last is filled up with its last one, so that there is one program."""
    return [np.arange(first, first + size).clip(max=count - 1) for first in range(0, count, size)]
