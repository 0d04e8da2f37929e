#!/usr/bin/env bash
# Sets up .venv where needed, then trains on this machine.  See usage below.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

DEFAULT_CONFIG=configs/c2i_digits.py

usage() {
    cat <<USAGE
Usage: launch/run.sh [OPTION...] [ARGUMENT...]

Makes .venv in the repository, installs the pinned requirements once, and runs
    python -m ptdit_jax.train ARGUMENT...
from the root of the repository, so relative paths start there.  Run again, it continues where it stopped.

  --accelerator KIND   which wheels of JAX to install and which devices to use: cpu, cuda or tpu, an error where there is
                       none; auto (the default) looks for NVIDIA GPUs and TPUs and takes the CPU where there are none
  --simulate P[xD]     P processes on this machine's CPU, with D devices each (default 1), that talk over TCP as those
                       of P machines would; every line they print starts with [p0], [p1], ...
  --max-restarts N     start again from the last checkpoint, up to N times, after a process has failed or was lost;
                       not after exit codes 0, 2 (command or config wrong), 130 and 143 (stopped as asked)
  --help               this text

Arguments, among others ('python -m ptdit_jax.train --help' has all):

  --config FILE        the experiment; default: $DEFAULT_CONFIG
  --config.FIELD=VALUE a field of it, as in --config.train.steps=500 (every field: configs/common.py)
  --workdir DIR        where checkpoints, metrics and pictures go; default: runs/NAME of the experiment
  --coordinator HOST:PORT --processes N --process-id I
                       this is process I of N; HOST is that of process 0, and PORT free there
  --cluster auto       this is one of the processes that SLURM, Open MPI, Cloud TPU or Kubernetes started
  --start-timeout S    seconds that all processes have to come
  --step-timeout S     seconds a training step may take before it counts as hung

Exit codes: docs/launch.md.
Environment: PTDIT_PYTHON, the Python (3.11 or newer) to make .venv with.
USAGE
}

accelerator=auto
simulate=
max_restarts=0
has_config=no
arguments=()
while (($#)); do
    case $1 in
        --help | -h)
            usage
            exit 0
            ;;
        --accelerator | --simulate | --max-restarts)
            (($# > 1)) || wrong "$1 needs a value; see --help"
            set -- "$1=$2" "${@:3}"
            continue
            ;;
        --accelerator=*) accelerator=${1#*=} ;;
        --simulate=*)
            simulate=${1#*=}
            [[ $simulate =~ ^[1-9][0-9]{0,3}(x[1-9][0-9]{0,3})?$ ]] ||
                wrong "--simulate $simulate: must be P or PxD, P processes with D devices each, such as 4 or 2x4"
            ;;
        --max-restarts=*)
            max_restarts=${1#*=}
            [[ $max_restarts =~ ^[0-9]{1,6}$ ]] || wrong "--max-restarts $max_restarts: must be a number, 0 or more"
            ;;
        *)
            [[ $1 == --config || $1 == --config=* ]] && has_config=yes
            arguments+=("$1")
            ;;
    esac
    shift
done
[[ $has_config == yes ]] || arguments=("--config=$DEFAULT_CONFIG" "${arguments[@]}")
if [[ -n $simulate ]]; then
    [[ $accelerator == auto || $accelerator == cpu ]] ||
        wrong "--accelerator $accelerator: must be cpu with --simulate, whose processes share the CPU"
    for argument in "${arguments[@]}"; do
        [[ ! $argument =~ ^--?(coordinator|processes|process-id|cluster)(=|$) ]] ||
            wrong "$argument: must be left out with --simulate, which chooses it"
    done
    accelerator=cpu
fi

setup_accelerator "$accelerator"

cd "$REPO"
say "training: python -m ptdit_jax.train ${arguments[*]}"
train=("$PYTHON" -m ptdit_jax.train "${arguments[@]}")
supervise=("$PYTHON" launch/processes.py --max-restarts "$max_restarts")
if [[ -n $simulate ]]; then
    [[ $simulate == *x* ]] || simulate+=x1
    exec "${supervise[@]}" --processes "${simulate%x*}" --devices "${simulate#*x}" -- "${train[@]}"
elif ((max_restarts)); then
    exec "${supervise[@]}" -- "${train[@]}"
fi
exec "${train[@]}"
