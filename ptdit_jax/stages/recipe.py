"""A recipe: read from its file, each stage the command line of an ordinary run and the config that it gives.

A recipe file has a function `get_recipe()` that returns `configs.recipes.common.Stage`s.  Each starts with the
parameters of one other at most, so they are a tree, or several; they run in the order of the file, but after the stage
that they start from.
"""

import collections
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from configs import locate
from configs.recipes.common import Stage
from ptdit_jax import cli, files, user_code
from ptdit_jax.sweep.points import base_config

NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,28}[a-z0-9])?")
START = "train.init_from"


@dataclasses.dataclass(frozen=True)
class Run:
    """One stage as a run.

    Attributes:
      stage: what the file says of it.
      arguments: of `ptdit_jax.train`, without --workdir.
      config: what they give.
      folder: of the run.
    """

    stage: Stage
    arguments: tuple[str, ...]
    config: Any
    folder: Path

    @property
    def name(self) -> str:
        """Of the stage."""
        return self.stage.name


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All stages, in the order in which they run.

    Attributes:
      name: of its folder, `runs/NAME` unless told: the file's.
      runs: by name.
      workdir: its folder; that of a stage is WORKDIR/STAGE.
    """

    name: str
    runs: Mapping[str, Run]
    workdir: Path

    def before(self, run: Run) -> Run | None:
        """The stage that a stage starts from; None for one that starts from none."""
        return self.runs[run.stage.init_from] if run.stage.init_from else None

    def following(self, name: str) -> list[str]:
        """A stage and all that start from it or from those, in order."""
        return [name, *(run.name for run in self.runs.values() if self._descends(run, name))]

    def _descends(self, run: Run, name: str) -> bool:
        before = self.before(run)
        return before is not None and (before.name == name or self._descends(before, name))


def load(file: str, extra: Sequence[str] = (), *, workdir: Path | None = None) -> Recipe:
    """Read a recipe, its names and the fields of its stages; `checks` has the rest.

    Args:
      file: of the recipe.
      extra: `--config.FIELD=VALUE` for all stages, and `--STAGE.FIELD=VALUE` for one, over what the file says.
      workdir: the recipe's folder; None for `runs/NAME`.

    Raises:
      ValueError: one line a problem.
    """
    path = Path(locate(str(files.path(file, "FILE"))))
    stages = _order(path, _stages(path))
    folder = workdir or Path("runs") / path.stem
    runs, problems = {}, []
    for_all, for_one = _split(extra, [stage.name for stage in stages])
    for stage in stages:
        try:
            fields = dict(stage.fields)
            if stage.init_from:
                if START in fields:
                    raise ValueError(f"{START} must be left out with init_from={stage.init_from!r}")
                fields[START] = str((folder / stage.init_from).absolute())
            arguments = [f"--config={base_config(str(path), stage.config)}"]
            arguments += [f"--config.{field}={value}" for field, value in fields.items()]
            arguments += [*for_all, *for_one[stage.name]]
            config = cli.parse(["train", *arguments], "")[0]
            if stage.init_from and config.train.init_from != fields[START]:
                raise ValueError(
                    f"--config.{START}={config.train.init_from} must be left out: the stage starts from "
                    f"{stage.init_from!r}"
                )
        except ValueError as error:
            problems += named(stage.name, str(error))
        else:
            runs[stage.name] = Run(stage, tuple(arguments), config, folder / stage.name)
    stop(problems)
    return Recipe(path.stem, runs, folder)


def named(name: str, text: str) -> list[str]:
    """Lines about a stage."""
    return [f"stage {name}: {line}" for line in text.splitlines()]


def stop(problems: Iterable[str]) -> None:
    """Raise what there is.

    Raises:
      ValueError: all of it, a line each.
    """
    if lines := list(dict.fromkeys(problems)):
        raise ValueError("\n".join(lines))


def _stages(path: Path) -> list[Stage]:
    """What the file returns, of the right types."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; configs/recipes/ has the recipes of this project")
    module = user_code.load(path, f"recipe_{path.stem}")
    make = getattr(module, "get_recipe", None)
    if not callable(make):
        raise ValueError(f"{path}: it has no function get_recipe()")
    with user_code.told(path, "get_recipe()"):
        stages: Any = make()
        given = list(stages)
    if not given:
        raise ValueError(f"{path}: get_recipe() returns nothing; it must return stages")
    problems = []
    for stage in given:
        if not isinstance(stage, Stage):
            raise ValueError(
                f"{path}: get_recipe() returns {stage!r}; it must return stages, configs.recipes.common.Stage"
            )
        texts = (stage.name, stage.config, stage.init_from)
        if not all(isinstance(text, str) for text in texts) or not isinstance(stage.fields, Mapping):
            problems.append(f"{path}: {stage!r}: name, config and init_from must be texts, fields a dict")
        elif not NAME.fullmatch(stage.name) or stage.name == "config":
            problems.append(
                f"{path}: stage {stage.name!r} must be named by up to 30 small letters, digits, and inner '_' or "
                "'-', and not 'config'"
            )
    stop(problems)
    return given


def _order(path: Path, stages: Sequence[Stage]) -> list[Stage]:
    """The stages in the order of the file, each after the one that it starts from."""
    counts = collections.Counter(stage.name for stage in stages)
    stop(
        f"{path}: stage {name}: {count} stages have this name" for name, count in counts.items() if count > 1
    )
    stop(
        f"{path}: stage {stage.name}: init_from={stage.init_from!r} is no other stage; those are "
        f"{', '.join(name for name in counts if name != stage.name) or 'none'}"
        for stage in stages
        if stage.init_from and (stage.init_from not in counts or stage.init_from == stage.name)
    )
    ordered: dict[str, Stage] = {}
    while len(ordered) < len(stages):
        ready = [s for s in stages if s.name not in ordered and (not s.init_from or s.init_from in ordered)]
        if not ready:
            circle = ", ".join(stage.name for stage in stages if stage.name not in ordered)
            raise ValueError(f"{path}: stages {circle} start from each other; one must start from none")
        ordered[ready[0].name] = ready[0]
    return list(ordered.values())


def _split(extra: Sequence[str], names: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Fields of all stages and those of each, as `--config.FIELD=VALUE`."""
    for_all: list[str] = []
    for_one: dict[str, list[str]] = {name: [] for name in names}
    for argument in extra:
        match = re.fullmatch(r"--([\w-]+)(\.[\w.]+=.*)", argument, re.DOTALL)
        if match is None or (match[1] != "config" and match[1] not in names):
            raise ValueError(
                f"{argument!r} is no option; fields of all stages are --config.FIELD=VALUE, those of one "
                f"--STAGE.FIELD=VALUE, STAGE one of {', '.join(names)}"
            )
        (for_all if match[1] == "config" else for_one[match[1]]).append(f"--config{match[2]}")
    return for_all, for_one
