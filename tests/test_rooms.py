"""Which part of the code may import which: the table of docs/architecture.md, held against every import there is."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("ptdit_jax", "configs", "data_pipelines")
OURS = (*PACKAGES, "benchmarks", "launch", "tests")
LOOSE = 11  # modules of ptdit_jax/ outside a room, at most
LINES = 300  # of a file, at most
ALONE = {"ptdit_jax/convert/export/modeling_ptdit.py"}  # copied as one file, may be longer

# Rooms of a row do not import each other.  "below" is every room in the rows after the last one that is named, or after
# the row itself.
TABLE = """
room                            may import
train                           experiment, below
demo, evaluate                  sample, experiment, below
sample                          experiment, convert.layouts, convert.matching, convert.weights, below
stages                          sweep, cost, plan, experiment, below
sweep, convert, cost, plan, encode, analyze  experiment, below
experiment                      below
cli                             below
config                          below
training                        models, diffusion, progress
encoders                        models.layers, parallel.axes, parallel.rules, weight_files
models                          parallel.axes
evaluation                      features, metrics, parallel, files, progress, data_pipelines, user_code
features                        weight_files
metrics                         nothing
diffusion                       nothing
parallel                        nothing
processes                       nothing
weight_files                    nothing
plots, files, progress, text_tables, user_code  nothing
configs                         data_pipelines
data_pipelines                  nothing
"""
EXPORT = "ptdit_jax.convert.export"  # copied out of the package: imports nothing of it


def rows(table: str) -> list[tuple[list[str], list[str]]]:
    """(rooms, what they may import) of each line."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in table.strip().splitlines()[1:]]
    return [(rooms.split(", "), allowed.split(", ")) for rooms, allowed in lines]


def rules(table: str) -> dict[str, set[str]]:
    """What each room may import, without "below"."""
    lines = rows(table)
    place = {room: number for number, (rooms, _) in enumerate(lines) for room in rooms}
    found = {}
    for number, (rooms, words) in enumerate(lines):
        allowed = set(words) - {"below", "nothing"}
        if "below" in words:
            last = max([number, *(place[word.partition(".")[0]] for word in allowed)])
            allowed |= {room for rooms_below, _ in lines[last + 1 :] for room in rooms_below}
        found |= dict.fromkeys(rooms, allowed)
    return found


