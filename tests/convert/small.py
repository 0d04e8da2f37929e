"""Small configs, checkpoints with random weights in them, and PyTorch files."""

import json

import numpy as np
import orbax.checkpoint as ocp
import torch
from flax import nnx
from flax.traverse_util import unflatten_dict

from configs import c2i_digits
from ptdit_jax import config as rules
from ptdit_jax.convert import conversion, layouts, parity, storage
from ptdit_jax.training import integrity
from tests.models import tiny

TINY = {
    "model.depth": 2,
    "model.width": 32,
    "model.heads": 2,
    "train.ema_decays": (0.9,),
    "sampling.ema": 0.9,
    "evaluation.name": "none",
    "model.patch": 1,
    "model.unroll": 1,
    "sampling.sampler": "euler",
    "sampling.guidance_interval": (0.0, 1.0),
}
"""What makes `configs/c2i_digits.py` a matter of milliseconds."""

all_cases = parity.cases  # before a fixture takes fewer


def config(**fields):
    """The tiny config with other fields, "model__depth" for model.depth."""
    changed = c2i_digits.get_config()
    wanted = TINY | {name.replace("__", "."): value for name, value in fields.items()}
    changed.update_from_flattened_dict(wanted)
    rules.validate(changed, check_data=False)
    return changed


def random_params(config, seed=0):
    """Weights that leave no part idle, nested dicts of numpy arrays."""
    module = tiny.filled(tiny.abstract(conversion.architecture(config)), seed)
    tree = nnx.to_pure_dict(nnx.state(module))
    return unflatten_dict(storage.flattened(tree))


def write_checkpoint(folder, config, **trees):
    """A step as training writes it, with the items a sampler reads."""
    items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
    items["config"] = ocp.args.JsonSave(json.loads(rules.to_json(config)))
    with ocp.CheckpointManager(folder / "checkpoints") as manager:
        manager.save(7, args=ocp.args.Composite(**items))
    integrity.seal(folder / "checkpoints" / "7")
    return folder


def released_tensors(config, seed=0):
    """A random state dict in the released layout, buffer included."""
    arch = conversion.architecture(config)
    layout = layouts.named(arch.family)
    tensors = layout.to_tensors(storage.flattened(random_params(config, seed)), arch)
    tensors[layout.buffer] = layout.positions(arch, config.data.frames)
    return {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}


def network(config, params):
    """Our network with the parameters, as a module."""
    graphdef = nnx.graphdef(tiny.abstract(conversion.architecture(config)))
    return nnx.merge(graphdef, params)
