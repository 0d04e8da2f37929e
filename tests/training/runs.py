"""Runs as real processes, and what they leave."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

ROOT = Path(__file__).parents[2]


def start(workdir, arguments, *, before=(), **environment):
    """A training process; `before` are words in front of its command."""
    command = [
        sys.executable,
        "-m",
        "ptdit_jax.train",
        "--config=configs/c2i_digits.py",
        f"--workdir={workdir}",
    ]
    return subprocess.Popen(
        [*before, *command, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def run(workdir, arguments, *, expect=0, **options):
    """A training process to its end: what it printed."""
    process = start(workdir, arguments, **options)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == expect, output
    return output


def wait_until(process, condition, seconds=300):
    """Wait for a condition while the process runs."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"ended too early:\n{process.stdout.read()}"
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.001)


def rows(workdir):
    """The number of complete rows of metrics.csv."""
    path = workdir / "metrics.csv"
    return max(path.read_bytes().count(b"\n") - 1, 0) if path.exists() else 0


def checkpoints(workdir):
    """The names in the folder of checkpoints."""
    folder = workdir / "checkpoints"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def numbers(checkpoint, part="params"):
    """One part of a checkpoint, whatever devices it was written on."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        leaves = checkpointer.metadata(checkpoint / part).item_metadata.tree
        plain = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), leaves)
        return checkpointer.restore(checkpoint / part, args=ocp.args.PyTreeRestore(restore_args=plain))


def contents(checkpoint):
    """Everything in a checkpoint."""
    items = {path.name for path in checkpoint.iterdir() if path.is_dir()}
    trees = {
        name: ocp.StandardCheckpointer().restore(checkpoint / name) for name in items - {"progress", "config"}
    }
    for name in ("progress", "config"):
        trees[name] = json.loads(next((checkpoint / name).glob("meta*")).read_text())
    return trees
