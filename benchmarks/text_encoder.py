"""T5 encoders here beside those of `transformers` in PyTorch, and the memory that loading takes.

python -m benchmarks.text_encoder [--threads 2]          tokens a second, same weights and cores, in turn
taskset -c 0 python -m benchmarks.text_encoder --threads 1 --processor-time    the same where others use the machine
python -m benchmarks.text_encoder --memory DIR           a file of XXL's shapes, 4 blocks, written into DIR and read
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROUNDS = 7
SHAPES = ((8, 120), (32, 40))  # captions, tokens
BASE = {"vocab_size": 8000, "d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 12}
XXL = {"vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 4, "num_heads": 64}
FORM = {"model_type": "t5", "feed_forward_proj": "gated-gelu"}
GB = 1e9
DEPTH = 24  # blocks of XXL


def speed(threads: int, clock: Callable[[], float]) -> None:
    """Tokens a second of both, best of some rounds that take turns."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import torch
    import transformers

    from ptdit_jax.encoders import compiling, t5, t5_layout, t5_weights, text

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    module = transformers.T5EncoderModel(transformers.T5Config(**BASE, **FORM)).eval()
    with tempfile.TemporaryDirectory() as folder:
        module.save_pretrained(folder)
        arch = t5.read_architecture(json.loads((Path(folder) / "config.json").read_text()), "config.json")
        params, _ = t5_weights.load(t5_layout.open_folder(Path(folder), arch), arch, dtype=jnp.float32)
    run = jax.jit(text.make_apply(arch, "float32"), compiler_options=compiling.options("float32"))
    print(
        f"T5 v1.1 Base cut to {arch.depth} blocks, float32, {threads} threads; tokens a second"
        f"{' of processors' if clock is time.process_time else ''}, best of {ROUNDS}"
    )
    for captions, tokens in SHAPES:
        ids = np.random.default_rng(0).integers(0, arch.vocabulary, (captions, tokens)).astype(np.int32)
        mask = np.arange(tokens) < np.linspace(tokens // 2, tokens, captions).astype(int)[:, None]
        ids_torch, mask_torch = torch.from_numpy(ids).long(), torch.from_numpy(mask).long()

        def ours(ids=ids, mask=mask):
            return np.asarray(run(params, ids, mask))

        def theirs(ids=ids_torch, mask=mask_torch):
            with torch.no_grad():
                return module(ids, attention_mask=mask).last_hidden_state.numpy()

        difference = float(np.abs(ours() - theirs()).max())
        seconds = {ours: [], theirs: []}
        for _ in range(ROUNDS):
            for function, taken in seconds.items():
                began = clock()
                function()
                taken.append(clock() - began)
        best = [captions * tokens / min(taken) for taken in seconds.values()]
        print(
            f"{captions} captions of {tokens} tokens: ours {best[0]:,.0f}, transformers {best[1]:,.0f}, "
            f"{best[0] / best[1]:.2f}x; outputs differ by {difference:.1e}"
        )


def memory(folder: Path) -> None:
    """Peak memory of a process that loads the weights, over that of one which loads none."""
    import ml_dtypes
    import numpy as np

    from ptdit_jax.encoders import t5, t5_layout
    from ptdit_jax.weight_files import writer

    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(XXL | FORM))
    arch = t5.read_architecture(XXL | FORM, "config.json")
    shapes = t5_layout.shapes(arch)
    rng = np.random.default_rng(0)
    whole = list(shapes)
    placed, parts = {}, [whole[: len(whole) // 2], whole[len(whole) // 2 :]]
    for number, names in enumerate(parts):
        file = f"model-{number + 1}.safetensors"
        placed |= dict.fromkeys(names, file)
        drawn = ((name, rng.standard_normal(shapes[name], np.float32) * 0.01) for name in names)
        if not (folder / file).exists():
            writer.write_safetensors(
                folder / file, {name: shapes[name] for name in names}, drawn, dtype="bfloat16"
            )
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    numbers = sum(int(np.prod(shape)) for shape in shapes.values())
    block = sum(int(np.prod(s)) for name, s in shapes.items() if name.startswith("encoder.block.1."))
    xxl = numbers + (DEPTH - arch.depth) * block
    size = np.dtype(ml_dtypes.bfloat16).itemsize
    largest = 4 * max(int(np.prod(shape)) for shape in shapes.values())
    print(
        f"file of {arch.depth} blocks: {numbers / 1e9:.2f} B numbers, {size * numbers / GB:.2f} GB in bfloat16"
    )
    for dtype, itemsize in (("bfloat16", 2), ("float32", 4)):
        command = [sys.executable, "-m", "benchmarks.text_encoder", "--child", dtype, "--memory", str(folder)]
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        peak = float(done.stdout)
        kept = itemsize * numbers / GB
        print(
            f"{dtype}: parameters {kept:.2f} GB, peak {peak:.2f} GB above the process before: {peak - kept:.2f} GB "
            f"beside them (the largest tensor has {largest / GB:.2f} in float32); all {DEPTH} blocks: "
            f"{itemsize * xxl / GB:.1f} + {peak - kept:.1f} = {itemsize * xxl / GB + peak - kept:.1f} GB"
        )


def child(folder: Path, dtype: str) -> None:
    """Print by how much the peak memory of this process, in GB, is above what it has before it loads the weights."""
    import jax
    import jax.numpy as jnp

    from ptdit_jax.encoders import t5, t5_layout, t5_weights

    arch = t5.read_architecture(json.loads((folder / "config.json").read_text()), "config.json")
    jnp.zeros(3).block_until_ready()
    before = _status("VmRSS")
    params, _ = t5_weights.load(t5_layout.open_folder(folder, arch), arch, dtype=jnp.dtype(dtype))
    jax.block_until_ready(params)
    print(_status("VmHWM") - before)


def _status(name: str) -> float:
    """A line of /proc/self/status in GB; `ru_maxrss` would count the memory of the process that started this one."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / GB


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--memory", type=Path, metavar="DIR")
    parser.add_argument(
        "--processor-time", action="store_true", help="count seconds of processors, not the clock's"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.memory, options.child)
    elif options.memory:
        memory(options.memory)
    else:
        speed(options.threads, time.process_time if options.processor_time else time.perf_counter)
