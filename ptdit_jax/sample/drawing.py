"""Groups of samples: text encoded a chunk at a time, the network, the autoencoder, files as soon as they are made.

Shapes: B samples of a group, L text tokens, E text features, C channels, F frames, H rows, W columns.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import ml_dtypes
import numpy as np

from data_pipelines import captions
from ptdit_jax.encoders.text import TextEncoder, open_text_encoder
from ptdit_jax.experiment import live_text
from ptdit_jax.experiment.decoding import Decoder
from ptdit_jax.experiment.generate import Wanted, batches
from ptdit_jax.experiment.null_text import NullText
from ptdit_jax.experiment.sampling_steps import Steps
from ptdit_jax.plots import to_uint8
from ptdit_jax.processes import distributed, signals, watchdog
from ptdit_jax.progress import Bar
from ptdit_jax.sample import conditions, one_file, settings
from ptdit_jax.sample.folder import Folder, Plan, Unit
from ptdit_jax.sample.prompts import Prompt

CHUNK = 512  # prompts at least whose states are in memory at once
DAYS = (
    30 * 24 * 3600.0
)  # seconds: processes end at different times, and one that is lost is noticed all the same
States = Mapping[str, np.ndarray]
"""Text -> its states (l, E)."""


@dataclasses.dataclass(frozen=True)
class Studio:
    """All that the samples of one process are made with.

    Attributes:
      seed: of samples whose prompt has none of its own.
      speed: frames a second of films.
      config: the whole config.
      shared: what all files say of how their samples were made.
      plan: of all samples.
      prompts: of a model with text.
      null: the empty caption of that.
      steps: the compiled programs.
      params: the network's parameters.
      decoder: latents to pixels.
    """

    seed: int
    speed: float
    config: Any
    shared: dict[str, Any]
    plan: Plan
    prompts: Sequence[Prompt]
    null: NullText | None
    steps: Steps
    params: Any = dataclasses.field(repr=False)
    decoder: Decoder

    def chunks(self, groups: Sequence[int]) -> Iterator[Sequence[int]]:
        """Groups, so many together that they have about `CHUNK` prompts."""
        each = max(1, self.plan.batch // self.plan.count) if self.prompts else CHUNK
        together = max(1, CHUNK // each)
        for first in range(0, len(groups), together):
            yield groups[first : first + together]

    def encode(self, groups: Sequence[int]) -> dict[int, States]:
        """The states of the prompts of some groups; the encoder is read for that and freed after it.

        Each group is encoded by itself, so that its states do not depend on what else is to be made.
        """
        if not self.prompts:
            return {group: {} for group in groups}
        encoder, section, mesh = None, self.config.text_encoder, self.steps.mesh
        if section.path:
            options = {"length": self.config.model.text_length, "progress": live_text.watched}
            encoder = open_text_encoder(section, mesh=mesh if mesh.size > 1 else None, **options)
        states = {group: encode(self.config, encoder, self._texts(group)) for group in groups}
        if encoder is not None:
            encoder.free()
        return states

    def _texts(self, group: int) -> list[str]:
        """The different texts of a group, in order."""
        return conditions.texts_of([self.prompts[unit.label] for unit in self.plan.group(group)])

    def draw(self, group: int, states: States) -> list[tuple[Unit, np.ndarray]]:
        """All samples of a group, (F, H, W, C) uint8 each.

        Args:
          group: its number.
          states: of its prompts, see `encode`.

        Raises:
          NotFinite: a sample is not finite.
        """
        units, seed = self.plan.group(group), self.seed
        turns = np.array([unit.turn for unit in units], np.uint32)
        if not self.prompts:
            wanted = Wanted(np.array([unit.label for unit in units], np.int32), turns=turns)
        else:
            asked = [self.prompts[unit.label] for unit in units]
            text, negative = conditions.assemble(self.config, asked, self.null, states)
            wanted = Wanted(
                np.array([prompt.number for prompt in asked], np.uint32).view(np.int32),
                text=text,
                negative=negative,
                captions=np.arange(len(asked)),
                turns=turns,
                seeds=np.array([seed if p.seed is None else p.seed for p in asked], np.uint32),
            )
        made = [part for _, part in batches(self.steps, self.params, wanted, seed=seed, description=None)]
        pictures = self.decoder(np.concatenate(made))
        return list(zip(units, to_uint8(np.moveaxis(pictures, 1, -1)), strict=True))

    def settings(self, unit: Unit) -> dict[str, Any]:
        """What a file says of how its sample was made."""
        found = self.shared | {"sample": unit.turn}
        if self.prompts:
            return found | settings.of_prompt(self.prompts[unit.label])
        return found | ({"label": unit.label} if self.plan.classes > 1 else {})


def encode(config: Any, encoder: TextEncoder | None, texts: list[str]) -> States:
    """The states (l, E) float32 of some texts, as the model was trained with them.

    Args:
      config: the whole config.
      encoder: of the config; None for that of the embedded captions.
      texts: different ones.

    Raises:
      ValueError: the encoder has other features than the model takes.
    """
    if encoder is None:
        return {text: captions.encode(text) for text in texts}
    if encoder.dim != config.model.text_dim:
        raise ValueError(
            f"text_encoder.path={config.text_encoder.path} has {encoder.dim} features; the model takes "
            f"{config.model.text_dim}"
        )
    dtype = np.float32 if live_text.is_live(config) else ml_dtypes.bfloat16
    states = [part.astype(np.float32) for part in encoder.states(texts, dtype=dtype)]
    return dict(zip(texts, states, strict=True))


def run(studio: Studio, groups: Sequence[int], place: Folder, launch: distributed.Launch) -> int:
    """Make the samples that lack of this process's groups; returns the signal that stopped any process, 0 for none.

    Args:
      studio: what they are made with.
      groups: of this process.
      place: where they go.
      launch: its step_timeout is what a group may take.
    """
    plan, processes, made = studio.plan, jax.process_count(), place.made()
    lacking = sum(plan.name(unit) not in made for group in groups for unit in plan.group(group))
    name = "samples" if processes == 1 else f"samples (process 0 of {processes})"
    bar = Bar(lacking, name, "picture", silent=jax.process_index() != 0)
    where = place.path / f"hang-p{jax.process_index()}.txt"
    dog = watchdog.Watchdog(launch.step_timeout, where, first=launch.start_timeout)
    done = 0
    with signals.StopRequest() as stop, bar, dog:
        for chunk in studio.chunks(groups):
            if stop.signal is not None or place.stopping():
                break
            states = studio.encode(chunk)
            for group in chunk:
                if stop.signal is not None or place.stopping():
                    break
                for unit, film in studio.draw(group, states[group]):
                    path = place.path / plan.name(unit)
                    if path.name not in made:
                        one_file.write(path, film, studio.settings(unit), fps=studio.speed)
                        bar.update()
                dog.beat(done := done + 1)
        signal = 0 if stop.signal is None else int(stop.signal)
        if signal:
            place.ask_to_stop()
    if processes > 1:
        if jax.process_index() == 0 and not signal:
            print("process 0 has done its part; waiting for the others", flush=True)
        distributed.meet("see that all is done", DAYS)
    return signals.Agreement().now(signal)
