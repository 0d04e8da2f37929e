"""Many samples in a folder: what is there stays, what lacks is made as it was, and ADM's file is a stream."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from ptdit_jax.experiment import sampling_steps
from ptdit_jax.plots import settings as metadata
from ptdit_jax.processes import distributed
from ptdit_jax.sample import drawing, folder, many, npz_stream, one_file, request
from tests.convert import small
from tests.models import tiny

ROOT = Path(__file__).parents[2]
PROMPTS = ["a red seven", "the digit 3", "a red seven", "nothing", "éé"]
COUNT = 3


@pytest.fixture(scope="module", autouse=True)
def fast():
    """Programs compile fast; the sampler's is compiled once a test, as by users."""
    with pytest.MonkeyPatch.context() as patch:
        jit = jax.jit
        patch.setattr(
            sampling_steps.jax,
            "jit",
            lambda f, **options: jit(f, **{"compiler_options": tiny.FAST} | options),
        )
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of a text model and of a model of classes, pixels both, and a file of prompts."""
    place = tmp_path_factory.mktemp("many")
    fields = {"sampling__ema": 0.0, "sampling__steps": 2, "sampling__guidance": 2.0, "sampling__batch": 4}
    text = {"model__condition": "text", "model__text_dim": 128, "model__text_length": 16}
    encoder = {"text_encoder__path": "bytes", "text_encoder__dtype": "float32"}
    for name, more in (("text", text | encoder), ("classes", {})):
        config = small.config(**fields, **more)
        small.write_checkpoint(place / name, config, params=small.random_params(config))
    (place / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    return place


def draw(*words):
    """The exit code of a command, in this process."""
    args = request.parse([str(word) for word in words], "x\n\ny")
    return many.main(args, distributed.ALONE)


def command(runs, out, *more):
    return [
        "--checkpoint",
        runs / "text",
        "--prompts",
        runs / "prompts.txt",
        "--count",
        COUNT,
        "--out",
        out,
        *more,
    ]


@pytest.fixture(scope="module")
def whole(runs):
    """The folder of a run that nothing disturbed."""
    assert draw(*command(runs, runs / "whole", "--npz", runs / "whole.npz")) == 0
    return runs / "whole"


def contents(place):
    return {path.name: path.read_bytes() for path in place.glob("[0-9]*-*.png")}


def test_a_file_a_sample_with_what_it_is(whole, runs):
    names = sorted(contents(whole))
    assert names == [f"{p:06d}-{k:04d}.png" for p in range(len(PROMPTS)) for k in range(COUNT)]
    assert len(set(contents(whole).values())) == len(names)  # also of the prompt that is there twice
    found = metadata.read(whole / "000004-0002.png")
    assert found is not None
    wanted = {"prompt": "éé", "sample": 2, "seed": 0, "number": 4, "steps": 2, "guidance": 2.0}
    wanted |= {"parameters": "params", "size": "8x8"}
    assert wanted.items() <= found.items()
    assert found["checkpoint"].startswith(str(runs / "text"))
    assert (whole / "summary.png").exists()
    with np.load(runs / "whole.npz") as arrays:
        assert arrays.files == ["arr_0"]
        pixels = [np.asarray(Image.open(whole / name))[..., None] for name in names]
        np.testing.assert_array_equal(arrays["arr_0"], pixels)


def test_what_lacks_is_made_as_it_was_and_nothing_twice(whole, runs, monkeypatch, tmp_path):
    """Ended after 7 files by a full disk, and started again: the same bytes, and each file is written once."""
    out, written, write = tmp_path / "out", [], one_file.write

    def until(path, *rest, **options):
        if len(written) == 7 and not (tmp_path / "again").exists():
            raise OSError(28, "No space left on device")
        written.append(path.name)
        write(path, *rest, **options)

    monkeypatch.setattr(drawing.one_file, "write", until)
    with pytest.raises(OSError, match="No space left"):
        draw(*command(runs, out))
    assert len(contents(out)) == 7
    (tmp_path / "again").touch()
    assert draw(*command(runs, out)) == 0
    assert contents(out) == contents(whole)
    assert sorted(written) == sorted(contents(whole))
    loads = []
    monkeypatch.setattr(many.decoding, "Decoder", lambda *_: loads.append(1))
    assert draw(*command(runs, out)) == 0
    assert not loads  # nothing is left to do, and nothing is read


def test_a_folder_of_other_settings_is_refused(whole, runs):
    with pytest.raises(
        ValueError, match=r"begun with other settings: seed=1, was 0; sampling.steps=3, was 2\."
    ):
        draw(*command(runs, whole, "--seed=1", "--steps=3"))
    (runs / "one.txt").write_text("a\n")
    with pytest.raises(ValueError, match=r"prompts=1, was 5; prompts.sha256="):
        draw(*command(runs, whole, "--prompts", runs / "one.txt"))


def test_samples_without_settings_are_refused(runs, whole, tmp_path):
    shutil.copy(whole / "000000-0000.png", tmp_path)
    with pytest.raises(ValueError, match=r"has results but no settings\.json"):
        draw(*command(runs, tmp_path))


@pytest.mark.full
def test_prompts_have_their_own_negative_and_seed(whole, runs, tmp_path):
    """A line of .jsonl that says nothing of it gives the picture of the plain line; its own seed and negative count."""
    lines = [{"prompt": PROMPTS[0]}, {"prompt": PROMPTS[0], "number": 0, "seed": 0}]
    lines += [
        {"prompt": PROMPTS[0], "number": 0, "seed": 5},
        {"prompt": PROMPTS[0], "number": 0, "negative": "b"},
    ]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    given = ["--checkpoint", runs / "text", "--prompts", tmp_path / "p.jsonl", "--format", "npy"]
    assert draw(*given, "--out", tmp_path / "out") == 0
    plain, same, seed, negative = (np.load(tmp_path / "out" / f"{i:06d}-0000.npy") for i in range(4))
    np.testing.assert_array_equal(plain, same)
    np.testing.assert_array_equal(plain, one_file.read(whole / "000000-0000.png"))
    assert not np.array_equal(plain, seed)
    assert not np.array_equal(plain, negative)


def test_classes_in_turn_and_adms_file(runs, tmp_path):
    given = ["--checkpoint", runs / "classes", "--count", 12, "--out", tmp_path / "out"]
    assert draw(*given, "--npz", tmp_path / "a.npz") == 0
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["arr_0"].shape == (12, 8, 8, 1)
        assert arrays["arr_0"].dtype == np.uint8
        assert arrays["arr_1"].tolist() == [*range(10), 0, 1]
        eleventh = np.asarray(Image.open(tmp_path / "out" / "000000-0001.png"))
        np.testing.assert_array_equal(arrays["arr_0"][10, ..., 0], eleventh)


def test_the_stream_holds_one_sample_at_a_time(tmp_path):
    alive = []

    def samples():
        for number in range(50):
            sample = np.full((4, 4, 3), number, np.uint8)
            alive.append(number)
            yield sample

    npz_stream.write(tmp_path / "a.npz", samples(), (50, 4, 4, 3), np.arange(50))
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["arr_0"][:, 0, 0, 0].tolist() == alive == list(range(50)) == arrays["arr_1"].tolist()
    with pytest.raises(ValueError, match="50 samples, not 51"):
        npz_stream.write(tmp_path / "b.npz", samples(), (51, 4, 4, 3))
    with pytest.raises(ValueError, match="sample 0 is uint8 of shape"):
        npz_stream.write(tmp_path / "b.npz", samples(), (50, 4, 5, 3))


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("--count=0", "--count=0 must be at least 1"),
        ("--label=3", "--label=3 must not be given: the model has model.condition='text'"),
        ("--format=npy --size=7x7x7", "--size=7x7x7 must be HEIGHTxWIDTH"),
        ("--vae=x --from-release=y", "must be left out with --from-release"),
        ("--key=ema", "--key=ema goes with --from-release"),
        ("--guidance=1 --negative=b", "--guidance=1 is none, so that --negative"),
        ("--steps=0", "sampling.steps is 0; it must be at least 1"),
        ("--cache=magcache", "needs magcache.json in the run's folder"),
    ],
)
def test_what_is_wrong_is_a_line(runs, tmp_path, more, line, capsys):
    with pytest.raises((ValueError, SystemExit)) as error:
        draw(*command(runs, tmp_path / "out", *more.split()))
    assert line in str(error.value) + capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_summary_of_films(tmp_path):
    place = folder.Folder(tmp_path)
    plan = folder.Plan(2, 1, 1, None, 2, ".mp4")
    for unit in plan.group(0):
        film = np.full((3, 10, 12, 3), 200, np.uint8)
        one_file.write(tmp_path / plan.name(unit), film, {metadata.KEY: "x"}, fps=8)
        assert metadata.read(tmp_path / plan.name(unit)) == {metadata.KEY: "x"}
        assert one_file.read(tmp_path / plan.name(unit)).shape == (3, 10, 12, 3)
    picture = np.asarray(Image.open(folder.write_summary(place, plan)))
    assert (np.abs(picture.astype(int) - 200) < 10).mean() > 0.3


def killed_and_started_again(place, count, limit, batch):
    """`count` samples of one prompt on two processes, one killed with -9 in the middle; launch/processes.py restarts.

    Returns:
      The folder, what was there when the process was killed as {name: (inode, time of change)}, and the log.
    """
    out = place / "out"
    words = [
        sys.executable,
        "launch/processes.py",
        "--processes=2",
        "--max-restarts=1",
        "--",
        sys.executable,
        "-m",
    ]
    words += ["ptdit_jax.sample.many", *map(str, command(place, out, f"--batch={batch}")), f"--count={count}"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        words, cwd=ROOT, env=os.environ | cache(place), stdout=pipe, stderr=subprocess.STDOUT, text=True
    )
    try:
        until = time.monotonic() + 300
        while (made := len(contents(out))) < limit:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until, made
            time.sleep(0.01)
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(workers[1]), signal.SIGKILL)
        before = {path.name: stamp(path) for path in sorted(out.glob("*-*.png"))}
        log, _ = process.communicate(timeout=500)
        assert process.returncode == 0, log
    finally:
        process.kill()
    return out, before, log


def cache(place):
    return {
        "JAX_COMPILATION_CACHE_DIR": str(place / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.0",
    }


def stamp(path):
    return path.stat().st_ino, path.stat().st_mtime_ns


def check_two_processes(runs, tmp_path, count, limit, batch):
    for name in ("text", "prompts.txt"):
        (tmp_path / name).symlink_to(runs / name)
    out, before, log = killed_and_started_again(tmp_path, count, limit, batch)
    total = count * len(PROMPTS)
    assert "restart 1 of 1" in log
    assert len(contents(out)) == total
    assert limit <= len(before) < total
    assert {name: stamp(out / name) for name in before} == before  # what was there was not made again
    alone = command(runs, tmp_path / "alone", f"--batch={batch}", f"--count={count}")
    words = [sys.executable, "-m", "ptdit_jax.sample.many", *map(str, alone)]
    environment = os.environ | cache(tmp_path) | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    subprocess.run(words, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert contents(out) == contents(tmp_path / "alone")


@pytest.mark.full  # four starts of a process
def test_killed_on_two_processes_and_started_again(runs, tmp_path):
    """`kill -9` to one of two processes in the middle: the same files to the byte, none made twice."""
    check_two_processes(runs, tmp_path, count=16, limit=12, batch=4)


@pytest.mark.full
def test_500_prompts_killed_on_two_processes(runs, tmp_path, monkeypatch):
    """500 prompts on two processes, one of them killed in the middle: the same 500 files, none made twice."""
    place = tmp_path / "five hundred"
    place.mkdir()
    (place / "text").symlink_to(runs / "text")
    many_prompts = [f"prompt number {number}" for number in range(500)]
    (place / "prompts.txt").write_text("\n".join(many_prompts))
    monkeypatch.setattr(sys.modules[__name__], "PROMPTS", many_prompts)
    (tmp_path / "work").mkdir()
    check_two_processes(place, tmp_path / "work", count=1, limit=200, batch=4)
