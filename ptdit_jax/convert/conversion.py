"""Conversions between checkpoints of this project and PyTorch weights, in both directions.

Each writes into a folder beside the wanted one and renames it when everything is there and checked.  Tensors
go one after the other, and the two networks of the parity check are in memory one after the other.
"""

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import unflatten_dict

from data_pipelines.text import NULL_FILE, write_null
from ptdit_jax import config as rules
from ptdit_jax import files, models
from ptdit_jax.convert import export, inspection, layouts, matching, parity, storage, text_encoders, weights
from ptdit_jax.convert.layouts.base import Layout
from ptdit_jax.encoders import seeded
from ptdit_jax.experiment import null_text
from ptdit_jax.models import Architecture
from ptdit_jax.progress import Bar, track
from ptdit_jax.training import checkpoint, integrity
from ptdit_jax.training.state import ema_name
from ptdit_jax.weight_files import writer

DTYPES = ("float32", "bfloat16")


def architecture(config: Any) -> Architecture:
    """The network of a valid config.

    Raises:
      ValueError: it has no PyTorch layout.
    """
    arch = rules.architecture(config)
    if arch.patch_height:
        raise ValueError(
            f"model.patch_height={arch.patch_height}: the layouts of PyTorch weights have patches as high as wide, "
            f"{arch.patch}x{arch.patch} here"
        )
    layouts.of_family(arch.family)
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
        inspection.announce(found)
        layout = matching.match(found, arch, config)
        null = matching.stored_null_text(found, layout, config)
        with Bar(len(layout.shapes(arch)), "read", "tensor") as bar:
            flat = layout.assemble(bar.counting(found.read), arch)
        # Orbax copies numpy arrays before it writes them, and JAX's not.
        params = unflatten_dict({path: jax.device_put(flat.pop(path)) for path in list(flat)})

        stored = config.copy_and_resolve_references()
        stored.sampling.ema = 0
        storage.save(folder / "checkpoints", params, json.loads(rules.to_json(stored)))
        del params
        (folder / "config.json").write_text(rules.to_json(stored))
        if null is not None:
            write_null(folder / NULL_FILE, *null)

        report = parity.UNCHECKED
        if verify:
            which = parity.cases(arch, rules.layout(config)[0])
            theirs = parity.run_torch(arch, layout.original(found.read), which)
            ours = parity.run_ours(arch, storage.restore(folder / "checkpoints" / "0", "params", arch), which)
            report = parity.compare(which, ours, theirs)
        parity.conclude(report, folder / "parity.json")
    print(
        f"{number_of_parameters(arch):,} parameters: {out}/  (python -m ptdit_jax.sample --checkpoint {out})"
    )


