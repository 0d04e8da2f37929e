"""Conversions between checkpoints of this project and PyTorch weights, in both directions.

Each writes into a folder beside the wanted one and renames it when everything is there and checked.  Tensors
go one after the other, and the two networks of the parity check are in memory one after the other.
"""

import contextlib
import dataclasses
import importlib.metadata
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from ptdit_jax import config as rules
from ptdit_jax import files, models
from ptdit_jax.convert import export, parity, released, weights
from ptdit_jax.models import Architecture
from ptdit_jax.training import checkpoint
from ptdit_jax.training.state import ema_name

DTYPES = ("float32", "bfloat16")
COPIED = ("modeling_ptdit.py", "sample.py", "requirements.txt")
BLOCK = re.compile(r"(transformer_)?blocks\.(\d+)\.")  # starts the names of a block's tensors
BUFFER_TOLERANCE = 0.01  # half-precision files round the positions; other positions differ by 1 and more


def architecture(config: Any) -> Architecture:
    """The network of a valid config.

    Raises:
      ValueError: its family has no PyTorch layout.
    """
    arch = rules.architecture(config)
    released.check_family(arch)
    return arch


def from_torch(path: Path, config: Any, out: Path, *, key: str | None = None, verify: bool = True) -> None:
    """Write PyTorch weights as a checkpoint that `sample`, `train` and `to-torch` take.

    The checkpoint is `out/checkpoints/0` with the items `params` and `config`; its config samples from
    `params`, because there are no averages of them.

    Args:
      path: see `weights.open_weights`.
      config: of the network that they belong to.
      out: folder to make.
      key: see `weights.open_weights`.
      verify: compare the two networks.

    Raises:
      ValueError: the weights cannot be read or are not the config's network's, or parity fails.
      OSError: a file cannot be read or written.
    """
    rules.validate(config, check_data=False)
    arch = architecture(config)
    with staged(out) as folder:
        found = weights.open_weights(path, key)
        announce(found)
        released.check_names(found.shapes, arch)
        check_positions(found, arch, config.data.frames)
        flat = released.assemble(found.read, arch)
        # Orbax copies numpy arrays before it writes them, and JAX's not.
        params = nested({path: jax.device_put(flat.pop(path)) for path in list(flat)})

        stored = config.copy_and_resolve_references()
        stored.sampling.ema = 0
        save(folder / "checkpoints", params, json.loads(rules.to_json(stored)))
        del params
        (folder / "config.json").write_text(rules.to_json(stored))

        report = parity.UNCHECKED
        if verify:
            which = parity.cases(arch, rules.layout(config)[0])
            theirs = parity.run_torch(arch, found.read, which)
            ours = parity.run_ours(arch, restore(folder / "checkpoints" / "0", "params", arch), which)
            report = parity.compare(which, ours, theirs)
        parity.conclude(report, folder / "parity.json")
    print(
        f"{number_of_parameters(arch):,} parameters: {out}/  (python -m ptdit_jax.sample --checkpoint {out})"
    )


