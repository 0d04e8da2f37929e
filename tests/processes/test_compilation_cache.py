"""Compiled programs that are kept: where there is no home, and where a file is damaged."""

import json
import os
import pwd
import subprocess
import sys

import jax
import pytest

from ptdit_jax.processes import compilation_cache
from tests.training.runs import ROOT

DAMAGES = {
    "truncated": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "flipped": lambda data: data[:100] + bytes([data[100] ^ 16]) + data[101:],
}
CODE = """
import json, pathlib, sys, warnings
import jax
from ptdit_jax.processes import compilation_cache
from tests.processes.test_compilation_cache import DAMAGES

warnings.simplefilter("error")
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if "cache_hits" in event else None)
folder = compilation_cache.enable()
compilation_cache.enable()  # as an entry point that calls another one

def compiled():
    '''Whether it came from the folder, and its file.'''
    hits.clear()
    assert float(jax.jit(lambda x: x * 3 + 1)(2.0)) == 7
    (file,) = folder.glob("*lambda*-cache")
    return bool(hits), file

assert not compiled()[0]
found = {}
for name, damage in DAMAGES.items():
    hit, file = compiled()
    assert hit
    file.write_bytes(damage(file.read_bytes()))
    found[name] = [compiled()[0], compiled()[0]]
print(json.dumps(found))
"""


def test_damaged_programs_are_replaced_with_a_line_each(tmp_path):
    folder = tmp_path / "xla"
    variables = {"JAX_COMPILATION_CACHE_DIR": str(folder), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=ROOT,
        env=os.environ | variables,
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {name: [False, True] for name in DAMAGES}
    lines = done.stderr.splitlines()
    assert len(lines) == len(DAMAGES), done.stderr
    for line in lines:
        assert line.startswith(f"warning: {folder}/jit__lambda")
        assert line.endswith("; it is compiled and kept anew")


@pytest.fixture
def no_cache_given():
    """Without the folder that other tests of this process may use."""
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_without_a_home_programs_are_not_kept(no_cache_given, monkeypatch, capsys):
    def no_entry(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert compilation_cache.enable() is None
    line = capsys.readouterr().err
    assert line.startswith(
        "warning: compiled programs are not kept for the next run: Could not determine home"
    )
    assert line.endswith("; JAX_COMPILATION_CACHE_DIR may name another folder\n")
    assert line.count("\n") == 1
    assert jax.config.values["jax_compilation_cache_dir"] is None


def test_a_folder_that_cannot_be_made_is_told(no_cache_given, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compilation_cache.enable() is None
    assert str(tmp_path / "file") in capsys.readouterr().err
