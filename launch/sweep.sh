#!/usr/bin/env bash
# Sets up .venv where needed, then runs a sweep.  See usage below.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

usage() {
    cat <<USAGE
Usage: launch/sweep.sh [--accelerator KIND] FILE[:SIZE] [ARGUMENT...]

Makes .venv in the repository, installs the pinned requirements once, and runs
    python -m ptdit_jax.sweep FILE[:SIZE] ARGUMENT...
from the root of the repository, so relative paths start there.  Run again, it continues where it stopped.
FILE is a sweep of configs/sweeps/; 'python -m ptdit_jax.sweep --help' has the arguments (--dry-run, --status, --jobs N,
--backend slurm, ...), and 'launch/run.sh --help' what --accelerator and the environment may be.
USAGE
}

accelerator=auto
arguments=()
while (($#)); do
    case $1 in
        --help | -h)
            usage
            exit 0
            ;;
        --accelerator)
            (($# > 1)) || wrong "$1 needs a value; see --help"
            accelerator=$2
            shift
            ;;
        --accelerator=*) accelerator=${1#*=} ;;
        *) arguments+=("$1") ;;
    esac
    shift
done
((${#arguments[@]})) || wrong "a sweep is missing, such as configs/sweeps/ablations.py; see --help"

setup_accelerator "$accelerator"

cd "$REPO"
exec "$PYTHON" -m ptdit_jax.sweep "${arguments[@]}"
