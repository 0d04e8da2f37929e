"""What a run ends with: the loss as a picture, samples, and their judgement.  What is there already stays."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from data_pipelines.sources import rolled_back
from ptdit_jax import evaluation, files, plots
from ptdit_jax.experiment import caching
from ptdit_jax.experiment.build import Experiment
from ptdit_jax.experiment.decoding import Decoder, is_drawn
from ptdit_jax.experiment.generate import NotFinite, generate
from ptdit_jax.experiment.judging import VERDICT, Asked, ask, judge, write_verdict

NAMES = ("loss.png", "samples.png", "samples_rolled.png", "samples.gif", "samples.npz", VERDICT)


def clear(workdir: Path) -> None:
    """Remove the results of a shorter run."""
    for name in NAMES:
        (workdir / name).unlink(missing_ok=True)


def is_complete(config: Any, workdir: Path) -> bool:
    """Whether a run's folder holds all that `finish` makes."""
    samples = "samples.png" if is_drawn(config) else "samples.npz"
    verdict = () if config.evaluation.name == "none" else (VERDICT,)
    return all((workdir / name).exists() for name in ("loss.png", samples, *verdict))


def finish(config: Any, workdir: Path, experiment: Experiment, params: Any, mesh: Mesh) -> None:
    """Make what is missing of `NAMES` in a run's folder, and say what is there.

    Args:
      config: the whole config.
      workdir: the run's folder, with its `metrics.csv`.
      experiment: what the config describes.
      params: those to sample from.
      mesh: the run's devices.

    Raises:
      NotFinite: samples are not finite; the picture is there if those for it are.
    """
    is_host = jax.process_index() == 0
    if is_host and not (workdir / "loss.png").exists():
        files.write(workdir / "loss.png", lambda draft: plots.loss_curve(workdir / "metrics.csv", draft))
    samples = workdir / ("samples.png" if is_drawn(config) else "samples.npz")
    verdict, judged = workdir / VERDICT, evaluation.find(config.evaluation)
    wanted = 0 if samples.exists() else config.sampling.count
    if judged is not None and not verdict.exists():
        wanted = max(wanted, config.evaluation.count)
    if wanted:
        asked = ask(config, experiment, wanted, mesh)
        problem: NotFinite | None = None
        arguments: dict[str, Any] = {"text": asked.text, "sampling": config.sampling, "mesh": mesh}
        try:
            images = generate(
                experiment,
                params,
                asked.numbers,
                seed=config.sampling.seed,
                calibration=_calibration(config, workdir, experiment, params, asked, arguments),
                **arguments,
            )
        except NotFinite as error:
            images, problem = error.samples, error
        if is_host and not samples.exists() and len(images) >= config.sampling.count:
            first = images[: config.sampling.count]
            _draw(samples, Decoder(config)(first) if is_drawn(config) else first, asked)
            if config.data.name == "signal_digits":
                _draw(workdir / "samples_rolled.png", rolled_back(first), asked)
        if problem is not None:
            raise problem
        if is_host and judged is not None and not verdict.exists():
            count = config.evaluation.count
            report = judge(judged, config, images[:count], asked)
            write_verdict(workdir, report)
    if is_host:
        if verdict.exists():
            print(json.loads(verdict.read_text())["text"])
        print("see " + ", ".join(str(workdir / n) for n in (*NAMES, "metrics.csv") if (workdir / n).exists()))


def _calibration(
    config: Any, workdir: Path, experiment: Experiment, params: Any, asked: Asked, arguments: dict[str, Any]
) -> caching.Calibration | None:
    """MagCache's calibration, where samples are made with it, measured here if that was not done before."""
    found = caching.load(workdir)
    if config.sampling.cache != "magcache" or found is not None:
        return found
    meter, numbers = caching.Meter(experiment), asked.numbers[: config.sampling.batch]
    seed = config.sampling.seed
    generate(experiment, params, numbers, seed=seed, observe=meter, description="calibrate", **arguments)
    facts = {"samples": len(numbers), "checkpoint": f"the end of {config.train.steps} steps"}
    found = meter.calibration(config.sampling, **facts)
    if jax.process_index() == 0:
        caching.save(found, workdir)
    return found


def _draw(path: Path, images: np.ndarray, asked: Asked) -> None:
    names = asked.numbers if asked.labels is None and asked.text is not None else asked.labels
    names = None if names is None else names[: len(images)]
    if path.suffix == ".npz":
        arrays: dict[str, Any] = {"x": images}
        if asked.labels is not None:
            arrays["label"] = asked.labels[: len(images)]
        if asked.text is not None:
            arrays["record"] = asked.numbers[: len(images)]
        files.write(path, lambda draft: np.savez(draft, **arrays))
        return
    if images.shape[2] > 1:
        files.write(path.with_suffix(".gif"), lambda draft: plots.animation(images, names, draft))
    files.write(path, lambda draft: plots.sample_grid(images, names, draft))
