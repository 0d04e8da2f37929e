#!/usr/bin/env bash
# Lint, types and tests, in .venv, on the CPU.  Arguments go to pytest: tests/run.sh tests/models -k window
# --full adds the tests that wait for libraries' own limits or train for minutes (marked "full").
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../launch/setup_env.sh"

setup_env requirements.txt requirements-dev.txt requirements-torch.txt requirements-tfds.txt requirements-demo.txt requirements-oracles.txt
cd "$REPO"

export JAX_PLATFORMS=cpu MPLBACKEND=Agg
# Two pytest processes share the machine: one thread each, for XLA (NPROC sizes its pool), BLAS and OpenMP.
export NPROC=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
export XLA_FLAGS="--xla_cpu_multi_thread_eigen=false ${XLA_FLAGS:-}"

arguments=()
for argument in "$@"; do
    if [[ $argument == --full ]]; then
        arguments+=(-m '')
    else
        arguments+=("$argument")
    fi
done

failed=()
check() {
    say "$*"
    "$PYTHON" -m "$@" || failed+=("$1${2:+ $2}")
}
check ruff check
check ruff format --check
check pyright
check pytest -n 2 --dist worksteal "${arguments[@]}"
((${#failed[@]} == 0)) || die "failed: $(printf '%s; ' "${failed[@]}")"
