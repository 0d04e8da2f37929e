"""What is known to be wrong with the stages of a recipe before the first one starts: a line an error."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flax import nnx

from data_pipelines import mixture
from ptdit_jax import config as rules
from ptdit_jax import files
from ptdit_jax.experiment import initial, shapes
from ptdit_jax.experiment.build import build
from ptdit_jax.parallel.chips import Machine
from ptdit_jax.stages import state
from ptdit_jax.stages.recipe import Recipe, Run, named, stop
from ptdit_jax.training import partial

SHOWN = 3  # tensors that a line names


def check_configs(recipe: Recipe, *, machine: Machine | None = None, devices: int | None = None) -> None:
    """That every config is possible, and that the tensors of each stage fit those that start from it.

    Args:
      recipe: with every stage's config.
      machine: where the stages are to run; None leaves out what depends on it.
      devices: see `config.validate`.

    Raises:
      ValueError: one line a problem.
    """
    problems = []
    for run in recipe.runs.values():
        try:
            rules.validate(run.config, check_data=False, machine=machine, devices=devices)
        except ValueError as error:
            problems += named(run.name, str(error))
    stop(problems)
    for run in recipe.runs.values():
        if (before := recipe.before(run)) is not None:
            problems += named(run.name, "\n".join(_misfits(before, run)))
    stop(problems)


def check_data(
    recipe: Recipe, chosen: Iterable[str], *, machine: Machine | None = None, starts: bool = True
) -> list[str]:
    """That the data of the stages that are to run are what their configs say.

    Data of a later stage may be made while an earlier one trains: they are looked at again before that stage starts.

    Args:
      recipe: with valid configs.
      chosen: names of the stages that are to be run where they are not done.
      machine: as for `check_configs`.
      starts: whether the first of them is to start now, so that its data have to be there.

    Returns:
      A line for each other stage whose data are not there yet.

    Raises:
      ValueError: one line a problem.
    """
    todo = [run for run in recipe.runs.values() if run.name in chosen and not state.is_done(run)]
    problems, notes = [], []
    for number, run in enumerate(todo):
        if (number or not starts) and (absent := _absent(run.config)):
            notes += [
                f"stage {run.name}: {field}={path}: there is no such folder yet" for field, path in absent
            ]
            continue
        try:
            check_data_of(run, machine)
        except ValueError as error:
            problems += named(run.name, str(error))
    stop(problems)
    return notes


def check_data_of(run: Run, machine: Machine | None = None) -> None:
    """That the data of a stage, and the encoders that they name, are what its config says.

    Raises:
      ValueError: they are not.
    """
    rules.validate(run.config, machine=machine)
    shapes.check_data(run.config)


def check_folders(recipe: Recipe, chosen: set[str]) -> None:
    """That every stage that has begun can go on, and has started from what lies in the stage before.

    Raises:
      ValueError: one line a problem.
    """
    stop(
        line
        for name in recipe.runs
        if name in chosen
        for line in state.problems(recipe, recipe.runs[name], chosen)
    )


def _absent(config: Any) -> list[tuple[str, Path]]:
    """(field, path) of the folders of data that are not there."""
    data = config.data
    paths = [("data.path", data.path)]
    if data.name == "mixture":
        paths = [("data.mixture", mixture.parse(text, flip=data.flip).path) for text in data.mixture]
    found = [(field, files.path(path, field)) for field, path in paths if path]
    return [(field, path) for field, path in found if not path.exists()]


def _misfits(before: Run, run: Run) -> list[str]:
    """Why the parameters of a stage are not those that another one takes."""
    has, wants = tensors(before.config), tensors(run.config)
    train, lines = run.config.train, []
    if train.init_ema and train.init_ema not in before.config.train.ema_decays:
        kept = before.config.train.ema_decays
        lines.append(
            f"train.init_ema={train.init_ema} must be 0 or of train.ema_decays={kept} of {before.name}"
        )
    try:
        wrong, _ = initial.compare(has, wants, train.init_skip)
    except ValueError as error:
        return [*lines, str(error)]
    other = [name for name in wrong if name in has and name in wants]
    for what, names in (
        (f"{before.name} has none of", [name for name in wrong if name not in has]),
        (f"there is no place for these of {before.name}:", [name for name in wrong if name not in wants]),
        (
            "tensors of another shape:",
            [f"{name} {wants[name]}, in {before.name} {has[name]}" for name in other],
        ),
    ):
        if names:
            lines.append(f"{what} {_some(names)}")
    return lines


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest


def tensors(config: Any) -> partial.Shapes:
    """The parameters of a valid config."""
    model = config.model
    window = (
        rules.layout(config)[0] if model.injection == "linear" else None
    )  # a Linear for each of its tokens
    key = repr((sorted(model.to_dict().items()), config.diffusion.learn_variance, window))
    if key not in _TENSORS:
        flat = partial.named(nnx.to_pure_dict(build(config).abstract))
        _TENSORS[key] = {name: leaf.shape for name, leaf in flat.items()}
    return dict(_TENSORS[key])


_TENSORS: dict[str, partial.Shapes] = {}
"""By what they depend on: stages share a network."""
