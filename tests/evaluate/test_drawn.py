"""Samples drawn to be judged; and figures that no number of devices or processes changes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from ptdit_jax import cli
from ptdit_jax.evaluate import __main__ as evaluate
from ptdit_jax.evaluate import drawn, flags
from ptdit_jax.experiment import sampling_steps
from tests.convert import small
from tests.features import published
from tests.models.tiny import FAST

ROOT = Path(__file__).parents[2]
COUNT = 7


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Inception's weights, a run of a model of RGB pictures, and a reference."""
    folder = tmp_path_factory.mktemp("drawn")
    published.inception_file(folder)
    config = small.config(model__channels=3, sampling__ema=0.0, sampling__steps=2, sampling__batch=4)
    small.write_checkpoint(folder / "run", config, params=small.random_params(config))
    small.write_checkpoint(folder / "grey", small.config(sampling__ema=0.0), params={"x": np.zeros(1)})
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    np.savez(folder / "reference.npz", arr_0=pixels)
    np.savez(folder / "wide.npz", arr_0=np.zeros((5, 8, 9, 3), np.uint8))
    return folder


@pytest.fixture(scope="module", autouse=True)
def fast():
    """Programs that compile fast, Inception's once."""
    with pytest.MonkeyPatch.context() as patch:
        jit, kept = jax.jit, {}

        def quick(function, **options):
            made = jit(function, **{"compiler_options": FAST} | options)
            return kept.setdefault(function, made) if getattr(function, "__name__", "") == "apply" else made

        patch.setattr(sampling_steps.jax, "jit", quick)
        patch.setattr(cli, "enable_compilation_cache", lambda: None)
        yield


def words(place, *more, samples=None):
    given = [f"--checkpoint={place / 'run'}"] if samples is None else [f"--samples={samples}"]
    weights, reference = f"--inception={place / 'pt_inception.pth'}", f"--reference={place / 'reference.npz'}"
    return [*given, weights, reference, "--metrics=is,precision,recall", "--together=3", *more]


def run(place, *more):
    return cli.run(lambda: evaluate.main(flags.parse(words(place, *more), "x\n\ny")))


def test_samples_are_drawn_once_and_judged_alike(place, capsys):
    assert run(place, f"--count={COUNT}", "--seed=3") == 0
    judged = place / "run" / drawn.FOLDER
    told = json.loads((judged / "evaluation.json").read_text())
    files = {file.name: file.read_bytes() for file in judged.glob("*-*.png")}
    assert len(files) == told["count"] == COUNT
    assert told["made_by"]["made of"]["seed"] == 3
    assert told["made_by"]["made of"]["sampling.steps"] == 2
    lost = sorted(files)[2]
    (judged / lost).unlink()
    assert run(place, f"--count={COUNT}", "--seed=3") == 0
    assert f"{COUNT} samples, {COUNT - 1} of them done" in capsys.readouterr().out
    assert (judged / lost).read_bytes() == files[lost]
    assert json.loads((judged / "evaluation.json").read_text())["figures"] == told["figures"]
    assert run(place, f"--count={COUNT}", "--seed=4") == 2
    line = capsys.readouterr().err
    assert f"--samples={judged} was begun with other settings: seed=4, was 3.  Name another --samples" in line


def test_samples_lie_in_the_folder_of_the_run():
    for place in ("run", "run/checkpoints", "run/checkpoints/20", "run/checkpoints/best"):
        assert drawn.run_of(Path(place)) == Path("run")


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("--steps=0",), "sampling.steps is 0; it must be at least 1"),
        (("--prompts=a.txt",), "--prompts="),
        (("--inception=none.pth",), "--inception="),
        (("--reference=none.npz",), "--reference="),
        (("--reference=PLACE/wide.npz",), "has images of 8x9 pixels, the samples 8x8"),
        (("--metrics=fvd", "--i3d=PLACE/reference.npz"), "--metrics=fvd is of films, and --samples="),
        (("--protocol=coco_fid30k", "--count=7", "--metrics=fid"), "is of 30,000 samples, and there are 7"),
        (("--checkpoint=PLACE/grey",), "/grey draws grey samples, and the figures are of RGB"),
    ],
)
def test_what_is_wrong_shows_before_anything_is_drawn(place, more, line, capsys, monkeypatch):
    monkeypatch.setattr(drawn.many.drawing, "run", lambda *_: pytest.fail("too late"))
    assert run(place, *(word.replace("PLACE", str(place)) for word in more)) in (1, 2)
    assert line in capsys.readouterr().err


@pytest.mark.full  # four processes that each compile Inception
def test_figures_are_the_same_on_any_devices_and_processes(place, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (29, 20, 24, 3)).astype(np.uint8)
    np.savez(tmp_path / "samples.npz", arr_0=pixels)
    np.savez(tmp_path / "reference.npz", arr_0=pixels[:23, ::-1])
    found = {}
    for name, before, devices in (
        ("one", [], 1),
        ("four devices", [], 4),
        ("two processes", [sys.executable, "launch/processes.py", "--processes=2", "--"], 1),
    ):
        out = tmp_path / f"{name}.json"
        more = [f"--reference={tmp_path / 'reference.npz'}", "--metrics=fid,sfid,is,precision,recall,kid"]
        command = words(place, *more, f"--out={out}", samples=tmp_path / "samples.npz")
        flags = f"--xla_force_host_platform_device_count={devices} --xla_cpu_multi_thread_eigen=false"
        subprocess.run(
            [*before, sys.executable, "-m", "ptdit_jax.evaluate", *command],
            cwd=ROOT,
            env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            check=True,
            timeout=600,
        )
        found[name] = json.loads(out.read_text())["figures"]
    assert found["four devices"] == found["one"]
    assert found["two processes"] == found["one"]
    shutil.rmtree(tmp_path)
