#!/usr/bin/env bash
# Sets up .venv where needed, then judges samples, drawing them first if asked.  See usage below.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launcher.sh"

usage() {
    cat <<USAGE
Usage: launch/evaluate.sh (--checkpoint DIR | --samples PATH) --reference REF WEIGHTS... [OPTION...] [ARGUMENT...]

Makes .venv in the repository, installs the pinned requirements once, and runs
    python -m ptdit_jax.evaluate ARGUMENT...
from the root of the repository, so relative paths start there.  Run again, it draws only what is not there.

$LAUNCH_USAGE
  --max-restarts N     start again, up to N times, after a process has failed or was lost; samples that are made stay
                       made; not after exit codes 0, 2 (command wrong), 130 and 143 (stopped as asked)
  --help               this text

Arguments ('python -m ptdit_jax.evaluate --help' has all):

  --checkpoint DIR     a run's folder, or --from-release WEIGHTS --text-encoder DIR --vae DIR
  --samples PATH       an .npz or a folder; with --checkpoint the folder that is drawn into
  --reference PATH     what they are compared with
  --metrics NAMES      of fid,sfid,is,precision,recall,kid; fd_dinov2; fvd; isv; clip_score,clipsim; or --protocol NAME
  --inception FILE     weights of the first six; --dinov2 DIR, --i3d FILE, --c3d FILE and --clip DIR of the others
  --count K            samples of a model without text (50,000), or of each prompt
$PLACE_USAGE
  --step-timeout S     seconds that one group of samples may take before it counts as hung

Exit codes: docs/launch.md.
Environment: PTDIT_PYTHON, the Python (3.11 or newer) to make .venv with.
USAGE
}

parse_launch "$@"
launch evaluation ptdit_jax.evaluate
