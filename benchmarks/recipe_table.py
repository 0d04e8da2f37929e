"""What the paper's recipes need on the machines that they are meant for, by `python -m ptdit_jax.plan`.

    python -m benchmarks.recipe_table [--only NAME,...]

Runs each command `python -m ptdit_jax.plan ...` of the docstrings in configs/ that a line "Planned: ..." follows, and
writes docs/recipes/NAME.json, those lines, and the table of docs/recipes.md.  Nothing is typed: a recipe that changes
is compiled again.  Needs libtpu (docs/plan.md); about two minutes a recipe of XL on two cores.

--only    compile these alone; what docs/recipes/ does not have is "not yet"
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from ptdit_jax import cli, files
from ptdit_jax.config import user_file
from ptdit_jax.parallel import topology
from ptdit_jax.parallel.chips import GIB
from ptdit_jax.plan import __main__ as plan
from ptdit_jax.progress import track
from ptdit_jax.text_tables import table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "recipes.md"
FOLDER = ROOT / "docs" / "recipes"
COMMAND = re.compile(r"-m ptdit_jax\.plan ((?:.*\\\n)*.*)\nPlanned: (.*)\nReported: (.*)\n")
TABLE = re.compile(r"(?<=<!-- benchmarks/recipe_table.py -->\n\n).*(?=\n\n<!-- end -->)", re.DOTALL)
UNKNOWN = "not yet"  # in the place of figures that were not made
DAY = 24 * 3600  # seconds
SHARE = 0.25  # of the peak: fast-DiT's XL on A100 24.5%, LightningDiT's on H800 about 20%
HEADER = ("recipe", "starts from", "batch", "steps", "machine", "mesh", "GiB a chip", "days at least")
HEADER = (*HEADER, f"days at {SHARE:.0%}", "the paper reports")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A config with the command that plans it.

    Attributes:
      name: of its figures, "c2i_s_256_sit" for configs/c2i_s_256.py:sit.
      file: the config file.
      config: as for `--config`.
      arguments: of `python -m ptdit_jax.plan`.
      planned: the line in the docstring.
      reported: what the paper reports of it.
    """

    name: str
    file: Path
    config: str
    arguments: tuple[str, ...]
    planned: str
    reported: str

    @property
    def figures(self) -> Path:
        """Where its figures are kept."""
        return FOLDER / f"{self.name}.json"

    def read(self) -> dict[str, Any] | None:
        """Its figures, where they were made."""
        return json.loads(self.figures.read_text()) if self.figures.exists() else None


def recipes() -> list[Recipe]:
    """All recipes: by task, then by size."""

    def place(file: Path) -> tuple[str, int]:
        kind, _, size = file.stem.rpartition("_")
        return kind, int(size) if size.isdecimal() else 0

    return [one for file in sorted((ROOT / "configs").glob("*.py"), key=place) for one in recipes_of(file)]


def recipes_of(file: Path) -> Iterator[Recipe]:
    """The recipes of one config file."""
    for command, planned, reported in COMMAND.findall(file.read_text()):
        arguments = tuple(shlex.split(command.replace("\\\n", " ")))
        config = arguments[arguments.index("--config") + 1]
        _, _, argument = config.partition(":")
        name = "_".join(filter(None, (file.stem, argument)))
        yield Recipe(name, file, config, arguments, planned, reported)


