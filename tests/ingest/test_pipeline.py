"""The pipeline itself, by launch/ingest.sh: it installs .venv-beam, so these tests are of the full suite."""

import json
import os
import signal
import subprocess
import time

import pyarrow.parquet as pq
import pytest
import webdataset

from tests.training.runs import ROOT

pytestmark = pytest.mark.full
FLAGS = ("--shard-size=5", "--dedupe=perceptual", "--min-caption-chars=3")
SMALL = [f"small{seed}.png" for seed in range(5)]


def ingest(*arguments, environment=None):
    command = ["bash", "launch/ingest.sh", *map(str, arguments)]
    variables = os.environ | (environment or {})
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, env=variables)


def results(out):
    """{name: bytes} of all that a run is for; settings name no folder of results."""
    names = [*out.glob("*.tar"), *out.glob("0*.parquet"), *out.glob("quarantine/*"), *out.glob("report.*")]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in names}


@pytest.fixture
def source(folder):
    for name in SMALL:
        (folder / name).with_suffix(".txt").write_text("a small one")
    for name in ("copy", "pixels", "torn"):
        (folder / name).with_suffix(".txt").write_text("another")
    (folder / "mute.jpg").write_bytes((folder / "11.jpg").read_bytes())
    return folder


@pytest.fixture
def one(source, tmp_path):
    done = ingest("--source", source, "--out", tmp_path / "one", *FLAGS)
    assert done.returncode == 0, done.stderr
    return tmp_path / "one"


def test_a_folder_becomes_shards(source, one):
    lines = [json.loads(line) for line in (one / "quarantine" / "00000.jsonl").read_text().splitlines()]
    expected = {name: "near_duplicate" for name in SMALL}
    expected |= {"copy.jpg": "bytes_duplicate", "pixels.png": "pixels_duplicate"}
    expected |= {"torn.jpg": "damaged", "mute.jpg": "no_caption"}
    assert {line["key"]: line["reason"] for line in lines} == expected
    report = json.loads((one / "report.json").read_text())
    assert (report["read"], report["kept"], report["shards"]) == (33, 24, 5)
    rows = [row for path in sorted(one.glob("0*.parquet")) for row in pq.read_table(path).to_pylist()]
    urls = sorted(map(str, one.glob("*.tar")))
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [row["key"] for row in rows]
    assert [row["source_key"] for row in rows] == [f"{seed:02d}.jpg" for seed in range(24)]
    assert [sample["jpg"] for sample in samples] == [
        path.read_bytes() for path in sorted(source.glob("[0-9]*.jpg"))
    ]
    python = ROOT / ".venv-beam" / "bin" / "python"
    code = "import imagehash, sys; from PIL import Image; [print(imagehash.phash(Image.open(p))) for p in sys.argv[1:]]"
    paths = [row["source"] for row in rows]
    hashes = subprocess.run(
        [python, "-c", code, *paths], capture_output=True, text=True, check=True
    ).stdout.split()
    assert [row["phash"] for row in rows] == hashes


def test_two_workers_give_the_same_bytes(source, one, tmp_path):
    done = ingest("--source", source, "--out", tmp_path / "two", *FLAGS, "--direct_num_workers", 2)
    assert done.returncode == 0, done.stderr
    assert results(tmp_path / "two") == results(one)


def test_a_killed_run_goes_on(source, one, tmp_path):
    out = tmp_path / "killed"
    command = ["bash", "launch/ingest.sh", "--source", source, "--out", out, *FLAGS]
    run = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not list(out.glob("*.tar")):
        assert run.poll() is None
        assert time.monotonic() < end
        time.sleep(0.002)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    (out / "unfinished").mkdir(exist_ok=True)
    (out / "unfinished" / "half").write_bytes(b"x")
    done = ingest("--source", source, "--out", out, *FLAGS)
    assert done.returncode == 0, done.stderr
    assert results(out) == results(one)
    assert not (out / "unfinished").exists()
    again = ingest("--source", source, "--out", out, *FLAGS)
    assert again.returncode == 0
    assert "finished already" in again.stdout


def test_its_own_shards_are_a_source_that_keeps_all(one, tmp_path):
    done = ingest("--source", one, "--out", tmp_path / "again", "--shard-size=5", "--dedupe=perceptual")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "again" / "report.json").read_text())["kept"] == 24


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--min-side=5000"], "nothing is left of 33 samples: 33 too_small"),
        (["--min-sides=3"], "--min-sides is no flag of ingest, nor of Apache Beam"),
        (["--runner=Nothing"], "--runner Nothing: Unexpected pipeline runner"),
        (["--direct_num_workers=x"], "--direct_num_workers: invalid int value: 'x'"),
        (["--format=webdataset"], "holds nothing of --format webdataset"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(source, tmp_path, flags, message):
    done = ingest("--source", source, "--out", tmp_path / "out", *flags)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert message in errors[0], errors
    assert "Traceback" not in done.stderr


def test_a_folder_that_was_begun_otherwise_is_left_alone(source, one):
    before = results(one)
    done = ingest("--source", source, "--out", one, "--shard-size=6")
    assert done.returncode == 2
    assert "was begun with" in done.stderr
    assert results(one) == before


MEMORY = """
import os, sys
from apache_beam.io.localfilesystem import LocalFileSystem
from apache_beam.io import filesystems

class Remote(LocalFileSystem):
    "A file system behind a URL: test:///x is /x."

    @classmethod
    def scheme(cls):
        return "test"

def plain(path):
    return path.removeprefix("test://")

for name in ("create", "open", "exists", "mkdirs"):
    def call(self, path, *rest, _of=getattr(LocalFileSystem, name), **more):
        return _of(self, plain(path), *rest, **more)
    setattr(Remote, name, call)
Remote.rename = lambda self, old, new: LocalFileSystem.rename(self, list(map(plain, old)), list(map(plain, new)))
Remote.delete = lambda self, paths: [os.remove(plain(path)) for path in paths]

def match(self, patterns, limits=None):
    found = LocalFileSystem.match(self, list(map(plain, patterns)))
    for result in found:
        for entry in result.metadata_list:
            entry.path = "test://" + entry.path
    return found
Remote.match = match
Remote.join = lambda self, base, *paths: "/".join([base, *paths])

from data_pipelines.ingest import __main__
sys.exit(__main__._run(sys.argv[1:]))
"""


def test_urls_go_through_beam(source, one, tmp_path):
    python = ROOT / ".venv-beam" / "bin" / "python"
    arguments = ["--source", f"test://{source}", "--out", f"test://{tmp_path}/remote", *FLAGS]
    command = [python, "-c", MEMORY, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    keys = [
        pq.read_table(place / "00003.parquet")["source_key"].to_pylist()
        for place in (one, tmp_path / "remote")
    ]
    assert keys[0] == keys[1]
