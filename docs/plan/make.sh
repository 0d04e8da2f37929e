#!/usr/bin/env bash
# Writes the figures of docs/plan.md again: compiles the training steps for TPUs, of which none is needed.  About an
# hour on two cores.  Needs libtpu: .venv/bin/pip install -r requirements-tpu.txt -c constraints.txt
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

plan() {
    local name=$1
    shift
    printf '%s: python -m ptdit_jax.plan %s\n' "$name" "$*" >&2
    .venv/bin/python -m ptdit_jax.plan "$@" >"docs/plan/$name.txt.new" && mv "docs/plan/$name.txt.new" "docs/plan/$name.txt"
}

# The released network at 2048 pixels, one sample.
image="configs/t2i_xl_1024_release.py --config.data.height=256 --config.data.width=256 --config.data.batch=1"
video=configs/t2v_xl_512x288.py
kernels="--config.model.attention_chunk=0 --config.model.attention=pallas"
on_v5e="--topology v5e:2x2 --mesh context=4"
on_v5p="--topology v5p:2x2x1 --batch-per-replica 1"
plan image_v5e_context4 --config $image $on_v5e
plan image_v5e_context4_pallas --config $image $kernels $on_v5e
plan image_v5e_context4_splash --config $image ${kernels/pallas/splash} $on_v5e
plan video_v5e_context4 --config $video $on_v5e
plan video_v5e_context4_pallas --config $video $kernels $on_v5e
plan image_v5p_replicated --config $image $on_v5p
plan image_v5p_replicated_pallas --config $image $kernels $on_v5p
plan video_v5p_replicated --config $video $on_v5p
plan video_v5p_replicated_pallas --config $video $kernels $on_v5p
# At 1024 pixels, two samples a chip, as its recipe has them.
small=configs/t2i_xl_1024_release.py
for machine in v5e:4x4 v5p:2x2x4; do
    name=image1024_${machine%%:*}_fsdp16
    plan "$name" --config $small --topology $machine --mesh fsdp=16 --batch-per-replica 2
    plan "${name}_pallas" --config $small $kernels --topology $machine --mesh fsdp=16 --batch-per-replica 2
done
plan image_full_attention --config $image --topology v5p:2x2x1 --mesh context=4 --compare full
plan image_scaling --config $image --topology v5e:2x2,v5e:4x4,v5e:8x8,v5e:16x16,v5p:8x8x8 --batch-per-replica 1 \
    --mesh context=4 --mesh fsdp=4,context=4 --mesh fsdp=4,context=4 --mesh fsdp=4,context=4 --mesh fsdp=4,context=4
