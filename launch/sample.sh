#!/usr/bin/env bash
# Sets up .venv where needed, then draws many samples, one file each.  See usage below.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launcher.sh"

usage() {
    cat <<USAGE
Usage: launch/sample.sh --checkpoint DIR [--prompts FILE] --count K --out DIR [OPTION...] [ARGUMENT...]

Makes .venv in the repository, installs the pinned requirements once, and runs
    python -m ptdit_jax.sample.many ARGUMENT...
from the root of the repository, so relative paths start there: a PNG or an MP4 a sample in DIR.  Run again, it
continues where it stopped; a sample that is there is not made again.

$LAUNCH_USAGE
  --max-restarts N     start again, up to N times, after a process has failed or was lost; samples that are made stay
                       made; not after exit codes 0, 2 (command wrong), 130 and 143 (stopped as asked)
  --help               this text

Arguments ('python -m ptdit_jax.sample.many --help' has all):

  --checkpoint DIR     a run's folder, or --from-release WEIGHTS --text-encoder DIR --vae DIR
  --prompts FILE       a prompt a line, for a model with text
  --count K            samples of each prompt; without prompts, of all
  --out DIR            folder of the samples
  --npz FILE           all samples in one file, as ADM's evaluator reads them
$PLACE_USAGE
  --step-timeout S     seconds that one group of samples may take before it counts as hung

Exit codes: docs/launch.md.
Environment: PTDIT_PYTHON, the Python (3.11 or newer) to make .venv with.
USAGE
}

parse_launch "$@"
launch sampling ptdit_jax.sample.many
