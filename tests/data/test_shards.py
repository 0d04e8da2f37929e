"""Many files under the usual limits: they are open when read, a bounded number at a time."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from configs import common
from data_pipelines import folders, make_loader, open_source
from data_pipelines.folders import ArrayFolder
from data_pipelines.records import ArrayRecords

FEW = """
import os, resource, sys, threading
import numpy as np
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
{source}
rng = np.random.default_rng(0)
problems = []
def read():
    try:
        for record in rng.permutation(len(source))[:{reads}].tolist():
            check(source[record], record)
    except BaseException as error:
        problems.append(error)
threads = [threading.Thread(target=read) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not problems, problems
print(len(source), len(os.listdir("/proc/self/fd")))
"""
FOLDER = """
from data_pipelines.folders import ArrayFolder
source = ArrayFolder(sys.argv[1])
def check(sample, record):
    shard, place = divmod(record, 2)
    assert sample["x"][0, 0, 0, 0] == shard
    assert sample["label"] == shard % 7
    assert (sample["text"] == place).all()
"""
RECORDS = """
from types import SimpleNamespace
from data_pipelines.records import ArrayRecords
files = sorted(os.listdir(sys.argv[1]))
part = dict(skip=1, take=2, examples_in_shard=4)
source = ArrayRecords([SimpleNamespace(filename=os.path.join(sys.argv[1], f), **part) for f in files])
def check(record, number):
    assert record == f"{number // 2 % 8} {number % 2 + 1}".encode()
"""


def read(folder, source, *, limit, reads):
    """Records, and files that are open at the end."""
    script = FEW.format(limit=limit, source=source, reads=reads)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return tuple(map(int, done.stdout.split()))


def shards(folder, count):
    """A folder of shards, two records each."""
    for shard in range(count):
        np.savez(
            folder / f"{shard:05d}.npz",
            x=np.full((2, 1, 1, 1), shard, np.float32),
            label=np.full(2, shard % 7),
            text=np.repeat(np.arange(2, dtype=np.float32), 2).reshape(4, 1),
            text_length=[2, 2],
        )


@pytest.mark.parametrize(
    ("count", "limit"), [(600, 192), pytest.param(10_000, 256, marks=pytest.mark.full)], ids=["600", "10000"]
)
def test_folders_of_many_shards(tmp_path, count, limit):
    shards(tmp_path, count)
    records, still_open = read(tmp_path, FOLDER, limit=limit, reads=2 * count)
    assert records == 2 * count
    assert still_open < 150  # OPEN shards of one file each, mapped twice


def record_files(folder, count):
    """A folder of ArrayRecord files of four records each; the ninth is the first again, for each has 128 KiB."""
    for shard in range(count):
        path = folder / f"{shard:05d}.array_record"
        if shard >= 8:
            path.hardlink_to(folder / f"{shard % 8:05d}.array_record")
            continue
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for place in range(4):
            writer.write(f"{shard} {place}".encode())
        writer.close()


@pytest.mark.parametrize(
    ("count", "limit"), [(400, 192), pytest.param(10_000, 256, marks=pytest.mark.full)], ids=["400", "10000"]
)
def test_many_array_record_files(tmp_path, count, limit):
    record_files(tmp_path, count)
    records, still_open = read(tmp_path, RECORDS, limit=limit, reads=2 * count)
    assert records == 2 * count
    assert still_open < 160


def test_what_a_caller_keeps_holds_no_file_open(tmp_path):
    shards(tmp_path, 300)
    source = ArrayFolder(str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    kept = [source[record] for record in range(len(source))]
    assert len(kept) == 600
    assert len(os.listdir("/proc/self/fd")) - before <= 2 * folders.OPEN
    del source  # closes what is open, at once: nothing refers to itself
    assert len(os.listdir("/proc/self/fd")) == before


def test_headers_are_read_once_until_a_file_changes(tmp_path, monkeypatch):
    shards(tmp_path, 3)
    looks = []
    open_npz = folders.open_npz
    monkeypatch.setattr(
        folders, "open_npz", lambda path, *names: looks.append(path) or open_npz(path, *names)
    )
    data = common.get_config().data
    data.update(dict(name="arrays", path=str(tmp_path), frames=1, height=1, width=1, batch=2))
    first = open_source(data)
    make_loader(data, seed=0)
    assert open_source(data) is first
    assert len(looks) == 3
    np.savez(
        tmp_path / "00003.npz",
        x=np.ones((2, 1, 1, 1)),
        label=[0, 1],
        text=np.ones((2, 1)),
        text_length=[1, 1],
    )
    with pytest.raises(ValueError, match=r"00003\.npz: 'text' has dtype float64"):
        open_source(data)
    (tmp_path / "00003.npz").unlink()
    (tmp_path / "00002.npz").unlink()
    assert len(open_source(data)) == 4


def test_files_that_are_lost_or_damaged_are_named(tmp_path):
    record_files(tmp_path, 2)
    good = (tmp_path / "00000.array_record").read_bytes()
    cases = {
        "lost": (None, "is no file"),
        "empty": (b"", "the file has 0 records"),
        "half": (good[: len(good) // 2], "the file has 0 records, must have at least 4"),
        "flipped": (good[:230] + bytes([good[230] ^ 16]) + good[231:], "hash mismatch"),
        "longer": (good, None),
    }
    path = tmp_path / "00001.array_record"
    for name, (content, message) in cases.items():
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        records = ArrayRecords(
            [
                SimpleNamespace(filename=str(tmp_path / f"0000{i}.array_record"), skip=0, take=4)
                for i in (0, 1)
            ]
        )
        assert records[3] == b"0 3"
        if message is None:
            assert records[7] == b"0 3"
            continue
        with pytest.raises(ValueError, match=message) as caught:
            [records[number] for number in range(4, 8)]
        assert str(caught.value).startswith(f"{path}: record "), name
    with pytest.raises(ValueError, match="has 4 records, must have at least 5"):
        ArrayRecords([SimpleNamespace(filename=str(path), skip=1, take=4)])[0]