def to_torch(
    path: Path, out: Path, *, ema: str | None = None, dtype: str = "float32", verify: bool = True
) -> None:
    """Write a checkpoint as a folder of PyTorch weights and code that need nothing of this project.

    DiT's weights come without code: they are for the public code of DiT or SiT.

    Args:
      path: a run's folder or one step of it, see `checkpoint.find`.
      out: folder to make.
      ema: "params" or the name of an average; None takes what `sample` takes.
      dtype: of the weights in the file, one of `DTYPES`.
      verify: compare the two networks, both with the weights as they are in the file.

    Raises:
      ValueError: there is no such checkpoint or average, a value is not finite, or parity fails.
      OSError: a file cannot be read or written.
    """
    step = checkpoint.find(path)
    config = rules.from_json(json.dumps(checkpoint.load_config(step)))
    arch = architecture(config)
    name = ema or ema_name(config.sampling.ema)
    names = sorted(
        p.name for p in step.iterdir() if p.is_dir() and (p.name == "params" or p.name.startswith("ema_"))
    )
    if name not in names:
        raise ValueError(f"--ema={name}: {step} has {', '.join(names)}")
    with staged(out) as folder:
        params = restore(step, name, arch)
        leaves, structure = jax.tree.flatten(params)
        del params
        for i, leaf in enumerate(leaves):
            if not bool(jnp.isfinite(leaf).all()):
                where = jax.tree_util.tree_flatten_with_path(structure.unflatten(range(len(leaves))))[0][i][0]
                raise ValueError(
                    f"{name} of {step}: {jax.tree_util.keystr(where)} holds values that are not finite"
                )
            if dtype == "bfloat16":
                leaves[i] = leaf.astype(jnp.bfloat16).astype(jnp.float32)
        params = structure.unflatten(leaves)
        del leaves

        which = parity.cases(arch, rules.layout(config)[0])
        ours = parity.run_ours(arch, params, which) if verify else []
        name_of_buffer = released.BUFFER[arch.family]
        buffer = released.declared_positions(arch, config.data.frames)
        shapes = {name_of_buffer: buffer.shape, **released.released_shapes(arch)}
        tensors = itertools.chain([(name_of_buffer, buffer)], released.disassemble(flattened(params), arch))
        weights.write_safetensors(folder / "model.safetensors", shapes, tensors, dtype=dtype)
        del params, tensors

        report = parity.UNCHECKED
        if verify:
            written = weights.open_weights(folder / "model.safetensors")
            report = parity.compare(which, ours, parity.run_torch(arch, written.read, which))
        parity.conclude(report, folder / "parity.json")
        if arch.family == "ptdit":
            write_export(folder, arch, config, name=name, dtype=dtype, report=report)
        else:
            (folder / "config.json").write_text(rules.to_json(config))
    where = f"see {out}/README.md" if arch.family == "ptdit" else f"{out}/model.safetensors"
    print(f"{number_of_parameters(arch):,} parameters ({name}, {dtype}): {out}/  ({where})")


def inspect(path: Path, config: Any | None, key: str | None = None) -> bool:
    """Print what a file of weights is, and what a config's network lacks or does not know in it.

    Args:
      path: see `weights.open_weights`.
      config: to compare with, or None.
      key: see `weights.open_weights`.

    Returns:
      Whether the tensors are those of the config's network (True without one).

    Raises:
      ValueError: the file cannot be read.
      OSError: there is no such file.
    """
    found = weights.open_weights(path, key)
    announce(found)
    buffers = released.BUFFER.values()
    size = sum(int(np.prod(shape)) for name, shape in found.shapes.items() if name not in buffers)
    blocks = {match[2] for name in found.tensors if (match := BLOCK.match(name))}
    counted: dict[str, int] = {}
    for tensor in found.tensors.values():
        counted[tensor.dtype] = counted.get(tensor.dtype, 0) + 1
    print(f"{len(found.tensors)} tensors, {size:,} parameters, {len(blocks)} blocks")
    print("dtypes: " + ", ".join(f"{count} {dtype}" for dtype, count in sorted(counted.items())))
    for name, tensor in found.tensors.items():
        match = BLOCK.match(name)
        if match is None or match[2] == "0":
            print(f"  {name} {list(tensor.shape)} {tensor.dtype}")
    if len(blocks) > 1:
        print(f"  ... {len(blocks) - 1} more blocks")
    if config is None:
        return True
    try:
        released.check_names(found.shapes, architecture(config))
    except ValueError as error:
        print(str(error).replace(": ", ":\n  ", 1).replace(" | ", "\n  "))
        return False
    print("every tensor of the config's network is there, and no other")
    return True


def announce(found: weights.Weights) -> None:
    """Say which network of a file is taken."""
    where = f" under {found.key!r}" if found.key else ""
    print(f"{found.path}: {len(found.tensors)} tensors{where}")
    others = [key for key in found.keys if key != found.key]
    if others:
        print(f"also there, for --key: {', '.join(map(repr, others))}")


