"""Many files under the usual limits: they are open when read, a bounded number at a time."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

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
    assert record == f"{number // 2} {number % 2 + 1}".encode()
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


def test_many_array_record_files(tmp_path):
    for shard in range(400):
        writer = ArrayRecordWriter(str(tmp_path / f"{shard:05d}.array_record"), "group_size:1")
        for place in range(4):
            writer.write(f"{shard} {place}".encode())
        writer.close()
    records, still_open = read(tmp_path, RECORDS, limit=192, reads=800)
    assert records == 800
    assert still_open < 160


def test_a_file_that_is_lost_is_named(tmp_path):
    from data_pipelines.records import ArrayRecords

    class File:
        filename, skip, take, examples_in_shard = str(tmp_path / "lost.array_record"), 0, 3, 3

    with pytest.raises(ValueError, match=r"lost\.array_record: record 2 cannot be read"):
        ArrayRecords([File])[2]
