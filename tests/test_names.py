"""Files, modules and their parts that prose names: each exists."""

import ast
import functools
import re
from pathlib import Path

from configs import common
from ptdit_jax.config import flatten

ROOT = Path(__file__).parents[1]
FOLDERS = ("ptdit_jax", "configs", "data_pipelines", "benchmarks", "launch", "tests", "docs")
ROOMS = ("models", "diffusion", "training", "parallel", "processes")  # "experiment" is often a variable
FIELDS = set(flatten(common.get_config()))
PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w")
MODULE = re.compile(r"(?<![\w./-])ptdit_jax(?:\.\w+)+")
SHORT = re.compile(rf"`((?:{'|'.join(ROOMS)})(?:\.\w+)+)")
PARTS = re.compile(r"`((?:ptdit_jax|configs|data_pipelines)/[\w/]+\.py)`: ((?:`\w+`(?:, )?)+)")
MADE_UP = re.compile(r"\b(?!README)[A-Z]{2,}\b")  # as NAME.py is
PATTERNS = ("README.md", "docs/*.md", *(f"{folder}/**/*.py" for folder in FOLDERS if folder != "tests"))
PROSE = [path.relative_to(ROOT) for pattern in PATTERNS for path in sorted(ROOT.glob(pattern))]


@functools.cache
def parts(file: Path) -> frozenset[str]:
    """What a module defines or imports at its top."""
    names = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    return frozenset(names)


def exists(dotted: str) -> bool:
    """Whether "ptdit_jax.models.window.partition" is a module, or a part of one."""
    words = dotted.split(".")
    for number in range(1, len(words) + 1):
        place, rest = ROOT.joinpath(*words[:number]), words[number:]
        file = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
        if file.is_file() and (not rest or rest[0] in parts(file)):
            return True
    return False


def missing(text: str) -> list[str]:
    """The names in a text of what does not exist."""
    found = [
        path
        for path in PATH.findall(text)
        if not (MADE_UP.search(path) or path.endswith("_") or (ROOT / path).exists())
    ]
    found += [name for name in MODULE.findall(text) if not (MADE_UP.search(name) or exists(name))]
    found += [name for name in SHORT.findall(text) if name not in FIELDS and not exists(f"ptdit_jax.{name}")]
    for path, names in PARTS.findall(text):
        known = parts(ROOT / path) if (ROOT / path).exists() else ()
        found += [f"{path}: {name}" for name in re.findall(r"\w+", names) if name not in known]
    return list(dict.fromkeys(found))


def test_what_prose_names_exists():
    lines = [f"{file}: {name}" for file in PROSE for name in missing((ROOT / file).read_text())]
    assert not lines, "\n".join(lines)


def test_names_of_nothing_are_found():
    text = """
    `ptdit_jax/models/window.py`: `partition`, `no_part`; docs/plan.md, docs/no_page.md; `diffusion.shift`;
    ptdit_jax.models.window, ptdit_jax.models.no_module; `training.step`, `training.no_module`; configs/NAME.py
    """
    assert missing(text) == [
        "docs/no_page.md",
        "ptdit_jax.models.no_module",
        "training.no_module",
        "ptdit_jax/models/window.py: no_part",
    ]
