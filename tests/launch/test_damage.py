"""Two processes and a damaged checkpoint: one decides, and both go on from the same step or say the same."""

import os
import subprocess
import sys

from tests.training import runs


def test_both_agree_where_to_go_on(tmp_path, environment):
    folder = tmp_path / "checkpoints"
    command = [sys.executable, "-m", "tests.launch.checkpoints", str(folder)]
    done = subprocess.run(
        [sys.executable, "launch/processes.py", "--processes=2", "--", *command],
        cwd=runs.ROOT,
        env=os.environ | environment,
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = {
        number: [line[5:] for line in done.stdout.splitlines() if line.startswith(f"[p{number}] ")]
        for number in (0, 1)
    }
    said = {number: [line for line in lines if "Gloo" not in line] for number, lines in said.items()}
    removed = said[0].pop(0).removeprefix(f"removed {folder}/20/")
    how = f"checkpoint {folder}/20 is damaged: {removed} is missing; "
    advice = f"--config.checkpoint.on_damage=previous goes on from {folder}/10, the newest that is whole"
    assert said[0] == said[1] == [how + advice, "step 10 is as it was"]
    (warning,) = [line for line in done.stderr.splitlines() if "warning" in line]
    assert warning == (
        f"[p0] warning: {how}it is now {folder}/damaged-20, and the run goes on from {folder}/10"
    )
