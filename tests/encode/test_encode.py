"""Raw records to shards: the same bytes on any number of hosts and after a kill, and what cannot be used is listed."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from array_record.python.array_record_data_source import ArrayRecordDataSource
from PIL import Image

from benchmarks import make_raw_demo
from configs import t2i_raw_digits
from data_pipelines.raw import decode, fit, open_raw
from data_pipelines.shards.dataset import ShardedDataset
from data_pipelines.shards.index import read_index
from data_pipelines.shards.record import text_of, unpack
from ptdit_jax import cli
from ptdit_jax.encode.__main__ import start as start_here
from ptdit_jax.encoders.text import open_text_encoder

ROOT = Path(__file__).parents[2]
COUNT, FILMS = 40, 4


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """40 PNGs and 4 films with captions, and among them what nobody can use."""
    folder = tmp_path_factory.mktemp("raw")
    make_raw_demo.make_images(folder / "images", COUNT, 32)
    make_raw_demo.make_videos(folder / "videos", FILMS, 32, 5, 8)
    images = folder / "images"
    (images / "cut.png").write_bytes((images / "00000.png").read_bytes()[:200])
    Image.new("RGB", (16, 16)).save(images / "small.png")
    Image.new("RGB", (400, 40)).save(images / "wide.png")
    for name in ("cut", "small", "wide"):
        (images / f"{name}.txt").write_text(name)
    Image.new("RGB", (32, 32)).save(images / "mute.png")
    return folder


def command(raw, out, *more):
    return [
        sys.executable, "-m", "ptdit_jax.encode", "--config=configs/t2i_raw_digits.py", "--config.encode.unit=12",
        f"--source=images:{raw}/images", f"--source=videos:{raw}/videos", f"--out={out}", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("xla")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.0",
    }


@pytest.fixture(scope="module")
def start(environment):
    def start(words, hosts=None):
        if hosts:
            words = [sys.executable, "launch/processes.py", *hosts.split(), "--", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)

    return start


@pytest.fixture(scope="module")
def encode(start):
    def encode(raw, out, *more, code=0, hosts=None):
        process = start(command(raw, out, *more), hosts)
        output, errors = process.communicate(timeout=300)
        assert process.returncode == code, errors
        return output, errors

    return encode


@pytest.fixture(scope="module")
def whole(raw, encode, tmp_path_factory):
    """The shards of one process with one device, and what it said."""
    out = tmp_path_factory.mktemp("whole")
    return out, encode(raw, out)[0]


def contents(out):
    """All that training reads, and the list of what was left out."""
    names = [*out.glob("*.array_record"), out / "index.json", out / "null_text.npz", out / "quarantine.jsonl"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in names}


def stored(out):
    """Every record by its key."""
    found = {}
    for path in sorted(out.glob("*.array_record")):
        with ArrayRecordDataSource(str(path)) as source:
            records = [unpack(source[number]) for number in range(len(source))]
            found |= {text_of(record["key"]): record for record in records}
    return found


def test_records_hold_what_the_encoders_make_of_each_alone(raw, whole):
    """Pixels resized by `fit` alone, and states of a caption that are encoded by `TextEncoder.states`."""
    records = stored(whole[0])
    assert len(records) == COUNT + FILMS
    source = open_raw("images", f"{raw}/images")
    config = t2i_raw_digits.get_config()
    text = open_text_encoder(config.text_encoder, length=config.model.text_length)
    good = [source[i] for i in range(len(source)) if source[i].key in records]
    assert len(good) == COUNT
    for record, state in zip(good, text.states([record.caption for record in good]), strict=True):
        found = records[record.key]
        mean = found["moments"].view(ml_dtypes.bfloat16).astype(np.float32)[:3]
        frames = decode(record)
        wanted = fit(frames, *mean.shape[2:]).astype(np.float32) / 127.5 - 1
        np.testing.assert_allclose(mean, np.moveaxis(wanted, -1, 0), atol=2**-8)
        assert tuple(found["size"]) == frames.shape[1:3]
        got = found["text"].view(ml_dtypes.bfloat16).astype(np.float32)
        assert got.shape == state.shape
        np.testing.assert_allclose(got, state.astype(np.float32), atol=0.1)


def test_what_cannot_be_used_is_listed_and_training_reads_the_rest(whole):
    out, said = whole
    lines = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
    reasons = {Path(line["key"]).stem: line["reason"] for line in lines}
    assert reasons == {"cut": "damaged", "small": "too_small", "wide": "aspect", "mute": "no_caption"}
    assert all(line["text"] for line in lines)
    index = read_index(out)
    assert index.records == COUNT + FILMS
    assert index.facts["left_out"] == dict.fromkeys(sorted(reasons.values()), 1)
    dataset = ShardedDataset(str(out))
    dataset.verify()
    assert dataset.text.null is not None
    assert "left out: 4 records" in said
    assert Image.open(out / "summary.png").size[0] > 1000


def test_the_same_command_again_says_that_all_is_done(raw, whole, capsys):
    before = contents(whole[0])
    assert cli.run(lambda: start_here(command(raw, whole[0])[2:])) == 0
    assert "all done: 44 records" in capsys.readouterr().out
    assert contents(whole[0]) == before


def wait_for_units(out, process):
    units = out / "units"
    while not list(units.glob("0*.json")) and process.poll() is None:
        time.sleep(0.002)
    return units


def test_hosts_devices_and_kills_change_no_byte(raw, encode, start, whole, tmp_path):
    """Two hosts of two devices are killed when some units are done; two with one device go on."""
    process = start(command(raw, tmp_path), "--processes=2 --devices=2")
    units = wait_for_units(tmp_path, process)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    done = {path.name: path.stat().st_mtime_ns for path in units.glob("0*.json")}
    assert 0 < len(done) < 4, errors
    assert not (tmp_path / "index.json").exists()
    (tmp_path / "unfinished-000003-1x32x32-00.array_record").write_bytes(b"half")
    encode(raw, tmp_path, hosts="--processes=2")
    assert contents(tmp_path) == contents(whole[0])
    assert done.items() <= {path.name: path.stat().st_mtime_ns for path in units.glob("0*.json")}.items()


def one_line(errors):
    lines = [line for line in errors.splitlines() if line.startswith("error")]
    assert len(lines) == 1, errors
    assert "Traceback" not in errors
    return lines[0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--config.text_encoder.clean=none", "text_encoder.clean='none', was 'strip'"),
        ("--source=digits", "source 3='digits', was None"),
        ("--config.model.text_dim=64", "model.text_dim=64 must be 128"),
        ("--config.data.height=36", "data.height=36, was 32"),
    ],
)
def test_another_config_source_or_encoder_is_refused_in_a_line(raw, whole, more, message, capsys):
    before = contents(whole[0])
    refuses(message, command(raw, whole[0], more), capsys)
    assert contents(whole[0]) == before


@pytest.mark.parametrize(
    ("out", "more", "message"),
    [
        ("images/out", [], "must not lie in --source"),
        ("new", ["--source=photos:x"], "--source=photos:x: must be NAME or NAME:PATH"),
        ("new", ["--source=images:/nowhere"], "--source: images"),
        ("new", ["--source=digits?side"], "'side' must be OPTION=VALUE"),
        ("new", ["--config.autoencoder.path="], "autoencoder.path is empty"),
        ("new", ["--config.text_encoder.path="], "text_encoder.path is empty"),
        ("new", ["--config.encode.clip=end"], "encode.clip='end' is unknown"),
        ("new", ["--config.model.channels=4"], "model.channels=4 must be 3"),
        ("new", ["--config.data.pixels_per_latent=8"], "data.pixels_per_latent=8 must be 1"),
        ("new", ["--workdir=x"], "--out names the folder"),
    ],
)
def test_what_cannot_be_encoded_is_refused_in_a_line(raw, out, more, message, capsys):
    refuses(message, command(raw, raw / out, *more), capsys)
    assert not list((raw / out).rglob("*.array_record"))


def refuses(message, words, capsys):
    assert cli.run(lambda: start_here(words[2:])) == 2
    assert message in one_line(capsys.readouterr().err)


def test_nothing_left_is_an_error_that_says_why(raw, tmp_path, capsys):
    words = command(raw, tmp_path, "--config.encode.min_side=4000")
    assert cli.run(lambda: start_here(words[2:])) == 1
    line = one_line(capsys.readouterr().err)
    assert line.startswith("error: nothing is left of the 48 records (too_small 4")
    assert len((tmp_path / "quarantine.jsonl").read_text().splitlines()) == 48


def test_a_full_disk_is_one_line(raw, start, tmp_path):
    """A limit on the size of files stands for it: the system refuses the rest of a write likewise."""
    more = ("--config.encode.batch=8", "--config.encode.captions=8")
    process = start(["bash", "-c", 'ulimit -f 40; exec "$@"', "-", *command(raw, tmp_path, *more)])
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 1, errors
    assert ".array_record" in one_line(errors)


def test_sigterm_ends_after_the_unit_and_what_is_lost_is_made_again(raw, encode, start, whole, tmp_path):
    process = start(command(raw, tmp_path))
    wait_for_units(tmp_path, process)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 143, errors
    assert "the same command goes on" in output
    sorted(tmp_path.glob("0*.array_record"))[0].unlink()
    encode(raw, tmp_path)
    assert contents(tmp_path) == contents(whole[0])
