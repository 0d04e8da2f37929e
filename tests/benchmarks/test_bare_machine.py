"""`benchmarks.accelerator` where the packages are absent that only the rest of the project needs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import accelerator_parts

ROOT = Path(__file__).parents[2]
# What a bare machine does not have; packages that jax, flax, optax and ml_collections bring along are not here.
ABSENT = [
    "av",
    "bs4",
    "ftfy",
    "grain",
    "jinja2",
    "matplotlib",
    "orbax",
    "pandas",
    "PIL",
    "pyarrow",
    "safetensors",
]
ABSENT += [
    "sentencepiece",
    "sklearn",
    "tabulate",
    "tensorboardX",
    "tensorstore",
    "torch",
    "tqdm",
    "transformers",
]


def test_it_lists_its_parts_on_a_bare_machine(tmp_path):
    assert run(["--small", "--list"], tmp_path).split() == [
        part.name for part in accelerator_parts.parts("cpu", small=True)
    ]


@pytest.mark.full
def test_it_runs_on_a_bare_machine(tmp_path):
    text = run(["--small", "--seconds", "0.02", "--budget", "1000"], tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "accelerator.jsonl").read_text().splitlines()]
    assert [row["part"] for row in rows] == [part.name for part in accelerator_parts.parts("cpu", small=True)]
    for row in rows:
        assert row["ms"] > 0
        assert 0 < row["share"] < 1
        assert row["share"] * row["peak_tflops"] == pytest.approx(row["tflops"])
        assert row["first_step_s"] > row["compile_s"] > 0
        assert row["compiled_bytes"] > row["parameters"] * 4 * (4 if row["pass"] == "train" else 1)
    assert len(re.findall(r"\d\.\d\dx \|", text)) == 4  # each pair once
    before = (tmp_path / "accelerator.jsonl").read_bytes()
    run(["--small", "--seconds", "0.02"], tmp_path)
    assert (tmp_path / "accelerator.jsonl").read_bytes() == before


def run(arguments, folder):
    """What the command prints where the packages that it must not need are absent."""
    code = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
from benchmarks import accelerator
sys.exit(accelerator.main(sys.argv[1:]))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
