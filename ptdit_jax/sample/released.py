"""The released text-to-image model, drawn from as its authors do, from their file of weights as it is.

Its sizes are those of the file; everything else is the release's, as configs/t2i_xl_1024_release.py has it: rectified
flow with its shift of times, 30 steps, guidance 4, 200 tokens of T5-XXL in float32 after DeepFloyd's cleaning.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh

from configs import t2i_xl_1024_release
from ptdit_jax import config as rules
from ptdit_jax.convert import layouts, matching, weights
from ptdit_jax.encoders import autoencoder_files
from ptdit_jax.experiment.build import Experiment
from ptdit_jax.experiment.origin import Origin
from ptdit_jax.parallel.rules import replicated
from ptdit_jax.progress import Bar
from ptdit_jax.training.state import ema_name

HEAD_WIDTH = 72  # features of a head, of every model of the family
SIDE = 1024  # pixels, unless --size says otherwise
END = 2**20  # bytes at both ends of a file by which it is known


def of_release(file: Path, *, text_encoder: str, vae: str, key: str | None = None) -> Origin:
    """The released weights, or others in their layout, with a config of their sizes.

    Args:
      file: see `convert.weights.open_weights`.
      text_encoder: `text_encoder.path`.
      vae: `autoencoder.path`.
      key: where the network is in the file; None finds it.

    Raises:
      ValueError: the file is of another network, or cannot be read.
      OSError: there is no such file or folder.
    """
    found = weights.open_weights(file, key)
    layout = layouts.named("ptdit")
    if layout not in layouts.recognised(found.shapes):
        raise ValueError(
            f"--from-release={file} has not the layout of {layout.title}; other weights are read by "
            "python -m ptdit_jax.convert from-torch, and drawn from with --checkpoint"
        )
    config = config_of(found.shapes, layout.buffer, layout.implied(found.shapes), file)
    _, side = _of_vae(vae)
    config.data.pixels_per_latent = side
    config.data.height = config.data.width = SIDE // side
    config.text_encoder.path = text_encoder
    config.autoencoder.path = vae
    rules.validate(config, check_data=False)
    arch = rules.architecture(config)
    matching.match(found, arch, config)

    def load(experiment: Experiment, mesh: Mesh) -> Any:
        silent = jax.process_index() != 0
        with Bar(len(layout.shapes(arch)), "read", "tensor", silent=silent) as bar:
            flat: dict[Any, Any] = layout.assemble(bar.counting(found.read), arch)
        wanted = flatten_dict(nnx.to_pure_dict(experiment.abstract))
        assert flat.keys() == wanted.keys()
        for path in list(flat):  # one after the other: the host holds few of them twice
            flat[path] = jax.device_put(flat[path], replicated(mesh))
        return unflatten_dict(flat)

    title, identity = f"the weights of {found.path}", _fingerprint(found.path)
    return Origin(title, ema_name(0), identity, config, found.path, None, load)


def config_of(
    shapes: Mapping[str, tuple[int, ...]], buffer: str, sizes: Mapping[str, int], file: Path
) -> Any:
    """The config of weights in the released layout, without encoders.

    Args:
      shapes: of the file's tensors.
      buffer: the name of its table of positions.
      sizes: fields of `config.model` that the shapes tell.
      file: for messages.

    Raises:
      ValueError: the width is none of the family.
    """
    config = t2i_xl_1024_release.get_config()
    width = sizes.get("width", 0)
    if not width or width % HEAD_WIDTH or "text_dim" not in sizes:
        raise ValueError(
            f"--from-release={file}: a width of {width}, text features of {sizes.get('text_dim')}: the released "
            f"models have a multiple of {HEAD_WIDTH} and those of a T5"
        )
    config.model.update(sizes)
    config.model.variant, config.model.heads = "custom", width // HEAD_WIDTH
    if buffer in shapes:  # (1, frames, side in tokens squared, width)
        _, config.data.frames, tokens, _ = shapes[buffer]
        config.model.sample_size = round(tokens**0.5) * config.model.patch
    config.sampling.ema = 0.0
    config.train.ema_decays = ()
    return config


def _of_vae(path: str) -> tuple[int, int]:
    """Channels and pixels a latent of an autoencoder's folder."""
    config, _ = autoencoder_files.find(Path(path))
    if not config.is_file():
        raise ValueError(f"--vae={path} has no config.json; name the folder of an autoencoder")
    facts = autoencoder_files.json_files.read(config, "config of an autoencoder")
    arch = autoencoder_files.architecture(facts, str(config))
    if isinstance(arch, autoencoder_files.KLArchitecture):
        return arch.latent_channels, arch.factor[1]
    return autoencoder_files.causal_vae.LATENT_CHANNELS, autoencoder_files.causal_vae.FACTOR[1]


def _fingerprint(file: Path) -> str:
    """Of a file's size and its two ends, which is where names, shapes and the last weights stand."""
    size = file.stat().st_size
    with file.open("rb") as content:
        first = content.read(END)
        content.seek(max(0, size - END))
        return hashlib.sha256(first + content.read() + str(size).encode()).hexdigest()
