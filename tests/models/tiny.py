"""Tiny networks for the tests: architectures, weights that leave no part idle, inputs, one jitted call."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ptdit_jax import models
from ptdit_jax.models.layers import Linear

PARTS = ("proxy", "injection", "injection_kv", "window", "shift", "mlp")


def _fast_compile() -> dict:
    """Options with which XLA compiles in a fraction of the time (and the program runs slower)."""
    known = {}
    for name, value in {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}.items():
        try:
            jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
            known[name] = value
        except jax.errors.JaxRuntimeError:  # another version of XLA
            continue
    return known


FAST = _fast_compile()


def architecture(condition: str = "text", **changes) -> models.Architecture:
    """A network of width 16: adaLN-single for text, adaLN-Zero otherwise."""
    text = condition == "text"
    base = models.Architecture(
        family="ptdit",
        depth=2,
        width=16,
        heads=2,
        mlp_ratio=4,
        patch=2,
        channels=3,
        out_channels=2,
        sample_size=32,
        condition=condition,
        classes=5,
        text_dim=8,
        adaln="single" if text else "zero",
        modulated=PARTS,
        zero_linears=text,
        shift_every=1 if text else 2,
        giim=True,
        tcm=True,
        extraction="average",
        injection="cross_attention",
        linear_tokens=0,
        mediators=(),
        positions="grid",
        time_input="1000t",
        compute_dtype="float32",
        remat="none",
        attention_chunk=0,
        unroll=1,
    )
    return dataclasses.replace(base, **changes)


def abstract(arch: models.Architecture) -> models.PTDiT:
    """The network with shapes instead of arrays."""
    return nnx.eval_shape(lambda: models.build(arch, nnx.Rngs(0)))


def filled(module: nnx.Module, seed: int = 0) -> nnx.Module:
    """A module of shapes with random weights that keep variances, also where training starts at zero."""
    graphdef, state = nnx.split(module)
    flat, rng = dict(nnx.to_flat_state(state)), np.random.default_rng(seed)
    for path in sorted(flat, key=str):
        shape = flat[path].shape
        if path[-1] == "kernel":
            fan_in = np.prod(shape) / np.prod(flat[(*path[:-1], "bias")].shape)
            scale = fan_in**-0.5
        else:
            scale = 0.3
        flat[path] = flat[path].replace(jnp.asarray(scale * rng.standard_normal(shape), jnp.float32))
    return nnx.merge(graphdef, nnx.from_flat_state(flat))


@functools.cache
def network(arch: models.Architecture, seed: int = 0) -> models.PTDiT:
    """The network with the weights of `filled`."""
    return filled(abstract(arch), seed)


@functools.cache
def _builder(arch: models.Architecture):
    return jax.jit(lambda key: nnx.state(models.build(arch, nnx.Rngs(key))), compiler_options=FAST)


def initialised(arch: models.Architecture, seed: int = 0) -> models.PTDiT:
    """The network as training starts with it."""
    return nnx.merge(nnx.graphdef(abstract(arch)), _builder(arch)(jax.random.key(seed)))


def numbers(module: nnx.Module) -> dict:
    """The parameters as nested dicts of float64 arrays, for `reference`; Linears with all their axes."""
    tree = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), nnx.to_pure_dict(nnx.state(module)))
    for path, layer in nnx.iter_modules(module):
        if isinstance(layer, Linear):
            p = functools.reduce(lambda node, name: node[name], path, tree)
            stack = p["bias"].shape[:-1]
            p["kernel"] = p["kernel"].reshape(*stack, *layer.in_shape, *layer.out_shape)
            p["bias"] = p["bias"].reshape(*stack, *layer.out_shape)
    return tree


def inputs(arch: models.Architecture, size, batch: int = 2, seed: int = 0):
    """x (B, C, *size), different t (B,), and the network's kind of condition, some of the text masked."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, arch.channels, *size)).astype(np.float32)
    t = np.linspace(0.1, 0.9, batch, dtype=np.float32)
    if arch.condition == "none":
        return x, t, None
    if arch.condition == "class":
        return x, t, (np.arange(batch, dtype=np.int32) * 2 + 1) % (arch.classes + 1)
    text = rng.standard_normal((batch, 4, arch.text_dim)).astype(np.float32)
    mask = np.ones((batch, 4), np.float32)
    for b in range(batch):
        mask[b, 4 - b % 3 :] = 0
    return x, t, (text, mask)


@functools.partial(jax.jit, static_argnames=("window", "proxy_ratio"), compiler_options=FAST)
def run(model, x, t, condition=None, keys=None, *, window, proxy_ratio=None):
    """The network's call."""
    return model(x, t, condition, window=window, proxy_ratio=proxy_ratio, keys=keys)
