"""What the samples of a run are of, and what they are judged by: at its end, and while it trains.

Shapes: N samples, K captions, k facts, L text tokens, E text features, C channels, F frames, H height, W width.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from data_pipelines import open_source
from data_pipelines.text import caption_of, pad_all
from ptdit_jax import evaluation, files, plots
from ptdit_jax.experiment import live_text
from ptdit_jax.experiment.build import Experiment
from ptdit_jax.experiment.decoding import Decoder, pixel_shape
from ptdit_jax.experiment.generate import NotFinite, Wanted, batches, labels_in_turn
from ptdit_jax.experiment.sampling_steps import Steps
from ptdit_jax.processes import distributed
from ptdit_jax.processes.decision import DAY

VERDICT = "evaluation.json"
PREFIX = "evaluation_"  # of the figures among a run's metrics


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the samples of a run are of.

    Attributes:
      numbers: (N,) int32, see `generate`.
      text: see there.
      labels: (N,) int32, the class of each, or None where the data have none.
      facts: (N, k) int32, for a judge whose `source` has them, else None.
      captions: (N,) for a judge that wants them, else None.
    """

    numbers: np.ndarray
    text: tuple[np.ndarray, np.ndarray] | None
    labels: np.ndarray | None
    facts: np.ndarray | None = None
    captions: list[str] | None = None


def ask(config: Any, experiment: Experiment, count: int, mesh: Mesh | None = None) -> Asked:
    """All classes in turn, or the texts of the first records, of the data or of the judge's `source`.

    Raises:
      ValueError: the text of one of those records is none, see `data_pipelines.text.pad`.
    """
    if experiment.text is None:
        labels = labels_in_turn(count, experiment.classes or 1)
        return Asked(labels, None, None if experiment.classes is None else labels)
    judged = evaluation.find(config.evaluation)
    given = None if judged is None or judged.source is None else judged.source(config.data)
    source = open_source(config.data) if given is None else given
    records = [source[record] for record in range(min(count, len(source)))]
    length, _ = experiment.text
    name = f"data.name={config.data.name!r}: record"
    if live_text.is_live(config):
        text = live_text.encode(config, [caption_of(record) for record in records], mesh)
    else:
        states = [record["text"] for record in records]
        text = pad_all(states, length, truncate=config.data.truncate_text, name=name)
    numbers = labels_in_turn(count, len(records))
    labels = None if source.classes is None else np.stack([record["label"] for record in records])[numbers]
    facts = None if given is None else np.stack([given.facts(i) for i in range(len(records))])[numbers]
    captions = None
    if judged is not None and judged.wants == "captions":
        texts = [caption_of(record) for record in records]
        captions = [texts[number] for number in numbers]
    return Asked(numbers, text, labels, facts, captions)


def judge(judged: evaluation.Evaluation, config: Any, samples: np.ndarray, asked: Asked) -> evaluation.Report:
    """What the config's judge says of the first samples.

    Args:
      judged: the judge.
      config: the whole config.
      samples: (N, C, F, H, W) float32 in the range of the data, no more than were asked for.
      asked: what they are of.
    """
    if judged.takes == "pictures":
        samples = plots.to_uint8(np.moveaxis(Decoder(config)(samples), 1, -1))
    wanted: Any = asked.labels if asked.facts is None else asked.facts
    if judged.wants == "captions":
        wanted = asked.captions
    with jax.default_matmul_precision("float32"):  # of networks that a judge may use
        return judged.judge(samples, None if wanted is None else wanted[: len(samples)])


def write_verdict(workdir: Path, report: evaluation.Report) -> None:
    """Write a run's `evaluation.json`: the figures, and what they say as `text`."""
    text = json.dumps(report.metrics() | {"text": str(report)}, indent=2) + "\n"
    files.write(workdir / VERDICT, lambda draft: draft.write_text(text))


class Interim:
    """The average of a run that trains, judged every `evaluation.every` steps.

    Attributes:
      columns: names of the figures among the run's metrics.
      best: the step of the best checkpoint so far and its figure, the first of the judge's; None before the first.
    """

    def __init__(
        self, config: Any, workdir: Path, experiment: Experiment, mesh: Mesh, best: tuple[int, float] | None
    ):
        """Ask for the samples and prepare the programs, which serve every time.

        Args:
          config: the whole config, with `evaluation.every` above 0.
          workdir: the run's folder, which gets the verdict on the last step.
          experiment: what the config describes.
          mesh: the run's devices.
          best: of the checkpoint that the run goes on from.

        Raises:
          ValueError: the judge's weights or reference are not what it needs, before anything is trained.
          OSError: they cannot be read.
        """
        self._workdir = workdir
        found = evaluation.find(config.evaluation)
        assert found is not None
        count = config.evaluation.count
        self._config, self._judged = config, found
        if found.takes == "pictures" and jax.process_index() == 0:
            found.prepare(pixel_shape(config, experiment.shape)[1:])
        self._asked = ask(config, experiment, count, mesh)
        self._steps = Steps(experiment, config.sampling, mesh, count=count)
        self._names = list(found.better)
        self.columns = [PREFIX + name for name in self._names]
        self.best = best

    def is_due(self, step: int) -> bool:
        """Whether the average is judged after a step: every so many, and after the last one."""
        return step % self._config.evaluation.every == 0 or step == self._config.train.steps

    def __call__(self, params: Any, step: int) -> tuple[dict[str, np.float32], str]:
        """Draw and judge; all processes come here.

        Args:
          params: the average.
          step: those done.

        Returns:
          The figures by column, NaN for samples that are not finite, the same on all processes; and what was found, a
          line.
        """
        wanted = Wanted(self._asked.numbers, self._asked.text)
        values, text = np.full(len(self._names), np.nan, np.float32), ""
        seed, name = self._config.sampling.seed, f"evaluate step {step}"
        try:
            made = [part for _, part in batches(self._steps, params, wanted, seed=seed, description=name)]
            if jax.process_index() == 0:
                report = judge(self._judged, self._config, np.concatenate(made), self._asked)
                figures, text = report.metrics(), str(report)
                if step == self._config.train.steps:
                    write_verdict(self._workdir, report)
                values = np.array([figures[each] for each in self._names], np.float32)
        except NotFinite as error:
            text = str(error)
        if jax.process_count() > 1:
            distributed.meet("hear how the samples were judged", DAY)
            values = np.asarray(multihost_utils.broadcast_one_to_all(values))
        self._note(step, float(values[0]))
        return dict(zip(self.columns, values, strict=True)), f"step {step}: {text}"

    def _note(self, step: int, value: float) -> None:
        if not math.isfinite(value):
            return
        lower = self._judged.better[self._names[0]] == "lower"
        if self.best is None or (value < self.best[1] if lower else value > self.best[1]):
            self.best = step, value

    @property
    def line(self) -> str | None:
        """What to say at the end of a run: which checkpoint is the best."""
        if self.best is None:
            return None
        step, value = self.best
        return f"best {self._names[0]}: {value:.5g} after step {step}, kept as checkpoints/best"
