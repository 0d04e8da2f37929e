#!/usr/bin/env bash
# Sets up .venv where needed, then trains on this machine.  See usage below.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

DEFAULT_CONFIG=configs/c2i_digits.py

usage() {
    cat <<USAGE
Usage: launch/run.sh [--accelerator cpu|cuda|tpu|auto] [ARGUMENT...]

Makes .venv in the repository, installs the pinned requirements once, and runs
    python -m ptdit_jax.train ARGUMENT...
from the root of the repository, so relative paths start there.  Run again, it continues where it stopped.

  --accelerator KIND   which wheels of JAX to install and which devices to use; auto (the default) looks for NVIDIA
                       GPUs and TPUs and takes the CPU where there are none
  --config FILE        the experiment; default: $DEFAULT_CONFIG
  --config.FIELD=VALUE a field of it, as in --config.train.steps=500 (every field: configs/common.py)
  --workdir DIR        where checkpoints, metrics and pictures go; default: runs/NAME of the experiment
  --help               this text

Environment: PTDIT_PYTHON, the Python (3.11 or newer) to make .venv with.
USAGE
}

has_nvidia() {
    [[ -e /dev/nvidia0 || -e /dev/nvidiactl || -e /dev/dxg ]] || nvidia-smi -L &>/dev/null
}

has_tpu() {
    # TPUs are PCI devices of Google with one of these numbers (v2/v3, v4, v5p, v5e, v6e, 7x); others are not TPUs.
    local device
    for device in /sys/bus/pci/devices/*; do
        [[ $(cat "$device/vendor" 2>/dev/null) == 0x1ae0 ]] || continue
        case $(cat "$device/device") in
            0x0027 | 0x0056 | 0x005e | 0x0062 | 0x0063 | 0x006f | 0x0076) return 0 ;;
        esac
    done
    return 1
}

accelerator=auto
has_config=no
arguments=()
while (($#)); do
    case $1 in
        --help | -h)
            usage
            exit 0
            ;;
        --accelerator)
            (($# > 1)) || die "--accelerator needs a value: cpu, cuda, tpu or auto"
            accelerator=$2
            shift
            ;;
        --accelerator=*) accelerator=${1#*=} ;;
        *)
            [[ $1 == --config || $1 == --config=* ]] && has_config=yes
            arguments+=("$1")
            ;;
    esac
    shift
done
[[ $has_config == yes ]] || arguments=("--config=$DEFAULT_CONFIG" "${arguments[@]}")

if [[ $accelerator == auto ]]; then
    if has_nvidia; then
        accelerator=cuda
    elif has_tpu; then
        accelerator=tpu
    else
        accelerator=cpu
    fi
    say "accelerator: $accelerator (detected; --accelerator chooses another)"
fi
# Naming the platform makes JAX stop with an error, and not use the CPU instead, when the accelerator does not work.
case $accelerator in
    cpu)
        setup_env requirements.txt
        platforms=cpu
        ;;
    cuda | tpu)
        setup_env requirements.txt "requirements-$accelerator.txt"
        platforms=$accelerator,cpu
        ;;
    *) die "--accelerator $accelerator: must be cpu, cuda, tpu or auto" ;;
esac
export JAX_PLATFORMS=${JAX_PLATFORMS:-$platforms}
if [[ $accelerator == cpu ]]; then
    # Huge pages for the temporary arrays of a step, which XLA allocates anew each time: a third faster.
    export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}
fi

cd "$REPO"
say "training: python -m ptdit_jax.train ${arguments[*]}"
exec "$PYTHON" -m ptdit_jax.train "${arguments[@]}"
