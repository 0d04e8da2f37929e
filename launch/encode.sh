#!/usr/bin/env bash
# Sets up .venv where needed, then encodes raw pictures and films for training.  See usage below.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launcher.sh"

usage() {
    cat <<USAGE
Usage: launch/encode.sh --config FILE --source NAME:PATH --out DIR [OPTION...] [ARGUMENT...]

Makes .venv in the repository, installs the pinned requirements once, and runs
    python -m ptdit_jax.encode ARGUMENT...
from the root of the repository, so relative paths start there: pictures, films and captions become the latents, text
states and labels that training reads, in DIR.  Run again, it continues where it stopped.

$LAUNCH_USAGE
  --max-restarts N     start again, up to N times, after a process has failed or was lost; units that are done stay
                       done; not after exit codes 0, 2 (command or config wrong), 130 and 143 (stopped as asked)
  --help               this text

Arguments ('python -m ptdit_jax.encode --help' has all):

  --config FILE        the experiment that is to be trained: its encoders, its sizes, and its section encode
  --source NAME:PATH   where the raw records are, such as images:/data/photos; may be given several times
  --out DIR            where the shards go; training reads them with data.name=shards and data.path=DIR
  --config.FIELD=VALUE a field of the config, as in --config.encode.batch=64 (every field: configs/common.py)
$PLACE_USAGE
  --step-timeout S     seconds that one batch may take before it counts as hung

Exit codes: docs/launch.md.
Environment: PTDIT_PYTHON, the Python (3.11 or newer) to make .venv with.
USAGE
}

parse_launch "$@"
launch encoding ptdit_jax.encode