def measure(recipe: Recipe) -> dict[str, Any]:
    """Compile a recipe's step for its machine, in a process of its own, and return its figures.

    Raises:
      RunError: it cannot be compiled, or does not fit.
    """
    command = [sys.executable, "-m", "ptdit_jax.plan", *recipe.arguments, "--json"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        raise cli.RunError(f"{shlex.join(command)}: {result.stderr.strip()}")
    (found,) = json.loads(result.stdout)
    if not found["fits"]:
        raise cli.RunError(f"{shlex.join(command)}: it does not fit")
    left_out = ("name", "seconds", "collectives", "unknown_loops", "unknown_kernels")
    left_out += ("activations_received_per_block",)
    versions = {"jax": jax.__version__, "libtpu": importlib.metadata.version("libtpu")}
    return {
        "command": shlex.join(["python", "-m", "ptdit_jax.plan", *recipe.arguments]),
        **versions,
        "steps": user_file.load(str(ROOT / recipe.config)).train.steps,
        **{name: value for name, value in found.items() if name not in left_out},
    }


def days(figures: dict[str, Any]) -> tuple[float, float]:
    """Days of training: by the largest bound of a step, and with its arithmetic at `SHARE` of the peak."""
    bounds, steps = figures["bounds"], figures["steps"]
    slower = max(bounds["arithmetic"] / SHARE, bounds["memory"], bounds["interconnect"])
    return max(bounds.values()) * steps / DAY, slower * steps / DAY


def planned_line(figures: dict[str, Any]) -> str:
    """What a docstring says of a recipe's figures."""
    chip, (least, likely) = figures["chip"], days(figures)
    needs = f"{figures['memory']['total'] / GIB:.1f} of {chip['hbm_bytes'] / GIB:.0f} GiB a chip"
    time = f"{figures['steps']:,} steps take {least:.1f} days at least, {likely:.1f} at {SHARE:.0%} of peak"
    return f"{figures['topology']}: {needs}; {time}"


def page_table() -> str:
    """The table of docs/recipes.md."""
    rows = []
    for recipe in recipes():
        config = user_file.load(str(ROOT / recipe.config))
        options, _ = plan.parse(["plan", *recipe.arguments])
        (machine,) = map(topology.parse, options.topology)
        mesh = ", ".join(f"{axis} {size}" for axis, size in (options.mesh or [{}])[0].items()) or "data alone"
        figures = recipe.read()
        row = [
            f"[{recipe.config.removeprefix('configs/')}](../{recipe.file.relative_to(ROOT)})",
            Path(config.train.init_from).name or "scratch",
            f"{options.batch or config.data.batch:,}",
            f"{config.train.steps:,}",
            f"{machine.chips} x {machine.kind}",
            mesh,
        ]
        if figures is None:
            row += [UNKNOWN] * 3
        else:
            row += [f"{figures['memory']['total'] / GIB:.1f}", *(f"{number:.1f}" for number in days(figures))]
        rows.append([*row, recipe.reported])
    return table(HEADER, rows)


def write_all() -> None:
    """Write the lines of the docstrings and the table of the page."""
    for recipe in recipes():
        text, figures = recipe.file.read_text(), recipe.read()
        place = next(
            m for m in COMMAND.finditer(text) if recipe.config in shlex.split(m[1].replace("\\\n", " "))
        )
        line = UNKNOWN if figures is None else planned_line(figures)
        text = f"{text[: place.start(2)]}{line}{text[place.end(2) :]}"
        files.write(recipe.file, lambda draft, text=text: draft.write_text(text))
    page = TABLE.sub(lambda _: page_table(), PAGE.read_text())
    files.write(PAGE, lambda draft: draft.write_text(page))


def main(only: list[str]) -> int:
    """Compile, and write all; returns the exit code."""
    every = recipes()
    if unknown := set(only) - {recipe.name for recipe in every}:
        raise ValueError(
            f"--only={','.join(unknown)}: unknown; one of {', '.join(recipe.name for recipe in every)}"
        )
    chosen = [recipe for recipe in every if not only or recipe.name in only]
    for recipe in track(chosen, len(chosen), "compile", "recipe"):
        text = json.dumps(measure(recipe), indent=2) + "\n"
        FOLDER.mkdir(exist_ok=True)
        files.write(recipe.figures, lambda draft, text=text: draft.write_text(text))
    write_all()
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.chdir(ROOT)  # configs are named from there
    sys.exit(cli.run(lambda: main([name for name in args.only.split(",") if name]), platforms="cpu"))
