# Sourced by run.sh, encode.sh, sample.sh and evaluate.sh: the options of all, and the start of what they run.
#
#   parse_launch ARGUMENT...
#
# takes --help (prints `usage`), --accelerator, --simulate and --max-restarts out of a command line, checks them, and
# leaves what is for Python in the array `arguments`; has_config says whether --config is among that.
#
#   launch WHAT MODULE
#
# sets up the environment and becomes `python -m MODULE "${arguments[@]}"`, or launch/processes.py that starts it; WHAT
# is said before.

source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

LAUNCH_USAGE="  --accelerator KIND   which wheels of JAX to install and which devices to use: cpu, cuda or tpu, an error where there is
                       none; auto (the default) looks for NVIDIA GPUs and TPUs and takes the CPU where there are none
  --simulate P[xD]     P processes on this machine's CPU, with D devices each (default 1), that talk over TCP as those
                       of P machines would; every line they print starts with [p0], [p1], ..."

PLACE_USAGE="  --coordinator HOST:PORT --processes N --process-id I
                       this is process I of N; HOST is that of process 0, and PORT free there
  --cluster auto       this is one of the processes that SLURM, Open MPI, Cloud TPU or Kubernetes started
  --start-timeout S    seconds that all processes have to come"

accelerator=auto
simulate=
max_restarts=0
has_config=no
arguments=()

parse_launch() {
    local argument
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
                [[ $max_restarts =~ ^[0-9]{1,6}$ ]] ||
                    wrong "--max-restarts $max_restarts: must be a number, 0 or more"
                ;;
            *)
                [[ $1 == --config || $1 == --config=* ]] && has_config=yes
                arguments+=("$1")
                ;;
        esac
        shift
    done
    [[ -n $simulate ]] || return 0
    [[ $accelerator == auto || $accelerator == cpu ]] ||
        wrong "--accelerator $accelerator: must be cpu with --simulate, whose processes share the CPU"
    for argument in "${arguments[@]}"; do
        [[ ! $argument =~ ^--?(coordinator|processes|process-id|cluster)(=|$) ]] ||
            wrong "$argument: must be left out with --simulate, which chooses it"
    done
    accelerator=cpu
}

launch() {
    local what=$1 command supervise
    setup_accelerator "$accelerator"
    cd "$REPO"
    say "$what: python -m $2 ${arguments[*]}"
    command=("$PYTHON" -m "$2" "${arguments[@]}")
    supervise=("$PYTHON" launch/processes.py --max-restarts "$max_restarts")
    if [[ -n $simulate ]]; then
        [[ $simulate == *x* ]] || simulate+=x1
        exec "${supervise[@]}" --processes "${simulate%x*}" --devices "${simulate#*x}" -- "${command[@]}"
    elif ((max_restarts)); then
        exec "${supervise[@]}" -- "${command[@]}"
    fi
    exec "${command[@]}"
}
