"""The records of a run: which of them a bad step is due to, on several processes too."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

from configs import c2i_digits
from ptdit_jax.experiment import records

BATCH = np.arange(10, 26)  # of 16 records
PART = """
import sys
import jax
address, process, *folders = sys.argv[1:]
jax.distributed.initialize(address, 2, int(process))
from tests.experiment import test_records
for folder in folders:
    print(test_records.blame(folder, *((0, 8) if process == "0" else (8, 16))))
"""


def blame(folder, start=0, stop=16):
    """What is said of step 7, whose batch this process has that part of."""
    config = c2i_digits.get_config()
    config.data.update(dict(name="arrays", path=str(folder)))
    return records.blame(config, Path(folder), 7, BATCH[start:stop])


def write(folder, *bad):
    x = np.zeros((40, 1, 8, 8), np.float32)
    for record in bad:
        x[record, 0, 3, record % 8] = np.nan
    np.savez(folder / "data.npz", x=x)


def test_the_record_at_fault_is_named_and_nothing_written(tmp_path):
    write(tmp_path, 5, 17, 24)  # the first is not in the batch
    assert blame(tmp_path) == "Values that are not finite are in records 17, 24"
    assert [path.name for path in tmp_path.iterdir()] == ["data.npz"]


def test_all_records_are_written_where_the_data_are_finite(tmp_path):
    write(tmp_path, 5)
    path = tmp_path / "bad_step_7.json"
    shown = "10, 11, 12, 13, 14, 15, 16, 17 and 8 more"
    assert blame(tmp_path) == f"The data are finite; records {shown}: all in {path}"
    written = json.loads(path.read_text())
    assert (written["step"], written["records"]) == (7, BATCH.tolist())
    assert written["data"]["path"] == str(tmp_path)


def test_processes_look_at_their_own_records_and_say_the_same(tmp_path):
    folders = [tmp_path / "finite", tmp_path / "not finite"]
    for folder, bad in zip(folders, [(), (12, 23)], strict=True):
        folder.mkdir()
        write(folder, *bad)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{server.getsockname()[1]}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PART, address, str(process), *map(str, folders)],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    said, errors = zip(*(process.communicate(timeout=200) for process in processes), strict=True)
    shown = "10, 11, 12, 13, 14, 15, 16, 17 and 8 more"
    for lines in said:
        assert lines.splitlines()[-2:] == [
            f"The data are finite; records {shown}: all in {folders[0]}/bad_step_7.json",
            "Values that are not finite are in records 12, 23",
        ], errors
    assert json.loads((folders[0] / "bad_step_7.json").read_text())["records"] == BATCH.tolist()
    assert not (folders[1] / "bad_step_7.json").exists()
