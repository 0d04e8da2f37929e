"""Two processes and a damaged checkpoint: one decides, both go on from the same step or end with the same line."""

import os
import subprocess
import sys

from ptdit_jax.training import checksums, integrity
from tests.training import runs


def test_both_agree_where_to_go_on(tmp_path, environment):
    folder = tmp_path / "checkpoints"

    def lines(what, expect=0):
        command = [sys.executable, "-m", "tests.launch.checkpoints", str(folder), what]
        done = subprocess.run(
            [sys.executable, "launch/processes.py", "--processes=2", "--", *command],
            cwd=runs.ROOT,
            env=os.environ | environment,
            text=True,
            capture_output=True,
            timeout=300,
        )
        assert done.returncode == expect, done.stderr
        return sorted(
            line
            for line in (done.stdout + done.stderr).splitlines()
            if "checkpoint" in line or "step" in line
        )

    assert lines("save") == []
    assert any(
        "ocdbt.process_1/" in name for name in checksums.read(folder / "20")
    )  # of both processes' files
    assert integrity.damage(folder / "20") is None

    part = next((folder / "20" / "params" / "ocdbt.process_1" / "d").iterdir())
    part.unlink()
    how = f"checkpoint {folder}/20 is damaged: {part.relative_to(folder / '20')} is missing; "
    advice = f"--config.checkpoint.on_damage=previous goes on from {folder}/10, the newest that is whole"
    assert lines("stop", 1) == [f"[p{number}] error: {how}{advice}" for number in (0, 1)]
    assert lines("previous") == [
        "[p0] step 10, the same",
        f"[p0] warning: {how}it is now {folder}/damaged-20, and the run goes on from {folder}/10",
        "[p1] step 10, the same",
    ]