def to_torch(
    path: Path,
    out: Path,
    *,
    ema: str | None = None,
    dtype: str = "float32",
    layout: str = "original",
    verify: bool = True,
) -> None:
    """Write a checkpoint as a folder of PyTorch weights and code that need nothing of this project.

    Weights of the baselines come without code: they are for the authors' code or for diffusers.

    Args:
      path: a run's folder or one step of it, see `checkpoint.find`.
      out: folder to make.
      ema: "params" or the name of an average; None takes what `sample` takes.
      dtype: of the weights in the file, one of `DTYPES`.
      layout: one of `layouts.NAMES`.
      verify: compare the two networks, both with the weights as they are in the file.

    Raises:
      ValueError: there is no such checkpoint, average or layout, a value is not finite, or parity fails.
      OSError: a file cannot be read or written.
    """
    step = checkpoint.find(path)
    config = rules.from_json(json.dumps(checkpoint.load_config(step)))
    arch = architecture(config)
    if len(rules.parts(config)) > 1:
        raise ValueError(
            f"compression.by_time={config.compression.by_time}: the PyTorch module has one ratio at all times"
        )
    form = layouts.named(arch.family, layout)
    facts = form.facts(arch) if form.facts else None
    name = ema or ema_name(config.sampling.ema)
    integrity.require_whole(step, [name])
    names = sorted(
        p.name for p in step.iterdir() if p.is_dir() and (p.name == "params" or p.name.startswith("ema_"))
    )
    if name not in names:
        raise ValueError(f"--ema={name}: {step} has {', '.join(names)}")
    with staged(out) as folder:
        params = storage.restore(step, name, arch)
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
        untrained = computed(form, arch, config, step.parent.parent)
        shapes = {name: array.shape for name, array in untrained.items()} | form.shapes(arch)
        tensors = itertools.chain(untrained.items(), form.disassemble(storage.flattened(params), arch))
        file = folder / form.file
        file.parent.mkdir(exist_ok=True)
        counted = track(tensors, len(shapes), "write", "tensor")
        writer.write(file, shapes, counted, dtype=dtype)
        del params, tensors, counted
        if facts is not None:
            (file.parent / "config.json").write_text(json.dumps(facts, indent=2) + "\n")

        report = parity.UNCHECKED
        if verify:
            written = weights.open_weights(file)
            report = parity.compare(which, ours, parity.run_torch(arch, form.original(written.read), which))
        parity.conclude(report, folder / "parity.json")
        if arch.family == "ptdit":
            write_export(folder, arch, config, name=name, dtype=dtype, report=report)
            write_text_parts(folder, config, step.parent.parent)
        else:
            (folder / "config.json").write_text(rules.to_json(config))
    where = f"see {out}/README.md" if arch.family == "ptdit" else f"{out}/{form.file}"
    print(f"{number_of_parameters(arch):,} parameters ({name}, {dtype}): {out}/  ({where})")


def computed(form: Layout, arch: Architecture, config: Any, workdir: Path) -> dict[str, np.ndarray]:
    """What a file has besides trained parameters: the table of positions, and the run's empty caption."""
    found = {form.buffer: form.positions(arch, config.data.frames)} if form.writes_buffer else {}
    if not form.null_text:
        return found
    null = null_text.of_run(config, workdir)
    if null is None:
        warn(f"{workdir} has no {NULL_FILE}: {form.null_text}, the empty caption of guidance, is left out")
        return found
    states, mask = null
    if not mask.all() and config.model.null_mask == "own":
        warn(
            f"{workdir / NULL_FILE} has {mask.sum()} of {len(mask)} states; {form.null_text} has zeros for the rest, "
            "which its code does not tell from states"
        )
    return found | {form.null_text: states}


def warn(line: str) -> None:
    """Print what a user should know."""
    print(f"warning: {line}", file=sys.stderr)


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


def number_of_parameters(arch: Architecture) -> int:
    """Trained numbers of the network."""
    module = nnx.eval_shape(lambda: models.build(arch, nnx.Rngs(0)))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


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
    for file in export.FILES:
        shutil.copyfile(source / file, folder / file)
    for module, place in export.COPIED.items():
        spec = importlib.util.find_spec(place)
        assert spec is not None
        shutil.copyfile(str(spec.origin), folder / f"{module}.py")
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
            "text": '--prompt "..." --text-encoder DIR' if config.text_encoder.path else "--text states.npz",
            "none": "--guidance 1",
        }[arch.condition],
    }
    for field, value in fields.items():
        readme = readme.replace(f"@{field}@", value)
    (folder / "README.md").write_text(readme)


def write_text_parts(folder: Path, config: Any, workdir: Path) -> None:
    """Write what the prompts of an export need and no one else has: the run's empty caption, the encoder of bytes."""
    if config.model.condition != "text":
        return
    null = null_text.of_run(config, workdir)
    if null is not None:
        write_null(folder / NULL_FILE, *null)
    if config.text_encoder.path == seeded.NAME:
        (folder / "text_encoder").mkdir()
        text_encoders.rewrite(seeded.NAME, folder / "text_encoder", "float32")
