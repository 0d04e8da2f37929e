"""The run that is analysed: its config, its parameters, its data and its samples.

Shapes: N samples, C channels, F frames, H height, W width, L text tokens, E text features.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from data_pipelines import open_source
from data_pipelines.text import caption_of, pad_all
from ptdit_jax import config as rules
from ptdit_jax.experiment import caching, live_text, null_text
from ptdit_jax.experiment.build import Experiment, build
from ptdit_jax.experiment.generate import generate
from ptdit_jax.experiment.pretrained import load_params
from ptdit_jax.experiment.results import ask
from ptdit_jax.parallel import chips
from ptdit_jax.training import checkpoint
from ptdit_jax.training.state import ema_name


@dataclasses.dataclass(frozen=True)
class Run:
    """A checkpoint, before its parameters are read.

    Attributes:
      name: of its folder, for tables.
      config: the whole config.
      step: the folder of the step.
      parameters: which: "params", or an average's name.
    """

    name: str
    config: Any
    step: Path
    parameters: str

    @property
    def home(self) -> Path:
        """The run's folder, or that of a copied step."""
        return null_text.folder_of(self.step)

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.parameters} of {self.step}"

    def build(self, mesh: Mesh, null: null_text.NullText | None = None) -> Experiment:
        """What the config describes, over a mesh; `null` is the empty caption that guidance needs."""
        return build(self.config, mesh=mesh, null_text=null)

    def load(self, experiment: Experiment, mesh: Mesh) -> Any:
        """The parameters, whole on every device of the mesh.

        Raises:
          OSError: they cannot be read, or the checkpoint has no such average.
        """
        return load_params(self.step, self.parameters, experiment, mesh)


def find(path: Path, *, ema: float | None = None) -> Run:
    """A run's newest checkpoint, or a step.

    Args:
      path: see `checkpoint.find`.
      ema: decay of the average that is analysed, 0 = the raw parameters; None: what the run samples.

    Raises:
      ValueError: there is none.
    """
    step = checkpoint.find(path)
    config = rules.from_json(json.dumps(checkpoint.load_config(step)))
    name = ema_name(config.sampling.ema if ema is None else ema)
    return Run(path.absolute().name, config, step, name)


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
    run: Run, experiment: Experiment, params: Any, count: int, *, seed: int, mesh: Mesh
) -> tuple[np.ndarray, Any]:
    """Samples of all classes in turn, or of captions of the data, as the run makes them.

    Args:
      run: says how in `config.sampling`.
      experiment: of `Run.build`.
      params: of `Run.load`.
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


def empty_caption(run: Run) -> null_text.NullText | None:
    """What the run's guidance leads away from; None for a network without text, or without guidance.

    Raises:
      ValueError: the run keeps none, and has no text encoder.
    """
    config = run.config
    if config.model.condition != "text" or config.sampling.guidance == 1:
        return None
    kept = null_text.of_run(config, run.home)
    if kept is None and not config.text_encoder.path:
        raise ValueError(
            f"--checkpoint={run.step}: guidance {config.sampling.guidance:g} needs the empty caption, which "
            f"{run.home} does not keep"
        )
    return null_text.padded(config, live_text.null(config)) if kept is None else kept


def batches(count: int, size: int) -> list[np.ndarray]:
    """Numbers (size,) of each batch of N; the last is filled up with its last one, so that there is one program."""
    return [np.arange(first, first + size).clip(max=count - 1) for first in range(0, count, size)]
