"""Files of `torch.save`: harmless types beside the tensors are read by name, and nothing is run."""

import argparse
import collections
import datetime
import os
import pathlib
import pickle
import subprocess

import numpy as np
import pytest
import torch

from ptdit_jax.weight_files import pickles

W = torch.ones(2, 2)


@pytest.mark.parametrize(
    "value",
    [
        argparse.Namespace(model="DiT-XL/2", lr=1e-4, nested=argparse.Namespace(a=[1, None])),
        np.float64(1.5),
        np.float32(1.5),
        np.int64(3),
        np.bool_(True),
        np.str_("text"),
        np.arange(6, dtype=np.int16).reshape(2, 3),
        np.asfortranarray(np.ones((2, 3))),
        np.dtype(">f4"),
        np.array(["a", "bc"]),
        pathlib.PosixPath("/data/imagenet"),
        pathlib.PurePosixPath("a/b"),
        pathlib.PureWindowsPath("c:/data"),
        collections.defaultdict(list, {"a": [1]}),
        collections.defaultdict(int, {"a": 1}),
        collections.OrderedDict(a=1),
        collections.Counter("aab"),
        {"set": {1, 2}, "bytes": b"12", "complex": 1j, "device": torch.device("cpu"), "dtype": torch.float16},
    ],
    ids=repr,
)
@pytest.mark.parametrize("zipped", [True, False])
def test_harmless_types(value, zipped, tmp_path):
    torch.save({"w": W, "args": {"value": value}}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    tensors, args = pickles.read(tmp_path / "w.pt")
    assert tensors.keys() == {"w"}
    read = args["value"]
    if isinstance(value, pathlib.PurePath):
        assert str(read) == str(value)
    elif isinstance(value, np.ndarray):
        np.testing.assert_array_equal(read, value)
        assert read.dtype == value.dtype
    else:
        assert read == value
        assert type(read) is (dict if isinstance(value, collections.defaultdict) else type(value))


@pytest.mark.parametrize(
    ("old", "new"),
    [("numpy._core.multiarray", "numpy.core.multiarray"), ("pathlib", "pathlib._local")],
)
def test_names_of_other_versions(old, new, tmp_path):
    """numpy 1's modules, and the pathlib of Python 3.13."""
    value = {"array": np.ones(2), "number": np.float64(2), "path": pathlib.PosixPath("a")}
    torch.save({"w": W, "args": value}, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "w.pt").read_bytes()
    pattern = b"c" + old.encode() + b"\n"
    assert pattern in content
    (tmp_path / "w.pt").write_bytes(content.replace(pattern, b"c" + new.encode() + b"\n"))
    _, args = pickles.read(tmp_path / "w.pt")
    assert args["number"] == 2
    assert str(args["path"]) == "a"
    assert args["array"].tolist() == [1, 1]


class Calls:
    """Calls something where it is unpickled without care."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class State:
    """Is built and then given a state."""

    def __reduce__(self):
        return argparse.Namespace, (), {"a": 1}


HOSTILE = {
    "system": Calls(os.system, "touch was_run"),
    "eval": Calls(eval, "open('was_run', 'w')"),
    "popen": Calls(subprocess.Popen, ["touch", "was_run"]),
    "open": Calls(open, "was_run", "w"),
    "getattr": Calls(getattr, pathlib.PosixPath("was_run"), "touch"),
    "loads": Calls(pickle.loads, pickle.dumps(Calls(os.system, "touch was_run"))),
    "factory": collections.defaultdict(os.getcwd),
    "objects": np.array([Calls(os.system, "touch was_run")], dtype=object),
    "date": datetime.date(2024, 1, 1),
    "touch": Calls(pathlib.Path.touch, pathlib.PosixPath("was_run")),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_run(name, zipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value = {"w": W, "args": argparse.Namespace(x=HOSTILE[name])}
    torch.save(value, "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        ValueError, match=r"w.pt is not read: it (wants to call|is damaged or holds more)"
    ) as error:
        pickles.read(pathlib.Path("w.pt"))
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["w.pt"]


def test_nothing_harmless_opens_a_file(tmp_path):
    """What is allowed by name only holds values: a path is one that cannot touch a disk."""
    torch.save({"w": W, "args": {"path": pathlib.PosixPath("/etc/passwd")}}, tmp_path / "w.pt")
    assert not hasattr(pickles.read(tmp_path / "w.pt")[1]["path"], "open")
    before = set(torch.serialization.get_safe_globals())  # PyTorch gives them in any order
    pickles.read(tmp_path / "w.pt")
    assert set(torch.serialization.get_safe_globals()) == before
