#!/usr/bin/env bash
# Sets up .venv where needed, then trains on this machine.  See usage below.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launcher.sh"

DEFAULT_CONFIG=configs/c2i_digits.py

usage() {
    cat <<USAGE
Usage: launch/run.sh [OPTION...] [ARGUMENT...]

Makes .venv in the repository, installs the pinned requirements once, and runs
    python -m ptdit_jax.train ARGUMENT...
from the root of the repository, so relative paths start there.  Run again, it continues where it stopped.

$LAUNCH_USAGE
  --max-restarts N     start again from the last checkpoint, up to N times, after a process has failed or was lost;
                       not after exit codes 0, 2 (command or config wrong), 130 and 143 (stopped as asked)
  --help               this text

Arguments, among others ('python -m ptdit_jax.train --help' has all):

  --config FILE        the experiment; default: $DEFAULT_CONFIG
  --config.FIELD=VALUE a field of it, as in --config.train.steps=500 (every field: configs/common.py)
  --workdir DIR        where checkpoints, metrics and pictures go; default: runs/NAME of the experiment
$PLACE_USAGE
  --step-timeout S     seconds a training step may take before it counts as hung

Exit codes: docs/launch.md.
Environment: PTDIT_PYTHON, the Python (3.11 or newer) to make .venv with.
USAGE
}

parse_launch "$@"
[[ $has_config == yes ]] || arguments=("--config=$DEFAULT_CONFIG" "${arguments[@]}")
launch training ptdit_jax.train
