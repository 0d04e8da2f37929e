# Sourced by the scripts that run Python.  Makes the virtual environment of this repository and installs into it.
# It is .venv, with the versions of constraints.txt, unless the script sets VENV and CONSTRAINTS to other names.
#
#   setup_env FILE...    FILE: a requirements file in the repository root; one that begins with the line
#                        "# pip --no-deps" is installed without what its packages need
#
# sets PYTHON to the environment's interpreter.  A file is installed once: a stamp in it records the hash of what
# was installed, and is written after pip has ended well, so that an interrupted installation is repeated.  Scripts
# started at the same time wait for each other.  $PTDIT_PYTHON names the interpreter to make the environment with.
#
#   setup_accelerator KIND    KIND: cpu, cuda, tpu, or auto to look for one
#
# does that with the wheels of JAX for KIND, and exports what makes JAX use it; ends with code 2 where KIND is not there.

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=.venv
CONSTRAINTS=constraints.txt

say() { printf '[%s] %s\n' "$(basename "$0")" "$*" >&2; }

die() {
    say "error: $*"
    exit 1
}

wrong() {
    say "error: $*"
    exit 2
}

is_python311() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    if [[ -n ${PTDIT_PYTHON:-} ]]; then
        is_python311 "$PTDIT_PYTHON" || die "PTDIT_PYTHON=$PTDIT_PYTHON is not a Python 3.11 or newer"
        printf '%s\n' "$PTDIT_PYTHON"
        return
    fi
    for candidate in python3 python3.12 python3.13 python3.11 python3.14 python; do
        if is_python311 "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    die "no Python 3.11 or newer on the PATH; install one, or name it: PTDIT_PYTHON=/path/to/python3.11 $0"
}

make_environment() {
    local python venv=$REPO/$VENV
    if [[ -x $venv/bin/python ]] && is_python311 "$venv/bin/python" && "$venv/bin/python" -m pip --version &>/dev/null; then
        return
    fi
    python=$(find_python) || exit 1
    say "making $VENV with $("$python" --version) ($python)"
    find "$venv" -mindepth 1 -maxdepth 1 ! -name setup.lock -exec rm -rf {} + || die "cannot empty $venv"
    "$python" -m venv "$venv" || die "'$python -m venv' failed; on Debian or Ubuntu install the package python3-venv"
}

install_requirements() {
    local file=$1 stamp=$REPO/$VENV/installed/$1.sha256 hash options=()
    hash=$(cat "$REPO/$CONSTRAINTS" "$REPO/$file" | sha256sum)
    if [[ -f $stamp && $(<"$stamp") == "$hash" ]]; then
        return
    fi
    say "installing $file into $VENV (once; the first time takes a minute or more)"
    [[ $(head -n 1 "$REPO/$file") != "# pip --no-deps" ]] || options=(--no-deps)
    "$REPO/$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "${options[@]}" \
        -c "$REPO/$CONSTRAINTS" -r "$REPO/$file" || die "pip could not install $file"
    { mkdir -p "$(dirname "$stamp")" && printf '%s\n' "$hash" >"$stamp"; } || die "cannot write $stamp"
}

setup_env() {
    local file
    mkdir -p "$REPO/$VENV" || die "cannot write to $REPO"
    (  # `set -e` does not reach in here, so every step dies by itself
        flock -n 9 || {
            say "waiting for another script that sets up $VENV"
            flock 9
        }
        make_environment
        for file in "$@"; do install_requirements "$file"; done
    ) 9>"$REPO/$VENV/setup.lock" || exit 1
    PYTHON=$REPO/$VENV/bin/python
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

setup_accelerator() {
    local accelerator=$1 platforms named
    if [[ -n ${JAX_PLATFORMS:-} ]]; then
        named=${JAX_PLATFORMS%%,*}
        case $accelerator in
            auto) [[ $named =~ ^(cuda|tpu)$ ]] && accelerator=$named || accelerator=cpu ;; # others: a plugin of the user's
            cpu | cuda | tpu)
                [[ $accelerator == "$named" ]] ||
                    wrong "--accelerator $accelerator: JAX_PLATFORMS=$JAX_PLATFORMS says otherwise; unset one of them"
                ;;
        esac
    fi
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
    # Naming the platforms makes a run stop with an error, and not use the CPU instead, when one of them does not work.
    case $accelerator in
        cpu)
            setup_env requirements.txt
            platforms=cpu
            ;;
        cuda | tpu)  # before gigabytes are installed for nothing
            [[ $accelerator != cuda ]] || has_nvidia ||
                wrong "--accelerator cuda: this machine has no NVIDIA GPU (no /dev/nvidia0, and nvidia-smi lists none)"
            [[ $accelerator != tpu ]] || has_tpu ||
                wrong "--accelerator tpu: this machine has no TPU (none among the PCI devices)"
            setup_env requirements.txt "requirements-$accelerator.txt"
            platforms=$accelerator,cpu
            ;;
        *) wrong "--accelerator $accelerator: must be cpu, cuda, tpu or auto" ;;
    esac
    export JAX_PLATFORMS=${JAX_PLATFORMS:-$platforms}
    if [[ $accelerator == cpu ]]; then
        # Huge pages for the temporary arrays of a step, which XLA allocates anew each time: a third faster.
        export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}
    fi
}
