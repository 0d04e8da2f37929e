#!/usr/bin/env bash
# Train, encode, sample or run stages on a Cloud TPU pod slice, every host at once.  See usage below.
set -euo pipefail

usage() {
    cat <<USAGE
Usage: launch/tpu_pod.sh VERB --name NAME --zone ZONE [OPTION...] [-- ARGUMENT...]

VERB is one of
  create   the slice
  train    copy the committed state of this repository to every host and run there
           launch/run.sh --accelerator tpu --cluster auto ARGUMENT...
  encode   the same with launch/encode.sh; so do sample and stages with launch/sample.sh and launch/stages.sh
  delete   the slice

  --name NAME         of the slice
  --zone ZONE         such as us-central2-b
  --project PROJECT   default: that of gcloud
  --type TYPE         create: accelerator type, such as v5litepod-16, v5p-1024, v6e-256
  --version VERSION   create: runtime, such as v2-alpha-tpuv5-lite, v2-alpha-tpuv5, v2-alpha-tpuv6e
  --spot              create: may be taken back at any time
  --max-restarts N    train and the like: see launch/run.sh; default 10
  --dry-run           print the commands, run none

--workdir, and --out of encode and sample, have to be on storage that all hosts share, such as a bucket mounted
with gcsfuse.
USAGE
}

wrong() {
    echo "tpu_pod.sh: error: $*" >&2
    exit 2
}

verb=${1:-}
case $verb in
    create | train | encode | sample | stages | delete) shift ;;
    --help | -h)
        usage
        exit 0
        ;;
    *) wrong "${verb:-no verb}: the first argument must be create, train, encode, sample, stages or delete; see --help" ;;
esac

name='' zone='' project='' type='' version='' max_restarts=10 dry_run=no spot=()
while (($#)); do
    case $1 in
        --name | --zone | --project | --type | --version | --max-restarts)
            (($# > 1)) || wrong "$1 needs a value; see --help"
            variable=${1#--}
            printf -v "${variable//-/_}" %s "$2"
            shift
            ;;
        --spot) spot=(--spot) ;;
        --dry-run) dry_run=yes ;;
        --)
            shift
            break
            ;;
        *) wrong "$1 is no option; see --help, and put ARGUMENTs of launch/run.sh, encode.sh, ... after --" ;;
    esac
    shift
done
[[ -n $name ]] || wrong "--name is missing: the name of the slice"
[[ -n $zone ]] || wrong "--zone is missing: the zone of the slice, such as us-central2-b"
[[ $max_restarts =~ ^[0-9]{1,6}$ ]] || wrong "--max-restarts $max_restarts: must be a number, 0 or more"
declare -A scripts=([train]=run.sh [encode]=encode.sh [sample]=sample.sh [stages]=stages.sh)
script=${scripts[$verb]:-}
(($# == 0)) || [[ -n $script ]] || wrong "$1: $verb takes no ARGUMENTs"

run() {
    if [[ $dry_run == yes ]]; then
        printf '%q ' "$@"
        echo
    else
        "$@"
    fi
}

place=(--zone "$zone")
[[ -z $project ]] || place+=(--project "$project")
vm=(gcloud compute tpus tpu-vm)
case $verb in
    create)
        [[ -n $type ]] || wrong "--type is missing: the accelerator type, such as v5litepod-16"
        [[ -n $version ]] || wrong "--version is missing: the runtime version, such as v2-alpha-tpuv5-lite"
        run "${vm[@]}" create "$name" "${place[@]}" --accelerator-type "$type" --version "$version" "${spot[@]}"
        ;;
    train | encode | sample | stages)
        cd "$(dirname "${BASH_SOURCE[0]}")/.."
        archive=ptdit_jax-$(git rev-parse --short HEAD).tar.gz
        remote="tar -xzf $archive && cd ptdit_jax && exec launch/$script --accelerator tpu --cluster auto"
        remote+=" --max-restarts $max_restarts$( (($# == 0)) || printf ' %q' "$@")"
        run mkdir -p build
        run git archive --prefix=ptdit_jax/ --output "build/$archive" HEAD
        run "${vm[@]}" scp "build/$archive" "$name:" "${place[@]}" --worker=all
        run "${vm[@]}" ssh "$name" "${place[@]}" --worker=all --command "$remote"
        ;;
    delete) run "${vm[@]}" delete "$name" "${place[@]}" --quiet ;;
esac
