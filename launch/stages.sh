#!/usr/bin/env bash
# Sets up .venv where needed, then runs the stages of a recipe.  See usage below.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launcher.sh"

usage() {
    cat <<USAGE
Usage: launch/stages.sh FILE [OPTION...] [ARGUMENT...]

Makes .venv in the repository, installs the pinned requirements once, and runs
    python -m ptdit_jax.stages FILE ARGUMENT...
from the root of the repository, so relative paths start there: a run a stage of the recipe, each from the parameters of
an earlier one.  Run again, it continues where it stopped.  FILE is a recipe of configs/recipes/.

$LAUNCH_USAGE
  --max-restarts N     start again from the last checkpoint, up to N times, after a process has failed or was lost;
                       not after exit codes 0, 2 (command or config wrong), 130 and 143 (stopped as asked)
  --help               this text

Arguments, among others ('python -m ptdit_jax.stages --help' has all):

  --dry-run            check all stages and show what they cost, on this machine or with --topology NAME; starts nothing
  --status             show how far each stage is
  --only STAGE         run that one alone; --from STAGE: that and those that descend from it
  --workdir DIR        where the stages' folders go; default: runs/NAME of the recipe
  --config.FIELD=VALUE a field of all stages; --STAGE.FIELD=VALUE of one, as in --t2i_512.data.path=/data/t2i_512
$PLACE_USAGE
  --step-timeout S     seconds a training step may take before it counts as hung

Exit codes: docs/launch.md.
Environment: PTDIT_PYTHON, the Python (3.11 or newer) to make .venv with.
USAGE
}

parse_launch "$@"
((${#arguments[@]})) || wrong "a recipe is missing, such as configs/recipes/digits.py; see --help"
launch stages ptdit_jax.stages
