"""The points of a sweep: read from its file, each the command line of an ordinary run and the config that it gives.

A sweep file has `BASES`, {size: config file}, its first size the default, and `points(size)`, which yields
(name, {"section.field": value}).  Points named `VARIANT-seedN`, with `seed` N, are runs of one variant.
"""

import collections
import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from configs import FOLDER, locate, of_package
from ptdit_jax import cli, files, user_code
from ptdit_jax import config as rules
from ptdit_jax.experiment import results

NAME = re.compile(
    r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?"
)  # a folder, and part of the name of a Kubernetes object


@dataclasses.dataclass(frozen=True)
class Point:
    """One run.

    Attributes:
      name: its folder, `points/NAME` of the sweep's.
      arguments: of `ptdit_jax.train`, without --workdir.
      config: what they give.
      after: the point whose parameters it starts with, and which has to be done before; None for random ones.
    """

    name: str
    arguments: tuple[str, ...]
    config: Any
    after: str | None = None

    @property
    def variant(self) -> str:
        """The name without the seed."""
        return self.name.removesuffix(f"-seed{self.config.seed}")


@dataclasses.dataclass(frozen=True)
class Sweep:
    """All points, in order.

    Attributes:
      name: of its folder, `runs/sweeps/NAME` unless told: the file's, and the size if it is not the default.
      about: the docstring of its file.
      points: each name once.
      workdir: its folder.
    """

    name: str
    about: str
    points: tuple[Point, ...]
    workdir: Path

    def folder(self, name: str) -> Path:
        """The folder of a point's run."""
        return self.workdir / "points" / name

    @property
    def varied(self) -> list[str]:
        """The fields in which points differ, but for the seed."""
        flat = [rules.flatten(point.config) for point in self.points]
        return [
            field
            for field in flat[0]
            if field not in ("seed", "train.init_from") and len({repr(fields[field]) for fields in flat}) > 1
        ]

    @property
    def warnings(self) -> list[str]:
        """What points allow and hardly mean, a line each."""
        found = _Problems()
        for point in self.points:
            for line in rules.warnings(point.config):
                found.add(point.name, line)
        return found.lines()


def load(
    file: str,
    extra: Sequence[str] = (),
    *,
    workdir: Path | None = None,
    warm_start: int | None = None,
    check_data: bool = True,
) -> Sweep:
    """Read a sweep and check every point of it.

    Args:
      file: "FILE" or "FILE:SIZE".
      extra: `--config.FIELD=VALUE` for all points, over their own.
      workdir: the sweep's folder; None for `runs/sweeps/NAME`.
      warm_start: steps of points that start with the parameters of an earlier one (0: as many as they have); None
        for no such start.
      check_data: whether this machine has the data.

    Raises:
      ValueError: one line a problem: the file, two points of one name or of one config, every field that is wrong,
        and every point that differs from the run in its folder.
    """
    path, size = _split(file)
    path = locate(path)
    module = _import(Path(path))
    bases = getattr(module, "BASES", None)
    if not isinstance(bases, dict) or not callable(getattr(module, "points", None)) or not bases:
        raise ValueError(
            f"{path}: a sweep has BASES, a dict of size to config file, and a function points(size)"
        )
    size = size or next(iter(bases))
    if size not in bases:
        raise ValueError(f"{path}:{size}: {size!r} is unknown; it is one of {', '.join(map(repr, bases))}")
    name = Path(path).stem + ("" if size == next(iter(bases)) else f"_{size}")
    given = _given(path, module, size)
    base = base_config(path, bases[size])

    problems = _Problems()
    points = []
    for point, fields in given:
        arguments = [f"--config={base}", *(_flag(*field) for field in fields.items()), *extra]
        if (config := problems.catch(point, _parse(arguments))) is not None:
            points.append(Point(point, tuple(arguments), config))
    problems.stop()

    sweep = Sweep(name, module.__doc__ or "", tuple(points), workdir or Path("runs/sweeps") / name)
    if warm_start is not None:
        sweep = _warm(sweep, warm_start)
    for point in sweep.points:
        problems.catch(point.name, _validate(point.config, check_data))
    configs: dict[str, str] = {}
    for point in sweep.points:
        twin = configs.setdefault(rules.to_json(point.config), point.name)
        if twin != point.name:
            problems.add(point.name, f"the same config as {twin}")
        problems.catch(point.name, lambda point=point: check_folder(sweep.folder(point.name), point.config))
    problems.stop()
    return sweep


