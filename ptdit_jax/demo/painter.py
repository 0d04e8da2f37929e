"""A model that draws what visitors ask for, one after the other; everything that it needs stays in memory.

Shapes: N samples, C channels, F frames, H rows, W columns.
"""

import collections
import copy
import dataclasses
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from ptdit_jax import config as rules
from ptdit_jax.demo.bounds import AS_TRAINED, Asked, Bounds, check
from ptdit_jax.encoders.text import open_text_encoder
from ptdit_jax.experiment import caching, decoding, live_text
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.generate import Wanted, labels_in_turn, turns_of, unfolding
from ptdit_jax.experiment.origin import Origin
from ptdit_jax.experiment.sampling_steps import Steps
from ptdit_jax.parallel import chips
from ptdit_jax.sample import conditions, drawing, prompts, settings, sizes

PROGRAMS = 8  # that are kept, each with its compiled steps
PREVIEWS = 12  # of one answer at most, its last picture not counted


class Shown(NamedTuple):
    """What a visitor sees.

    Attributes:
      done: evaluations of the network.
      total: of them.
      pictures: (N, C, F, H, W) float32, about [-1, 1].
      seconds: since the visitor's turn came.
      how: the settings of the pictures, at the end.
    """

    done: int
    total: int
    pictures: np.ndarray
    seconds: float
    how: dict[str, Any] | None


class Painter:
    """Draws; one visitor at a time.

    Attributes:
      config: of the model.
      bounds: of what may be asked for.
    """

    def __init__(
        self, model: Origin, bounds: Bounds, mesh: Mesh, *, frames: int | None = None, views: bool = False
    ):
        """Read the network, its text encoder and its autoencoder.

        Args:
          model: see above.
          bounds: see above.
          mesh: devices, which share the samples.
          frames: of the film, in pixels; None: as in training.
          views: frames are pictures by themselves, and no film.

        Raises:
          ValueError: one of them does not fit, or the samples cannot be shown.
          OSError: a file cannot be read.
        """
        self.config, self.bounds = model.config, bounds
        if not decoding.is_drawn(self.config):
            raise ValueError(
                f"the model makes latents of {self.config.model.channels} channels, and its config has no "
                "autoencoder.path: give the folder of its autoencoder with --vae"
            )
        self._model, self._mesh, self._lock = model, mesh, threading.Lock()
        self._size = {"frames": frames, "views": views}
        sizes.latent_size(self.config, None, **self._size)
        self._null = model.empty_caption()
        self._encoder = None
        if self.config.model.condition == "text" and self.config.text_encoder.path:
            options = {"length": self.config.model.text_length, "progress": live_text.watched}
            self._encoder = open_text_encoder(self.config.text_encoder, **options)
        self._params = model.load(build(self.config, mesh=mesh, null_text=self._null), mesh)
        self._decoder = decoding.Decoder(self.config, mesh, views=views)
        self._programs: collections.OrderedDict[tuple, Steps] = collections.OrderedDict()

    def draw(self, asked: Asked) -> Iterator[Shown]:
        """The pictures as they appear, step by step; the last ones are those of `ptdit_jax.sample`.

        Raises:
          ValueError: the model cannot make that, or may not, see `check`.
          NotFinite: a sample is not finite.
        """
        check(asked, self.config, self.bounds)
        with self._lock:
            began = time.perf_counter()
            steps = self._steps(asked)
            wanted = self._wanted(asked)
            total = len(steps.rows)
            shown = set(np.linspace(0, total, PREVIEWS + 1).round().astype(int)[1:].tolist()) | {total}
            for done, samples in unfolding(steps, self._params, wanted, seed=asked.seed):
                if done in shown:
                    pictures = self._decoder(samples)
                    how = self._settings(asked, steps, pictures) if done == total else None
                    yield Shown(done, total, pictures, time.perf_counter() - began, how)

    def _steps(self, asked: Asked) -> Steps:
        """The programs of a size, a ratio and a number of steps; those that were not used for longest go."""
        key = (asked.size, asked.ratio, asked.steps, asked.count)
        if key not in self._programs:
            self._programs[key] = self._make(asked)
        self._programs.move_to_end(key)
        while len(self._programs) > PROGRAMS:
            self._programs.popitem(last=False)
        steps = self._programs[key]
        steps.sampling.guidance = asked.guidance
        return steps

    def _make(self, asked: Asked) -> Steps:
        config = copy.deepcopy(self.config)
        config.sampling.steps, config.sampling.batch = asked.steps, asked.count
        if asked.ratio != AS_TRAINED:
            config.compression.update(
                {"by_time": (), "proxy": (), "fixed": tuple(map(int, asked.ratio.split(",")))}
            )
        rules.validate(config, check_data=False)
        size = sizes.latent_size(config, asked.size, **self._size)
        latents = {name: value for name, value in size.items() if name != "pixel_frames"}
        if problems := list(rules.sampling_problems(config, chips.here(), count=asked.count, **latents)):
            raise ValueError("\n".join(problems))
        experiment = build(config, mesh=self._mesh, null_text=self._null, **size)
        calibration = caching.load(self._model.home)
        return Steps(experiment, config.sampling, self._mesh, count=asked.count, calibration=calibration)

    def _prompt(self, asked: Asked) -> prompts.Prompt:
        (prompt,) = prompts.given(
            [asked.prompt.strip()], asked.negative.strip() if asked.guidance != 1 else ""
        )
        return prompt

    def _wanted(self, asked: Asked) -> Wanted:
        """The same as for `--prompt` or `--label`, so that the seed gives the same pictures there."""
        if self.config.model.condition != "text":
            labels = labels_in_turn(asked.count, asked.label + 1, asked.label)
            return Wanted(labels, turns=turns_of(labels))
        found = [self._prompt(asked)]
        states = drawing.encode(self.config, self._encoder, conditions.texts_of(found))
        text, negative = conditions.assemble(self.config, found, self._null, states)
        plain = conditions.wanted(found, asked.count, asked.seed)
        return dataclasses.replace(plain, text=text, negative=negative)

    def _settings(self, asked: Asked, steps: Steps, pictures: np.ndarray) -> dict[str, Any]:
        shared = settings.common(self._model, pictures.shape[1:], seed=asked.seed, sampling=steps.sampling)
        if asked.ratio != AS_TRAINED:
            shared["ratio"] = asked.ratio
        if self.config.model.condition == "text":
            return shared | settings.of_prompt(self._prompt(asked))
        return shared | ({"label": asked.label} if self.config.model.condition == "class" else {})