def modules(root: Path) -> dict[str, Path]:
    """Every module of the packages, by name."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
    }


def imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of ours that a module imports, wherever it does so, by `import_module` with a constant too."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            targets = [f"{base}.{alias.name}" for alias in node.names]
            targets = [target if target in known else base for target in targets]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            constants = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            targets = [
                importlib.util.resolve_name(text, package) for text in constants if isinstance(text, str)
            ]
        else:
            continue
        yield from (target for target in targets if target.partition(".")[0] in OURS)


def place_of(module: str) -> str:
    """A module as the table names it: "models.window", "configs.common"."""
    return module.removeprefix("ptdit_jax.")


def wrong(root: Path, table: str = TABLE) -> list[str]:
    """A line for every import that the table does not allow."""
    known, allowed = modules(root), rules(table)
    lines = []
    for name, path in known.items():
        room = place_of(name).partition(".")[0]
        for target in dict.fromkeys(imports(name, path, known)):
            at = place_of(target)
            if name.startswith(EXPORT):
                may = []
            elif (
                room == "ptdit_jax" or at.partition(".")[0] == room
            ):  # the package's own docstring; its own room
                continue
            else:
                may = sorted(allowed.get(room, ()))
            if not any(at == place or at.startswith(place + ".") for place in may):
                lines.append(f"{name} -> {target}: {room} may import {', '.join(may) or 'nothing of ours'}")
        if room not in allowed and room != "ptdit_jax":
            lines.append(f"{name}: {room} has no row in the table")
    return lines


def test_every_import_goes_down_the_table():
    lines = wrong(ROOT)
    assert not lines, "\n".join(lines)


def test_the_documented_table_is_this_one():
    text = (ROOT / "docs" / "architecture.md").read_text()
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    documented = [
        ([room.strip(" `") for room in rooms.split(",")], [word.strip(" `") for word in allowed.split(",")])
        for rooms, _, allowed in lines
    ]
    assert documented == rows(TABLE)


def test_every_room_exists_and_verbs_stand_apart():
    rooms = {place_of(name).partition(".")[0] for name in modules(ROOT)} - {"ptdit_jax"}
    allowed = rules(TABLE)
    assert set(allowed) == rooms
    verbs = {"sample", "sweep", "convert", "cost", "plan", "encode", "analyze"}
    assert not any(allowed[verb] & (verbs | {"train"}) for verb in verbs)
    for room in (
        "diffusion",
        "parallel",
        "processes",
        "weight_files",
        "plots",
        "files",
        "text_tables",
        "user_code",
        "data_pipelines",
    ):
        assert not allowed[room]


def test_few_modules_are_loose():
    loose = [path.name for path in (ROOT / "ptdit_jax").glob("*.py") if path.name != "__init__.py"]
    assert len(loose) <= LOOSE, sorted(loose)


def test_no_file_is_long():
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for path in modules(ROOT).values()
    }
    assert set(lengths) >= ALONE
    long = [
        f"{name}: {count} lines" for name, count in lengths.items() if count > LINES and name not in ALONE
    ]
    assert not long, "\n".join(long)


PLANTED = {
    "ptdit_jax/__init__.py": "",
    "ptdit_jax/files.py": "from ptdit_jax import plots",
    "ptdit_jax/plots.py": "import numpy\nfrom tests import pictures",
    "ptdit_jax/models/__init__.py": "",
    "ptdit_jax/models/good.py": "from ptdit_jax.parallel import axes\nfrom ptdit_jax.models import window",
    "ptdit_jax/models/window.py": "from ptdit_jax.parallel.axes import AXES\nfrom . import good",
    "ptdit_jax/models/rules.py": "from ptdit_jax.parallel import rules",
    "ptdit_jax/models/late.py": "def f():\n    if True:\n        import ptdit_jax.training.step as step",
    "ptdit_jax/models/relative.py": "from ..training import step",
    "ptdit_jax/models/named.py": "import importlib\nstep = importlib.import_module('ptdit_jax.training.step')",
    "ptdit_jax/training/step.py": "from ptdit_jax.models.window import half\nfrom ptdit_jax import diffusion",
    "ptdit_jax/diffusion/__init__.py": "",
    "ptdit_jax/parallel/axes.py": "import jax",
    "ptdit_jax/parallel/rules.py": "from ptdit_jax.parallel.axes import RULES",
    "ptdit_jax/cost/report.py": "from ptdit_jax.experiment import build",
    "ptdit_jax/sweep/plans.py": "from ptdit_jax.cost.report import table",
    "ptdit_jax/experiment/build.py": "from ptdit_jax.sweep import plans",
    "ptdit_jax/convert/export/module.py": "from ptdit_jax.convert import weights",
    "ptdit_jax/convert/weights.py": "from configs import common",
    "ptdit_jax/attic/old.py": "import json",
    "data_pipelines/sources.py": "import ptdit_jax.files",
    "configs/common.py": "from data_pipelines import sources",
}


@pytest.fixture
def planted(tmp_path):
    for name, text in PLANTED.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def test_planted_arrows_are_found(planted):
    lines = wrong(planted)
    assert [line.partition(":")[0] for line in lines] == [
        "ptdit_jax.attic.old",
        "ptdit_jax.convert.export.module -> ptdit_jax.convert.weights",
        "ptdit_jax.experiment.build -> ptdit_jax.sweep.plans",
        "ptdit_jax.files -> ptdit_jax.plots",
        "ptdit_jax.models.late -> ptdit_jax.training.step",
        "ptdit_jax.models.named -> ptdit_jax.training.step",
        "ptdit_jax.models.relative -> ptdit_jax.training.step",
        "ptdit_jax.models.rules -> ptdit_jax.parallel.rules",
        "ptdit_jax.plots -> tests",
        "ptdit_jax.sweep.plans -> ptdit_jax.cost.report",
        "data_pipelines.sources -> ptdit_jax.files",
    ]
    assert lines[0].endswith("attic has no row in the table")
    assert lines[7].endswith("models may import parallel.axes")
    assert lines[-1].endswith("data_pipelines may import nothing of ours")