def _split(file: str) -> tuple[str, str]:
    """Path and size, "" for none, of what was typed for a sweep; folders may have a ':' in their names."""
    whole = files.path(file, "FILE")
    before, _, size = str(whole).rpartition(":")
    return (str(whole), "") if whole.is_file() or not before or "/" in size else (before, size)


class _Problems:
    """Errors of points, each message once with the points that it is about."""

    def __init__(self) -> None:
        self.points = collections.defaultdict[str, list[str]](list)

    def add(self, point: str, message: str) -> None:
        for line in message.splitlines():
            self.points[line].append(point)

    def catch(self, point: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except ValueError as error:
            self.add(point, str(error))
            return None

    def stop(self) -> None:
        """Raise what there is."""
        if self.points:
            raise ValueError("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """What there is, a line a message."""
        return [f"{some(names)}: {line}" for line, names in self.points.items()]


def some(names: Sequence[str], limit: int = 3) -> str:
    """The first names, and how many others there are."""
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{'point' if len(names) == 1 else 'points'} {', '.join(names[:limit])}{rest}"


def _import(path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; configs/sweeps/ has the sweeps of this project")
    return user_code.load(path, f"sweep_{path.stem}")


def base_config(path: str, name: Any) -> str:
    """The config file of a sweep: for those of this project its own, whatever `configs/` is in the current folder."""
    name = str(name)
    ours = of_package(name)
    if ours is None or not Path(path).resolve().is_relative_to(FOLDER.resolve()):
        return locate(name)
    return name if Path(name).exists() and ours.samefile(name) else str(ours)


def _given(path: str, module: ModuleType, size: str) -> list[tuple[str, dict[str, Any]]]:
    """What the file yields, of the right types and each name once."""
    with user_code.told(Path(path), f"points({size!r})"):
        given = list(module.points(size))
    if not given:
        raise ValueError(f"{path}: points({size!r}) yields nothing")
    for item in given:
        match item:
            case (str(name), dict(_)) if NAME.fullmatch(name):
                continue
        raise ValueError(
            f"{path}: points({size!r}) yields {item!r}; it must be (name, fields), the name up to 30 lower-case "
            "letters, digits and inner hyphens, the fields a dict"
        )
    counts = collections.Counter(name for name, _ in given)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ValueError(f"{path}: {some(twice)}: more than one point has this name")
    return given


def _flag(field: str, value: Any) -> str:
    return f"--config.{field}={value}"


def _parse(arguments: list[str]) -> Callable[[], Any]:
    return lambda: cli.parse(["train", *arguments], "")[0]


def _validate(config: Any, check_data: bool) -> Callable[[], Any]:
    return lambda: rules.validate(config, check_data=check_data)


def check_folder(folder: Path, config: Any) -> None:
    """That the run in a folder, if there is one, can go on with this config, and that its results are those of it."""
    file = folder / "config.json"
    if not (folder / "checkpoints").is_dir() or not file.is_file():
        return
    saved = rules.from_json(file.read_text())
    conflicts = rules.conflicts(saved, config)
    if results.is_complete(saved, folder):
        old, new = rules.flatten(saved), rules.flatten(config)
        judged = [field for field in new if field.startswith(("sampling.", "evaluation."))]
        conflicts += [
            f"{field}={new[field]!r}, was {old[field]!r}" for field in judged if new[field] != old[field]
        ]
    if conflicts:
        rule = f"{folder} has a run with another config; use another --workdir, or undo"
        raise ValueError(f"{rule}: {'; '.join(conflicts)}")


def _warm(sweep: Sweep, steps: int) -> Sweep:
    """The sweep with each point that differs from an earlier one in the ratio alone started with its parameters."""
    earlier: dict[tuple[Any, ...], str] = {}
    points = []
    for point in sweep.points:
        flat = rules.flatten(point.config)
        rest = tuple(sorted((f, repr(v)) for f, v in flat.items() if not f.startswith("compression.")))
        try:
            arch = rules.architecture(point.config)
        except ValueError:
            points.append(point)  # `load` says what is wrong with it
            continue
        source = earlier.get((arch, rest))  # with injection "linear" the ratio is part of the architecture
        earlier[arch, rest] = point.name
        if source is not None:
            fields = {"train.init_from": str(sweep.folder(source).absolute())}
            fields |= {"train.steps": steps} if steps else {}
            arguments = (*point.arguments, *(_flag(*field) for field in fields.items()))
            point = dataclasses.replace(
                point,
                arguments=arguments,
                config=_parse(list(arguments))(),
                after=source,
            )
        points.append(point)
    if all(point.after is None for point in points):
        raise ValueError("--warm-start: no two points differ in their compression ratio alone")
    return dataclasses.replace(sweep, points=tuple(points))
