"""From raw files to losses: encoded on two hosts and trained on two processes, each killed once, as if undisturbed."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import make_raw_demo

ROOT = Path(__file__).parents[2]
CONFIG = "--config=configs/t2i_raw_digits.py"

pytestmark = pytest.mark.full  # a dozen processes that each start and compile


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("xla")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.0",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiles sooner
    }


def start(environment, module, *arguments, processes=2):
    words = [sys.executable, "launch/processes.py", f"--processes={processes}", "--", sys.executable, "-m"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*words, module, CONFIG, *arguments], cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True
    )


def finish(process):
    output, errors = process.communicate(timeout=3000)
    assert process.returncode == 0, f"{output}\n{errors}"


def kill_when(process, path, pattern):
    """SIGKILL to all processes when a file of that pattern is there, before they are done."""
    while not list(path.glob(pattern)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)  # the kernel kills the others with it
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def losses(workdir):
    with (workdir / "metrics.csv").open(newline="") as file:
        return [(row["step"], row["loss"]) for row in csv.DictReader(file)]


def chain(folder, environment, images, films, encode, train):
    make_raw_demo.make_images(folder / "raw" / "images", images, 32)
    make_raw_demo.make_videos(folder / "raw" / "videos", films, 32, 5, 8)
    sources = [f"--source=images:{folder}/raw/images", f"--source=videos:{folder}/raw/videos"]
    read = f"--config.data.path={folder}"

    whole = ("ptdit_jax.encode", *sources, *encode, f"--out={folder}/shards")
    finish(start(environment, *whole, processes=1))
    finish(start(environment, "ptdit_jax.train", *train, f"{read}/shards", f"--workdir={folder}/run"))

    killed = ("ptdit_jax.encode", *sources, *encode, f"--out={folder}/killed")
    kill_when(start(environment, *killed), folder / "killed" / "units", "0*.json")
    assert not (folder / "killed" / "index.json").exists()
    finish(start(environment, *killed))
    killed = ("ptdit_jax.train", *train, f"{read}/killed", f"--workdir={folder}/killed_run")
    kill_when(start(environment, *killed), folder / "killed_run" / "checkpoints", "[0-9]*[05]")
    finish(start(environment, *killed))

    whole, again = losses(folder / "run"), losses(folder / "killed_run")
    assert len(whole) > 1
    assert again == whole


def test_a_small_chain_gives_the_same_losses_whatever_is_killed(tmp_path, environment):
    encode = ("--config.encode.unit=8", "--config.encode.aspects=False", "--config.encode.max_enlarge=2.0")
    train = [f"--config.{name}" for name in (
        "train.steps=15", "checkpoint.every=5", "model.depth=1", "model.width=64", "data.batch=8", "sampling.count=1",
        "sampling.batch=2", "sampling.steps=2",
    )]  # fmt: skip
    chain(tmp_path, environment, 36, 4, encode, train)


def test_two_thousand_pictures_and_fifty_films_of_several_shapes(tmp_path, environment):
    chain(tmp_path, environment, 2000, 50, (), ["--config.train.steps=200", "--config.checkpoint.every=50"])
