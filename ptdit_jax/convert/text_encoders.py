"""T5 encoders, to and from `transformers`; an entry of `ptdit_jax.convert.encoders.KINDS`."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from ptdit_jax.convert import parity
from ptdit_jax.encoders import seeded, t5, t5_layout, t5_weights, text, tokenizer
from ptdit_jax.progress import track
from ptdit_jax.weight_files import json_files, writer

MODULES = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
LENGTHS = (1, 7, 120)
CAPTIONS = 3
PROMPTS = (
    "a cat",
    "a handwritten three",
    "an astronaut riding a horse on the moon, oil painting",
    "A small wooden boat on a calm lake at sunrise, mist over the water, mountains behind it, soft light.",
)
LONGEST = 120  # tokens of them


def matches(facts: Mapping[str, Any]) -> bool:
    """Whether a config.json is of one of these."""
    return facts.get("model_type") in t5.KINDS


def rewrite(folder: str, new: Path, dtype: str) -> int:
    """See `ptdit_jax.convert.encoders.Kind`: one file of weights, a config.json, and the tokenizer as it is."""
    files = text.find(folder, needs_tokenizer=False)
    params, _ = t5_weights.load(
        files.weights(),
        files.arch,
        dtype=text.DTYPES[dtype],
        progress=lambda items, total: track(items, total, "read", "tensor"),
    )
    shapes = t5_layout.shapes(files.arch)
    tensors = track(t5_weights.to_tensors(params, files.arch), len(shapes), "write", "tensor")
    writer.write_safetensors(new / "model.safetensors", shapes, tensors, dtype=dtype)
    if files.folder is None:
        facts: dict[str, Any] = dict(seeded.FACTS)
        (new / tokenizer.SETTINGS).write_text(json.dumps({"tokenizer_class": "ByT5Tokenizer"}) + "\n")
    else:
        facts = json_files.read(files.folder / "config.json", "config of an encoder")
        facts.pop("torch_dtype", None)
    facts |= {"architectures": [MODULES[facts["model_type"]]], "dtype": dtype}
    (new / "config.json").write_text(json.dumps(facts, indent=2) + "\n")
    for file in tokenizer.files_of(files.tokenizer) if files.tokenizer is not None else ():
        shutil.copyfile(file, new / file.name)
    return t5_layout.number_of_parameters(files.arch)


def compare(folder: str) -> list[dict[str, Any]]:
    """See `ptdit_jax.convert.encoders.Kind`: random tokens, some captions shorter than others."""
    files = text.find(folder, needs_tokenizer=False)
    rng = np.random.default_rng(0)
    inputs = []
    for length in LENGTHS:
        ids = rng.integers(0, files.arch.vocabulary, (CAPTIONS, length), dtype=np.int32)
        inputs.append((ids, np.arange(length) < np.array([[length], [1], [(length + 1) // 2]])))

    params, _ = t5_weights.load(files.weights(), files.arch, dtype=jnp.float32)
    run = jax.jit(text.make_apply(files.arch, "float32"), compiler_options=parity.COMPILER_OPTIONS)
    ours = [np.asarray(run(params, ids, mask)) for ids, mask in inputs]
    del params  # the two are in memory one after the other

    theirs = []
    module = load_torch(files.folder)
    with torch.no_grad():
        for ids, mask in inputs:
            output = module(torch.from_numpy(ids).long(), attention_mask=torch.from_numpy(mask).long())
            theirs.append(output.last_hidden_state.numpy())
    return [
        parity.row(f"{CAPTIONS} captions of up to {length} tokens", a, b)
        for length, a, b in zip(LENGTHS, ours, theirs, strict=True)
    ]


def load_torch(folder: Path | None) -> Any:
    """The module of `transformers`, in float32, from a folder and nowhere else."""
    import transformers

    assert folder is not None
    kind = json_files.read(folder / "config.json", "config of an encoder")["model_type"]
    return (
        getattr(transformers, MODULES[kind])
        .from_pretrained(str(folder), dtype=torch.float32, local_files_only=True)
        .eval()
    )


def remarks(folder: str) -> dict[str, float]:
    """What products in bfloat16 do to the states: the relative error of those of some prompts, and of ""."""
    files = text.find(folder, needs_tokenizer=False)
    captions = [*PROMPTS, ""]
    if files.tokenizer is None and files.folder is not None:
        return {}  # nothing to make tokens of
    ids, mask = tokenizer.Tokenizer(files.tokenizer, files.arch.vocabulary)(captions, LONGEST)
    errors = text.errors_of_bfloat16(files.weights(), files.arch, ids, mask)
    return {
        f"bfloat16, relative error of {len(PROMPTS)} prompts at most": float(errors[:-1].max()),
        'bfloat16, relative error of "" (it is always encoded in float32)': float(errors[-1]),
    }
