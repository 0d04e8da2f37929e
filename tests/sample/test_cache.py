"""The command's --cache: calibrated once, then used, said on screen and in the picture."""

import json

import numpy as np
import pytest

from ptdit_jax import cli
from tests.sample.conftest import small


def test_magcache_is_calibrated_then_used_and_said(run, tmp_path, capsys):
    config, out = small(sampling__steps=4), tmp_path / "a.npy"
    command = ("--prompt=a three", "--count=2", f"--out={out}")
    assert cli.run(lambda: run(config, *command, "--cache=magcache")) == cli.USER_ERROR
    assert "needs magcache.json in the run's folder" in capsys.readouterr().err
    assert run(config, *command, "--calibrate-cache") == 0
    plain = np.load(out)
    found = json.loads((tmp_path / "run" / "magcache.json").read_text())
    assert (found["sampler"], found["steps"], found["samples"], len(found["ratios"])) == ("euler", 4, 2, 4)
    capsys.readouterr()

    options = ("--cache=magcache", "--cache-threshold=1e6", "--cache-skips=2", "--cache-first=0.1")
    assert run(config, *command, *options) == 0
    assert "cache magcache: 2 of 4 evaluations reuse what all blocks added" in capsys.readouterr().out
    cached = np.load(out)
    assert 1e-4 < np.abs(cached - plain).max() < 5

    picture = tmp_path / "a.png"
    assert run(config, "--prompt=a three", "--count=1", f"--out={picture}", *options) == 0
    capsys.readouterr()
    assert run(config, f"--show={picture}") == 0
    shown = capsys.readouterr().out
    assert "magcache" in shown
    assert "cache_skips" in shown


@pytest.mark.parametrize("value", ["nan", "-1"])
def test_a_threshold_is_a_number(run, capsys, value):
    assert cli.run(lambda: run(small(), "--prompt=a", f"--cache-threshold={value}")) == cli.USER_ERROR
    assert "threshold=" in capsys.readouterr().err
