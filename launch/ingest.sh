#!/usr/bin/env bash
# Sets up .venv-beam where needed, then turns raw pictures and films into filtered shards.  See usage below.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"
VENV=.venv-beam
CONSTRAINTS=constraints-beam.txt

usage() {
    cat <<USAGE
Usage: launch/ingest.sh --source PATH --out DIR [ARGUMENT...]

Makes .venv-beam in the repository (Apache Beam cannot live in .venv), installs requirements-beam.txt once, and runs
    python -m data_pipelines.ingest ARGUMENT...
from the root of the repository, so relative paths start there.  Run again, it continues where it stopped.

Exit codes: 0 done, 1 the run failed and may be started again, 2 the command is wrong or nothing is left.
Environment: PTDIT_PYTHON, the Python (3.11 or newer) to make .venv-beam with.
USAGE
}

arguments=()
while (($#)); do
    case $1 in
        --help | -h)
            usage
            python=$(find_python) || exit 1
            cd "$REPO"
            exec "$python" -m data_pipelines.ingest --help  # needs nothing that is installed
            ;;
        *) arguments+=("$1") ;;
    esac
    shift
done
((${#arguments[@]})) || wrong "--source and --out are missing; see --help"

setup_env requirements-beam.txt

cd "$REPO"
# Workers are processes of their own, which import the project too.
export PYTHONPATH=$REPO${PYTHONPATH:+:$PYTHONPATH}
exec "$PYTHON" -m data_pipelines.ingest "${arguments[@]}"
