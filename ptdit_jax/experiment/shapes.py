"""The shapes of a run's batches: one network, and for each shape its layout, objective and compiled step.

Shapes: C channels, F frames, H height, W width.
"""

import math
import time
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from data_pipelines import open_source
from data_pipelines.members import members_of, shapes_of
from data_pipelines.shards.dataset import ShardedDataset
from data_pipelines.shards.index import check_encoders
from ptdit_jax import config as rules
from ptdit_jax.encoders import autoencoder, text
from ptdit_jax.experiment import by_time
from ptdit_jax.experiment.build import Experiment, build
from ptdit_jax.experiment.decoding import factor_of, is_drawn
from ptdit_jax.experiment.live_text import is_live
from ptdit_jax.experiment.null_text import NullText
from ptdit_jax.experiment.program import Program
from ptdit_jax.models import complexity
from ptdit_jax.parallel import chips
from ptdit_jax.training import metrics

Shape = tuple[int, ...]
"""(C, F, H, W) of a sample."""


def build_all(config: Any, *, mesh: Mesh, null_text: NullText | None) -> dict[Shape, Experiment]:
    """What a valid config describes, for every shape of its data; that of `config.data` is the first."""
    own = build(config, mesh=mesh, null_text=null_text)
    experiments = {own.shape: own}
    for _, frames, height, width in shapes_of(open_source(config.data)):
        size = {"frames": frames, "height": height, "width": width}
        # What is as in `config.data` is not named: `data.pixel_frames` belongs to `data.frames`.
        size = {name: value for name, value in size.items() if value != config.data[name]}
        if size:
            other = build(config, mesh=mesh, null_text=null_text, **size)
            experiments[other.shape] = other
    return experiments


def compile_all(
    config: Any, experiments: Mapping[Shape, Experiment], programs: Mapping[by_time.Key, Program]
) -> dict:
    """The compiled step of every shape and ratio; process 0 prints them before."""
    is_host = jax.process_index() == 0
    if is_host and len(experiments) > 1:
        counts = shapes_of(open_source(config.data))
        allowed = f"data.max_shapes={config.data.max_shapes}"
        print(f"{len(experiments)} shapes of batches, each with a compiled step ({allowed}):")
        for shape, each in experiments.items():
            size, tokens = "x".join(map(str, shape[1:])), math.prod(each.layout.grid)
            print(
                f"  {size}: {counts[shape]:,} records of {tokens} tokens, window {each.layout.window}",
                flush=True,
            )
    if is_host:
        for line in by_time.lines(next(iter(experiments.values()))):
            print(line)
        print("compiling the training step ...", end=" ", flush=True)
    before = time.perf_counter()
    compiled = {key: program.lower().compile() for key, program in programs.items()}
    if is_host:
        print(f"{time.perf_counter() - before:.1f} s", flush=True)
    return compiled


def work_of_step(config: Any, experiment: Experiment) -> metrics.Work:
    """What a step on batches of one shape amounts to, for the speeds that are logged."""
    arch = rules.architecture(config)
    length = config.model.text_length if config.model.condition == "text" else 0
    macs = complexity.total(complexity.forward(arch, experiment.layout, length)).total
    chip = chips.lookup(jax.devices()[0].device_kind)
    return metrics.Work(
        images=config.data.batch,
        tokens=config.data.batch * math.prod(experiment.layout.grid),
        flops=3 * 2 * macs * config.data.batch,  # the backward pass needs twice the forward's
        peak_flops=chip.flops_bf16 * jax.device_count() if chip else None,
    )


def check_data(config: Any) -> None:
    """Compare the encoders that shards were made with, with those that a config names; a path "" names none.

    Raises:
      ValueError: they are others, or an encoder cannot be read.
    """
    if is_drawn(config):
        factor_of(config)  # which a run ends with
    sources = [member.source for member in members_of(open_source(config.data))]
    indexes = [source.index for source in sources if isinstance(source, ShardedDataset)]
    if not indexes:
        return
    stored = config.model.condition == "text" and not is_live(config)
    states = text.fingerprint_of(config.text_encoder) if stored and config.text_encoder.path else ""
    latents = autoencoder.open_autoencoder(config.autoencoder).fingerprint if config.autoencoder.path else ""
    for index in indexes:
        check_encoders(index, text=states, autoencoder=latents)
