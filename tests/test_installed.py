"""A wheel, installed into an empty folder: every verb, from a folder with decoys of both common names."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("ptdit_jax", "configs", "data_pipelines")
MINE = """
from configs import c2i_digits

def get_config():
    config = c2i_digits.get_config()
    config.update_from_flattened_dict({
        "model.depth": 1, "model.shift_every": 1, "model.width": 16, "model.heads": 1, "data.batch": 8,
        "train.steps": 1, "train.ema_decays": (), "optimizer.schedule": "constant", "optimizer.warmup_steps": 0,
        "sampling.ema": 0, "sampling.sampler": "euler", "sampling.steps": 1, "sampling.guidance": 1.0,
        "sampling.count": 4, "sampling.batch": 4, "evaluation.name": "none",
    })
    return config
"""
SWEEP = '''"""One point."""

from configs.sweeps.common import ratio

BASES = {"mine": "mine.py", "ours": "configs/c2i_digits.py"}


def points(size):
    yield "a", ratio(2)
'''
VERBS = """
import contextlib, io, json, runpy, sys
import ptdit_jax

def run(verb, *words):
    sys.argv = [verb, *words]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module(f"ptdit_jax.{verb}", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
    ends[" ".join([verb, *words])] = [code, out.getvalue(), err.getvalue()]

ends = {}
for command in json.loads(sys.argv[1]):
    run(*command)
import configs, data_pipelines
json.dump({"ends": ends, "files": [m.__file__ for m in (ptdit_jax, configs, data_pipelines)]}, sys.stdout)
"""
COMMANDS = [
    ["plan", "--config=mine.py", "--topology=cpu:1"],
    ["cost", "--config=configs/uncond_digits.py"],
    ["train", "--config=mine.py", "--workdir=run"],
    ["sample", "--checkpoint=run", "--count=2", "--out=a.png"],
    ["convert", "to-torch", "--checkpoint=run", "--out=torch", "--no-verify"],
    ["convert", "from-torch", "torch", "--config=torch/config.json", "--out=back", "--no-verify"],
    ["convert", "inspect", "torch", "--config", "configs/video_digits.py"],
    ["sweep", "mine_sweep.py", "--dry-run"],
    ["sweep", "configs/sweeps/model_size.py", "--status"],
]
WRONG = [
    ["sweep", "configs/sweeps/model_size.py:imagenet", "--backend=slurm"],
    ["sweep", "mine_sweep.py", "--backend=jobset"],
    ["sweep", "mine_sweep.py:ours", "--status"],
]
COMMANDS += WRONG


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built as pip does, of a copy: a build leaves folders behind."""
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for pattern in ("pyproject.toml", "README.md", "LICENSE", "requirements*.txt"):
        for file in ROOT.glob(pattern):
            shutil.copy(file, source)
    build = "import setuptools.build_meta as build; print(build.build_wheel('.'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return source / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """The folder that it is installed into."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--disable-pip-version-check", f"--target={folder}", wheel], check=True)
    return folder


@pytest.fixture(scope="module")
def ends(site, tmp_path_factory):
    """How each of `COMMANDS` ended, one after the other in a folder with decoys, and where the packages were found."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in PACKAGES[1:]:
        (folder / name).mkdir()
        for file in ("__init__.py", "common.py", "sources.py", "sweeps.py"):
            (folder / name / file).write_text("raise ImportError('a decoy was imported')\n")
    decoy = "def get_config():\n    raise ValueError('a decoy was called')\n"
    (folder / "configs" / "c2i_digits.py").write_text(decoy)
    (folder / "mine.py").write_text(MINE)
    (folder / "mine_sweep.py").write_text(SWEEP)
    environment = os.environ | {"PYTHONPATH": str(site), "MPLBACKEND": "Agg", "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path_factory.mktemp("xla"))
    done = subprocess.run(
        [sys.executable, "-c", VERBS, json.dumps(COMMANDS)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"folder": folder}


def test_the_wheel_holds_every_file(wheel):
    """Everything that lies in the three packages, and nothing else."""
    with zipfile.ZipFile(wheel) as file:
        inside = {name for name in file.namelist() if ".dist-info/" not in name}
    lying = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == lying
    assert "ptdit_jax/convert/export/requirements.txt" in inside
    assert "ptdit_jax/sweep/report.html.jinja" in inside


def test_the_installed_packages_are_the_ones(ends, site):
    assert [Path(file).parent for file in ends["files"]] == [site / name for name in PACKAGES]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in WRONG], ids=" ".join)
def test_a_verb_works_from_anywhere(command, ends):
    code, out, err = ends["ends"][" ".join(command)]
    assert code == (2 if command[1] == "inspect" else 0), err  # it compares another network
    assert "decoy" not in out + err
    assert out


def test_files_of_the_installation_are_taken_with_a_word(ends, site):
    _, _, err = ends["ends"]["cost --config=configs/uncond_digits.py"]
    assert err == f"configs/uncond_digits.py: not in this folder, {site}/configs/uncond_digits.py is taken\n"


def test_the_decoys_config_is_the_users_own_where_it_is_named(ends):
    """A file that is there is the one that is meant, for --config and for a sweep of the user's own."""
    code, _, err = ends["ends"]["sweep mine_sweep.py:ours --status"]
    assert (code, "a decoy was called" in err) == (2, True)


def test_the_exported_folder_is_whole(ends):
    folder = ends["folder"] / "torch"
    names = {"modeling_ptdit.py", "sample.py", "samplers.py", "README.md", "requirements.txt"}
    assert names <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("command", WRONG[:2], ids=" ".join)
def test_schedulers_need_the_repository(command, ends):
    code, _, err = ends["ends"][" ".join(command)]
    assert code == 2
    assert err.count("\n") == 1
    assert "which the repository has and an installation has not: run the sweep from a clone" in err


def test_a_module_of_the_same_name_before_ours_is_named(site, tmp_path):
    (tmp_path / "configs.py").write_text("")
    script = "import sys; sys.path.insert(0, '.'); import configs, ptdit_jax"
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (
        "configs.py is imported already, and ptdit_jax has one of this name" in done.stderr.splitlines()[-1]
    )
