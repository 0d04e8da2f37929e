"""What the tests of the autoencoders share: tiny folders of both kinds, and calls that compile fast."""

import json
from pathlib import Path

import jax
import numpy as np
import torch

from configs import common
from ptdit_jax.encoders import autoencoder_files, causal_vae
from ptdit_jax.encoders import autoencoder_weights as weights
from ptdit_jax.encoders.autoencoder import open_autoencoder
from ptdit_jax.weight_files import writer
from tests.models.tiny import FAST

GOLDENS = Path(__file__).parents[1] / "goldens"
CAUSAL = {
    "_class_name": "CausalVAEModel",
    "hidden_size": 32,
    "hidden_size_mult": [1, 1, 2, 2],
    "num_res_blocks": 1,
}


def section(path, **changes):
    """`config.autoencoder` of a folder, in float32."""
    found = common.get_config().autoencoder
    found.update({"path": str(path), "dtype": "float32", "posterior": "mode"} | changes)
    return found


def open_fast(path, mesh=None, **changes):
    """An autoencoder whose programs compile fast."""
    opened = open_autoencoder(section(path, **changes), mesh=mesh)
    calls = tuple(
        jax.jit(call, compiler_options=FAST) for call in (opened.apply_moments, opened.apply_decode)
    )
    opened.__dict__["_compiled"] = calls
    return opened


def write_causal(folder, seed=0, *, nesting="", extra=(), file="model.safetensors", **facts):
    """A folder of a CausalVAE with random weights that leave no part idle; returns them by name."""
    facts = CAUSAL | facts
    arch = causal_vae.architecture(facts, "config.json")
    shapes = weights.shapes(autoencoder_files.nnx.to_pure_dict(weights.abstract(arch)[1]), causal_vae.RENAMED)
    rng = np.random.default_rng(seed)
    state = {name: drawn(name, shape, rng) for name, shape in shapes.items()}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(facts))
    named = {nesting + name: array for name, array in state.items()} | dict(extra)
    if file.endswith(".safetensors"):
        sizes = {name: array.shape for name, array in named.items()}
        writer.write_safetensors(folder / file, sizes, named.items(), dtype="float32")
    else:
        nested: dict = {}
        *levels, _ = [part for part in nesting.split(".") if part] + [""]
        inner = nested
        for level in levels:
            inner = inner.setdefault(level, {})
        inner |= {name: torch.from_numpy(array) for name, array in state.items()}
        torch.save(nested, folder / file)
    return state


def drawn(name, shape, rng):
    """Values of a tensor that keep activations of about 1."""
    if len(shape) > 1:
        return (rng.standard_normal(shape) * np.prod(shape[1:]) ** -0.5).astype(np.float32)
    values = 0.1 * rng.standard_normal(shape)
    return (values + ("norm" in name and name.endswith("weight"))).astype(np.float32)


def disturb(module, seed=0):
    """Parameters of a PyTorch module moved, so that none is zero or one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return module.eval()
