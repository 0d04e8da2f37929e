"""Autoencoders, to and from diffusers and the released CausalVAE; entries of `ptdit_jax.convert.encoders.KINDS`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

from ptdit_jax.convert import parity, torch_causal_vae
from ptdit_jax.encoders import autoencoder_files as files
from ptdit_jax.encoders import autoencoder_weights as weights
from ptdit_jax.encoders import causal_vae
from ptdit_jax.encoders.autoencoder_kl import KLArchitecture
from ptdit_jax.progress import track
from ptdit_jax.weight_files import writer

KL_SIZES = ((1, 64, 64), (1, 40, 24), (1, 24, 56))  # frames, rows, columns of pixels, times factor / 8
CAUSAL_SIZES = ((1, 32, 32), (5, 24, 16), (9, 16, 24))
SAMPLES = 2


def matches_kl(facts: Mapping[str, Any]) -> bool:
    """Whether a config.json is of an AutoencoderKL."""
    return facts.get("_class_name") == "AutoencoderKL"


def matches_causal(facts: Mapping[str, Any]) -> bool:
    """Whether a config.json is of a CausalVAE."""
    return facts.get("_class_name") in causal_vae.CLASSES or "hidden_size_mult" in facts


def rewrite(folder: str, new: Path, dtype: str) -> int:
    """See `ptdit_jax.convert.encoders.Kind`: a config.json and one file of weights, with names that are up to date."""
    opened = files.open_folder(Path(folder).expanduser())
    renamed = weights.RENAMED[type(opened.arch)]
    shapes = weights.shapes(opened.params, renamed)
    tensors = track(weights.dump(opened.params, renamed), len(shapes), "write", "tensor")
    writer.write_safetensors(new / files.FILES[1], shapes, tensors, dtype=dtype)
    facts = dict(opened.facts)
    if not isinstance(opened.arch, KLArchitecture):
        facts.setdefault("_class_name", causal_vae.CLASSES[0])
    (new / "config.json").write_text(json.dumps(facts, indent=2) + "\n")
    return sum(array.size for array in jax.tree.leaves(opened.params))


def compare(folder: str) -> list[dict[str, Any]]:
    """See `ptdit_jax.convert.encoders.Kind`: random pixels to moments, and random latents to pixels, without tiles."""
    opened = files.open_folder(Path(folder).expanduser())
    inputs = list(_inputs(opened))
    ours, theirs = _ours(opened, inputs), _theirs(opened, inputs)
    return [
        parity.row(f"{what} {x.shape[2]}x{x.shape[3]}x{x.shape[4]}", a, b)
        for (what, x), a, b in zip(inputs, ours, theirs, strict=True)
    ]


def remarks(folder: str) -> dict[str, float]:
    """What products in bfloat16 do: the relative error of moments and of pixels."""
    opened = files.open_folder(Path(folder).expanduser())
    inputs = list(_inputs(opened))[:2]
    exact, rounded = _ours(opened, inputs), _ours(opened, inputs, jnp.bfloat16)
    return {
        f"bfloat16, relative error of {what}": float(np.linalg.norm(a - b) / np.linalg.norm(a))
        for (what, _), a, b in zip(inputs, exact, rounded, strict=True)
    }


def _inputs(opened: files.Opened) -> Any:
    """("moments of", pixels (B, 3, F, H, W)) and ("pixels of", unscaled latents (B, C, F, H, W)) of each size."""
    rng = np.random.default_rng(0)
    time, rows, columns = opened.factor
    causal = not isinstance(opened.arch, KLArchitecture)
    channels = opened.arch.in_channels if isinstance(opened.arch, KLArchitecture) else 3
    for frames, height, width in CAUSAL_SIZES if causal else KL_SIZES:
        size = (frames, height // 8 * rows, width // 8 * columns)
        yield "moments of", rng.uniform(-1, 1, (SAMPLES, channels, *size)).astype(np.float32)
        latent = ((frames - 1) // time + 1, height // 8, width // 8)
        yield "pixels of", rng.standard_normal((SAMPLES, opened.channels, *latent)).astype(np.float32)


def _ours(opened: files.Opened, inputs: list[Any], dtype: Any = jnp.float32) -> list[np.ndarray]:
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: opened.arch.build(dtype, nnx.Rngs(0))))
    outputs = []
    for what, x in inputs:
        name = "encode" if what == "moments of" else "decode"

        def run(params: Any, x: jax.Array, name: str = name) -> jax.Array:
            y = getattr(nnx.merge(graphdef, params), name)(jnp.moveaxis(x, 1, -1))
            return jnp.moveaxis(y, -1, 1).astype(jnp.float32)

        compiled = jax.jit(run, compiler_options=parity.COMPILER_OPTIONS)
        outputs.append(np.asarray(compiled(opened.params, x)))
    return outputs


def _theirs(opened: files.Opened, inputs: list[Any]) -> list[np.ndarray]:
    if isinstance(opened.arch, KLArchitecture):
        module = load_diffusers(opened)
        calls = {"moments of": module._encode, "pixels of": lambda z: module.decode(z).sample}
        with torch.no_grad():
            return [calls[what](torch.from_numpy(x[:, :, 0])).numpy()[:, :, None] for what, x in inputs]
    renamed = weights.RENAMED[type(opened.arch)]
    state = {name: torch.from_numpy(np.array(array)) for name, array in weights.dump(opened.params, renamed)}
    functions = {"moments of": torch_causal_vae.encode, "pixels of": torch_causal_vae.decode}
    with torch.no_grad():
        return [functions[what](state, torch.from_numpy(x)).numpy() for what, x in inputs]


def load_diffusers(opened: files.Opened) -> Any:
    """The module of diffusers, in float32, as it reads the folder itself.

    Raises:
      ValueError: diffusers is not installed.
    """
    try:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    except ImportError as error:
        raise ValueError(
            "diffusers is not installed, whose AutoencoderKL ours is compared with: pip install -r "
            "requirements-dev.txt -c constraints.txt, or --no-verify"
        ) from error
    folder = str(opened.file.parent)
    options: dict[str, Any] = {"torch_dtype": torch.float32, "local_files_only": True}
    safe = opened.file.name.startswith(files.STEM) and ".safetensors" in opened.file.name
    return AutoencoderKL.from_pretrained(folder, use_safetensors=safe, **options).eval()
