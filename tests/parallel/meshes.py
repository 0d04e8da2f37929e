"""Run by `test_meshes.py` with virtual devices: the network and the training step over meshes against none.

python -m tests.parallel.meshes NAME    prints a JSON object {case: figures}
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from configs import c2i_digits, common
from data_pipelines import make_loader
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.program import make_program
from ptdit_jax.models.attention import choice
from ptdit_jax.parallel.axes import AXES
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.parallel.rules import param_shardings
from tests.models.interpreted import interpret
from tests.models.tiny import FAST

TINY = {
    "model.variant": "custom",
    "model.depth": 2,
    "model.shift_every": 1,  # one block to compile, not two
    "model.width": 64,
    "model.heads": 4,
    "model.channels": 2,
    "model.classes": 5,
    "model.sample_size": 8,
    "model.text_dim": 24,
    "model.text_length": 7,
    "data.height": 16,
    "data.width": 12,
    "data.pixels_per_latent": 1,
    "compression.fixed": (1, 2, 2),
}
NETWORKS = {  # name: (changes, meshes as data x fsdp x tensor x context)
    "plain": ({}, ["1x2x1x2", "1x1x2x2"]),  # the losses see the other meshes
    "odd video": (
        {
            "data.frames": 6,
            "data.height": 10,
            "data.width": 14,
            "compression.fixed": (4, 2, 3),
            "model.remat": "block",
        },
        ["1x1x1x4"],
    ),
    "one window": (
        {"data.frames": 3, "data.height": 4, "data.width": 4, "compression.fixed": (2, 8, 8)},
        ["1x1x1x2"],
    ),
    "several proxies": (
        {"data.height": 18, "compression.fixed": (1, 4, 4), "compression.proxy": (1, 2, 2)},
        ["1x1x1x4"],
    ),
    "top_left": ({"model.extraction": "top_left", "data.height": 14}, ["1x1x1x4"]),
    "random": ({"model.extraction": "random", "data.height": 14}, ["2x1x1x2"]),
    "similarity": (
        {"model.extraction": "similarity", "data.height": 14, "compression.fixed": (1, 2, 4)},
        ["1x1x1x4"],
    ),
    "interpolate": ({"model.injection": "interpolate", "data.height": 14}, ["1x1x1x4"]),
    "linear": ({"model.injection": "linear", "data.height": 14}, ["1x1x1x4"]),
    "text": ({"model.condition": "text", "data.height": 12}, ["1x1x2x2"]),
    "dit": ({"model.family": "dit", "data.height": 18}, ["1x1x2x2"]),
    "dam": ({"model.family": "dam", "model.mediators": (1, 5, 4), "data.height": 18}, ["1x1x2x2"]),
    "pixart, MS": (
        {"model.family": "pixart", "model.condition": "text", "model.width": 48, "model.size_condition": 1},
        ["1x2x1x2"],
    ),
    "full3d": (  # the block of PixArt-α too
        {
            "model.family": "full3d",
            "model.condition": "text",
            "data.frames": 3,
            "data.height": 6,
            "data.width": 10,
        },
        ["1x1x1x4"],
    ),
    "factorized, frames split": (
        {"model.family": "factorized", "data.frames": 5, "data.height": 6, "data.width": 6},
        ["1x1x2x2"],
    ),
    "factorized, rows split": (
        {"model.family": "factorized", "model.condition": "text", "data.frames": 3, "data.height": 14},
        ["1x1x1x4"],
    ),
    "released positions": ({"model.positions": "released", "data.height": 10}, ["1x1x1x4"]),
}
FULL = {  # cases of `tests/run.sh --full`: each is close to one of the others
    "one window",
    "top_left",
    "interpolate",
    "linear",
    "full3d",
    "factorized, frames split",
    "released positions",
}
KERNELS = ["4x1x1x1", "1x4x1x1", "1x1x4x1", "1x1x1x4", "1x1x2x2"]
LOSSES = ["4x1x1x1", "1x4x1x1", "1x1x2x1", "1x1x1x2", "1x1x1x4", "2x1x1x2"]


def mesh_of(name: str):
    sizes = [int(size) for size in name.split("x")]
    return make_mesh(dict(zip(AXES, sizes, strict=True)), jax.devices()[: int(np.prod(sizes))])


def cases(*, full: bool) -> dict:
    """{case: (changes, mesh)} of the one half of the networks or of the other."""
    return {
        f"{name} {mesh}": (changes, mesh)
        for name, (changes, meshes) in NETWORKS.items()
        for mesh in meshes
        if (name in FULL) == full
    }


def networks(*, full: bool = False) -> dict:
    """Largest differences of output and gradients, relative to the largest value."""
    return {case: compare(*what) for case, what in cases(full=full).items()}


def kernels() -> dict:
    """As `networks`, of kernels of TPUs, interpreted, on meshes against `einsum` on one device.

    Windows of 4 tokens, shifted ones, and padding; keys that are proxies, and text of several lengths.
    """
    interpret()
    choice._PLATFORMS.clear()  # they run here
    text = {"model.condition": "text", "data.height": 14, "model.remat": "attention"}
    return {
        f"{attention} {mesh}": compare(text, mesh, attention)
        for attention in (choice.PALLAS, choice.SPLASH)
        for mesh in KERNELS
    }


def compare(changes: dict, name: str, attention: str = choice.EINSUM) -> dict:
    config = common.get_config()
    config.update_from_flattened_dict(TINY | changes)
    plain = build(config)
    leaves, tree = jax.tree.flatten(plain.init(jax.random.key(0)))
    keys = jax.random.split(jax.random.key(1), len(leaves))  # zeros would hide what they multiply
    noisy = [leaf + 0.05 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    params = jax.tree.unflatten(tree, noisy)
    batch = 4
    x, probe = jax.random.normal(jax.random.key(2), (2, batch, *plain.shape))
    t = jnp.linspace(0.1, 0.9, batch)
    condition = jnp.arange(batch)
    if config.model.condition == "text":
        text = jax.random.normal(jax.random.key(5), (batch, config.model.text_length, config.model.text_dim))
        condition = (text, jnp.arange(config.model.text_length)[None] < jnp.array([[2], [3], [4], [7]]))
    keys = jax.random.split(jax.random.key(3), batch)

    def outputs(experiment, params):
        def loss(params):
            y = experiment.network(params, x, t, condition, keys)
            return jnp.mean(y * probe), y

        (_, y), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=FAST)(params)
        return y, gradients

    mesh = mesh_of(name)
    config.model.attention = attention
    sharded = build(config, mesh=mesh)
    y, gradients = outputs(plain, params)
    y_mesh, gradients_mesh = outputs(sharded, jax.device_put(params, param_shardings(sharded.abstract, mesh)))
    difference = lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(np.asarray(b)).max())  # noqa: E731
    floor = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradients))
    worst = jax.tree.map(
        lambda a, b: (
            float(np.abs(np.asarray(a) - np.asarray(b)).max()) / (float(jnp.abs(b).max()) + 1e-3 * floor)
        ),
        gradients_mesh,
        gradients,
    )
    return {"output": difference(y_mesh, y), "gradient": max(jax.tree.leaves(worst))}


def kept() -> dict:
    """Largest relative differences, over meshes, of a call that keeps and of one that reuses."""
    config = common.get_config()
    config.update_from_flattened_dict(TINY | {"data.height": 10})  # padded to fill the slabs
    plain = build(config)
    leaves, tree = jax.tree.flatten(plain.init(jax.random.key(0)))
    noise = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [
        leaf + 0.05 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, noise, strict=True)
    ]
    params = jax.tree.unflatten(tree, noisy)
    x = jax.random.normal(jax.random.key(2), (4, *plain.shape))
    t, labels, keys = jnp.linspace(0.1, 0.9, 4), jnp.arange(4), jax.random.split(jax.random.key(3), 4)

    def outputs(experiment, params, keep):
        network = experiment.keeping(keep)
        first = jax.jit(lambda params: network(params, x, t, labels, keys, None), compiler_options=FAST)
        again = jax.jit(
            lambda params, kept: network(params, 0.9 * x, 0.8 * t, labels, keys, kept)[0],
            compiler_options=FAST,
        )
        y, kept = first(params)
        return np.asarray(y), np.asarray(again(params, kept))

    found = {}
    for keep in ("blocks", "global"):
        expected = outputs(plain, params, keep)
        for name in ("1x1x2x2", "2x2x1x1"):
            mesh = mesh_of(name)
            sharded = build(config, mesh=mesh)
            split = jax.device_put(params, param_shardings(sharded.abstract, mesh))
            pairs = zip(outputs(sharded, split, keep), expected, strict=True)
            found[f"{keep} {name}"] = [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs]
    return found


def losses() -> dict:
    """The losses of 20 steps of the digits on each mesh, and where the first kernel of the MLP lies."""
    config = c2i_digits.get_config()
    changes = {"model.depth": 2, "model.width": 32, "model.heads": 4, "model.patch": 1, "model.unroll": 1}
    changes |= {"model.shift_every": 1}
    changes |= {
        "data.batch": 16,
        "optimizer.warmup_steps": 2,
        "optimizer.learning_rate": 1e-2,
        "train.steps": 20,
    }
    config.update_from_flattened_dict(changes)
    found = {}
    for name in ["1x1x1x1", *LOSSES]:
        mesh = mesh_of(name)
        program = make_program(config, build(config, mesh=mesh), mesh)
        init = program.init.lower(jax.random.key(0)).compile(compiler_options=FAST)
        state = init(jax.random.key(0))
        compiled = program.lower().compile(compiler_options=FAST)
        loader = make_loader(config.data, seed=0, classes=10)
        key = jax.device_put(jax.random.key(1), NamedSharding(mesh, PartitionSpec()))
        values = []
        for _ in range(20):
            batch = next(loader)
            placed = {name: jax.device_put(batch[name], program.batch_sharding) for name in program.batch}
            state, metrics = compiled(state, placed, key)
            values.append(float(metrics["loss"]))
        kernel = state.params["blocks"][0]["mlp"]["up"]["kernel"]
        shard = kernel.addressable_shards[0].data.shape
        moment = state.opt_state[1].mu["blocks"][0]["mlp"]["up"]["kernel"].addressable_shards[0].data.shape
        found[name] = {"loss": values, "kernel": kernel.shape, "shard": shard, "moment": moment}
    return found


FIGURES = {
    "networks": networks,
    "full": lambda: networks(full=True),
    "kernels": kernels,
    "losses": losses,
    "kept": kept,
}

if __name__ == "__main__":
    print(json.dumps(FIGURES[sys.argv[1]]()))
