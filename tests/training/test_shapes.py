"""Training on records of several shapes: steps of every shape, resumes, processes, and shards of other encoders."""

import contextlib
import dataclasses
import io
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from data_pipelines.shards.index import write_index
from data_pipelines.shards.writer import ShardWriter
from ptdit_jax import config as rules
from ptdit_jax import train
from ptdit_jax.parallel import chips
from tests.training import runs

SHAPES = {
    (1, 1, 8, 8): 40,
    (1, 1, 4, 12): 9,
    (1, 3, 8, 8): 30,
}  # pictures and a kind of films
SIZE = {
    "data__name": "shards",
    "data__height": 8,
    "data__width": 8,
    "data__pixels_per_latent": 1,
    "compression__fixed": (2, 2, 2),
    "sampling__count": 2,
    "sampling__batch": 2,
    "evaluation__name": "none",
    "train__steps": 14,
    "diffusion__shift": "latent_frames",
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """A folder of shards of three shapes."""
    folder = tmp_path_factory.mktemp("shards")
    rng, entries = np.random.default_rng(0), []
    for number, (shape, count) in enumerate(SHAPES.items()):
        with ShardWriter(folder / f"{number}.array_record", shape=shape) as writer:
            for record in range(count):
                moments = rng.standard_normal((2, *shape[1:])).astype(np.float32)
                moments[1] = -4
                writer.write({"moments": moments, "label": record % 10})
        entries.append(writer.entry)
    write_index(folder, entries, {"autoencoder": "a" * 64})
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny, shards):
    """A run from its start to its end: its folder, and what it printed."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    config, _ = tiny(**SIZE, data__path=str(shards))
    with contextlib.redirect_stdout(io.StringIO()) as output:
        assert train.main(config, workdir) == 0
    return workdir, output.getvalue()


def test_every_shape_is_named_and_compiled_before_the_first_step(whole):
    workdir, output = whole
    before = output[: output.index("s\n", output.index("compiling the training step"))]
    assert "3 shapes of batches, each with a compiled step (data.max_shapes=18):" in before
    assert "1x4x12: 9 records of 48 tokens, window (1, 2, 2)" in before
    assert "1x8x8: 40 records of 64 tokens, window (1, 2, 2)" in before
    assert "3x8x8: 30 records of 192 tokens, window (2, 2, 2)" in before
    assert "compiling the training step" in before
    assert output.count("compiling the training step") == 1
    assert runs.rows(workdir) == 14


def test_a_run_goes_on_as_if_it_had_never_ended(whole, tmp_path, tiny, shards):
    workdir = tmp_path / "run"
    config, _ = tiny(**SIZE | {"train__steps": 7}, data__path=str(shards))
    assert train.main(config, workdir) == 0
    config.train.steps = 14
    assert train.main(config, workdir) == 0
    assert (workdir / "metrics.csv").read_bytes() == (whole[0] / "metrics.csv").read_bytes()


@pytest.mark.full  # compiles every shape on both
def test_two_processes_take_the_same_shapes(whole, tmp_path, tiny, shards):
    _, arguments = tiny(**SIZE, data__path=str(shards))
    workdir = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "ptdit_jax.train",
        "--config=configs/c2i_digits.py",
        f"--workdir={workdir}",
    ]
    done = subprocess.run(
        [sys.executable, "launch/processes.py", "--processes=2", "--", *command, *arguments],
        cwd=runs.ROOT,
        env=os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"},  # compiles sooner
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    read = lambda folder: np.genfromtxt(folder / "metrics.csv", delimiter=",", names=True)  # noqa: E731
    np.testing.assert_allclose(read(workdir)["loss"], read(whole[0])["loss"], rtol=1e-4)


@pytest.fixture
def config(tiny, shards):
    """The config of these runs."""
    return tiny(**SIZE, data__path=str(shards))[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data.max_shapes": 2}, r"data\.max_shapes = 2: the records of data\.name = 'shards' have 3 shapes"),
        ({"data.height": 6}, r"data\.frames, data\.height, data\.width = \(1, 6, 8\): .*have one of"),
        (
            {"model.patch": 8},
            r"records of 1x4x12 in data\.name='shards': data\.height=4 must be a positive multiple",
        ),
        ({"model.family": "dit", "model.positions": "grid"}, r"records of 3x8x8 .*'dit' is for one frame"),
        (
            {"data.batch": 2_000_000},
            r"^records of 3x8x8 in data\.name='shards': data\.batch=2000000 .*need 47",
        ),
    ],
)
def test_shapes_that_cannot_be_trained_are_named(config, fields, message):
    config.update_from_flattened_dict(fields)
    machine = dataclasses.replace(chips.here(), device_bytes=23 * 2**30, host_bytes=64 * 2**30)
    with pytest.raises(ValueError, match=message):
        rules.validate(config, machine=machine)


def test_shards_of_another_autoencoder_are_refused(config, tmp_path):
    config.autoencoder.path = "pixels"
    config.autoencoder.pixel_channels = 1
    with pytest.raises(ValueError, match=r"config\.autoencoder\.path .*aaaaaaaaaaaa\.\.\."):
        train.main(config, tmp_path / "run")


def test_a_shard_lost_in_the_middle_ends_a_run_in_one_line_with_its_name(config, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    shutil.copytree(config.data.path, folder)
    config.data.path = str(folder)
    save = train.checkpoint.Checkpoints.save

    def lose(self, *arguments):
        for path in folder.glob("*.array_record"):
            os.truncate(path, 100)
        return save(self, *arguments)

    monkeypatch.setattr(train.checkpoint.Checkpoints, "save", lose)
    with pytest.raises(ValueError, match=r"\.array_record: records? .*cannot be read") as caught:
        train.main(config, tmp_path / "run")
    assert "\n" not in str(caught.value)