def check_positions(found: weights.Weights, arch: Architecture, frames: int) -> None:
    """Compare the stored table of positions, where there is one, with that of the config.

    Raises:
      ValueError: it is another one.
    """
    buffer = released.BUFFER[arch.family]
    if buffer not in found.tensors:
        return
    wanted, stored = released.declared_positions(arch, frames), found.read(buffer)
    if stored.shape != wanted.shape:
        raise ValueError(
            f"{buffer} has shape {stored.shape}, not {wanted.shape}: model.sample_size={arch.sample_size}, "
            f"model.patch={arch.patch} or data.frames={frames} are not those of the weights"
        )
    difference = np.abs(stored - wanted).max()
    if not difference <= BUFFER_TOLERANCE:
        raise ValueError(
            f"{buffer} differs by up to {difference:.2g} from the positions of the config's network"
        )


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A new folder beside `out`, which becomes `out` at the end and is removed after an error.

    Raises:
      ValueError: `out` exists.
      OSError: the folder around it does not, or cannot be written.
    """
    out = out.absolute()
    files.check_new_folder(out, "--out")
    folder = out.with_name(f".{out.name}.unfinished-{os.getpid()}")
    try:
        folder.mkdir()
        yield folder
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def nested(flat: dict[released.Path, np.ndarray]) -> dict[Any, Any]:
    """{path: array} as nested dicts, the form of parameters in a checkpoint."""
    tree: dict[Any, Any] = {}
    for path, array in flat.items():
        level = tree
        for part in path[:-1]:
            level = level.setdefault(part, {})
        level[path[-1]] = array
    return tree


def flattened(tree: dict[Any, Any], path: released.Path = ()) -> dict[released.Path, np.ndarray]:
    """The inverse of `nested`, without copies."""
    if not isinstance(tree, dict):
        return {path: np.asarray(tree)}
    return {p: array for name, child in tree.items() for p, array in flattened(child, (*path, name)).items()}


def save(checkpoints: Path, params: Any, config: dict[str, Any]) -> None:
    """Write step 0 with the items `params` and `config`, holding at most a gigabyte more than `params`."""
    handlers = {
        # Compression would take most of the time, and random bits do not compress.
        "params": ocp.PyTreeCheckpointHandler(save_concurrent_gb=1, use_compression=False),
        "config": ocp.JsonCheckpointHandler(),
    }
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
    with ocp.CheckpointManager(checkpoints, options=options, item_handlers=handlers) as manager:
        args = ocp.args.Composite(params=ocp.args.PyTreeSave(params), config=ocp.args.JsonSave(config))
        manager.save(0, args=args)


def restore(step: Path, name: str, arch: Architecture) -> Any:
    """Parameters of a checkpoint: nested dicts of arrays on the first device; reads a gigabyte at a time.

    Raises:
      CheckpointError: they cannot be read, or belong to another network.
    """
    state = nnx.state(nnx.eval_shape(lambda: models.build(arch, nnx.Rngs(0))), nnx.Param)
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), nnx.to_pure_dict(state)
    )
    args = ocp.args.PyTreeRestore(abstract, ocp.checkpoint_utils.construct_restore_args(abstract))
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(restore_concurrent_gb=1)) as checkpointer:
            return checkpointer.restore(step / name, args=args)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise checkpoint.CheckpointError(f"checkpoint {step / name} cannot be read: {reason}") from error


def number_of_parameters(arch: Architecture) -> int:
    """Trained numbers of the network."""
    return sum(int(np.prod(shape)) for shape in released.released_shapes(arch).values())


def write_export(
    folder: Path, arch: Architecture, config: Any, *, name: str, dtype: str, report: dict[str, Any]
) -> None:
    """Write everything of an export but weights and report: config.json, code, requirements and README."""
    facts = dataclasses.asdict(parity.torch_architecture(arch, config.data.frames))
    content = {
        "format": "PT-DiT in PyTorch, written by ptdit_jax",
        "weights": {"name": name, "dtype": dtype},
        "architecture": facts,
        "config": config.to_dict(),
    }
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n")
    source = Path(export.__file__).parent
    for file in COPIED:
        shutil.copyfile(source / file, folder / file)
    if report["checked"]:
        parity_line = (
            f"The outputs of both networks on {len(report['cases'])} kinds of random inputs differ by at "
            f"most {report['max_difference']:.1e} (relative {report['relative_difference']:.1e}); see "
            "`parity.json`."
        )
    else:
        parity_line = "**The two networks were not compared**: it was written with `--no-verify`."
    readme = (source / "README.md").read_text()
    fields = {
        "PARAMETERS": f"{number_of_parameters(arch):,}",
        "WEIGHTS": f"{name}, {dtype}",
        "PARITY": parity_line,
        "TORCH": importlib.metadata.version("torch"),
        "CONDITION": {
            "class": "--label 3",
            "text": "--text states.npz",
            "none": "--guidance 1",
        }[arch.condition],
    }
    for field, value in fields.items():
        readme = readme.replace(f"@{field}@", value)
    (folder / "README.md").write_text(readme)
