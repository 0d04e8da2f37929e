"""Folders of autoencoders: which network, its weights, and what is beside them.

A folder of diffusers has `config.json` and `diffusion_pytorch_model.safetensors` or `.bin`, or is a pipeline with both
in `vae/`; one of the released CausalVAE has `config.json` and one file of weights of any name.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax import nnx

from ptdit_jax.encoders import autoencoder_kl, causal_vae
from ptdit_jax.encoders import autoencoder_weights as weights
from ptdit_jax.encoders.autoencoder_kl import KLArchitecture
from ptdit_jax.encoders.causal_vae import CausalArchitecture
from ptdit_jax.encoders.tiling import Tiling
from ptdit_jax.weight_files import json_files, reader

Architecture = KLArchitecture | CausalArchitecture

STEM = "diffusion_pytorch_model"
FILES = tuple(
    f"{STEM}{end}" for end in (".safetensors.index.json", ".safetensors", ".bin.index.json", ".bin")
)
KL_OVERLAP = 0.25  # of tiles, in diffusers


@dataclasses.dataclass(frozen=True)
class Opened:
    """An autoencoder in memory.

    Attributes:
      arch: its sizes.
      params: nested dict of float32 numpy arrays.
      fingerprint: sha256 of both.
      facts: its `config.json`.
      file: its weights.
    """

    arch: Architecture
    params: Any
    fingerprint: str
    facts: Mapping[str, Any]
    file: Path

    @property
    def channels(self) -> int:
        """C, latent channels."""
        arch = self.arch
        return arch.latent_channels if isinstance(arch, KLArchitecture) else causal_vae.LATENT_CHANNELS

    @property
    def factor(self) -> tuple[int, int, int]:
        """Pixels a latent along time, rows and columns."""
        return self.arch.factor if isinstance(self.arch, KLArchitecture) else causal_vae.FACTOR

    @property
    def scale(self) -> float | tuple[float, ...]:
        """What latents are multiplied with for the denoiser."""
        if not isinstance(self.arch, KLArchitecture):
            return causal_vae.SCALE
        if self.arch.latents_std:
            return tuple(self.arch.scaling_factor / deviation for deviation in self.arch.latents_std)
        return self.arch.scaling_factor

    @property
    def shift(self) -> float | tuple[float, ...]:
        """What is subtracted from latents before."""
        if not isinstance(self.arch, KLArchitecture):
            return 0.0
        return self.arch.latents_mean or self.arch.shift_factor


def find(path: Path) -> tuple[Path, Path]:
    """The `config.json` and the file of weights of a folder, of a pipeline's `vae/`, or beside a file.

    Raises:
      ValueError: the folder has none, or several.
      OSError: there is no such path.
    """
    if path.is_file():
        return path.parent / "config.json", path
    if path.is_dir() and not (path / "config.json").is_file() and (path / "vae").is_dir():
        path = path / "vae"
    for name in FILES:
        if (path / name).is_file():
            return path / "config.json", path / name
    return path / "config.json", reader.find(path)


def open_folder(path: Path) -> Opened:
    """Read an autoencoder.

    Raises:
      ValueError: it is of another kind, or its files do not fit each other.
      OSError: a file cannot be read.
    """
    config, file = find(path)
    if not config.is_file():
        _refuse_compvis(file)
        raise ValueError(f"{config}: there is no such file, which says what network {file.name} is of")
    facts = json_files.read(config, "config of an autoencoder")
    arch = architecture(facts, str(config))
    tensors, _ = reader.open_file(file)
    if isinstance(arch, KLArchitecture):
        tensors = weights.of_kl(tensors, str(file))
    else:
        tensors = weights.of_causal_vae(tensors)
    renamed = weights.RENAMED[type(arch)]
    _, state = weights.abstract(arch)
    params = weights.load(tensors, nnx.to_pure_dict(state), renamed, str(file))
    return Opened(arch, params, fingerprint(arch, params), facts, file)


def fingerprint(arch: Architecture, params: Any) -> str:
    """sha256 of an architecture, its scale and shift, and its weights; independent of dtypes, files and tiles."""
    facts: dict[str, Any] = {"class": type(arch).__name__} | {
        name: value
        for name, value in dataclasses.asdict(arch).items()
        if not name.startswith(("tile_", "use_tiling", "sample_size"))
    }
    return weights.fingerprint(json.loads(json.dumps(facts)), params, weights.RENAMED[type(arch)])


def architecture(facts: Mapping[str, Any], where: str) -> Architecture:
    """The network of a config.json.

    Raises:
      ValueError: it is none that is supported.
    """
    name = facts.get("_class_name")
    if name == "AutoencoderKL" or (name is None and "block_out_channels" in facts):
        return autoencoder_kl.architecture(facts, where)
    if name in causal_vae.CLASSES or (name is None and "hidden_size_mult" in facts):
        return causal_vae.architecture(facts, where)
    raise ValueError(
        f"{where} is of {name or 'no autoencoder'}; supported are AutoencoderKL (diffusers) and CausalVAEModel"
    )


def _refuse_compvis(file: Path) -> None:
    weights.of_kl(reader.open_file(file)[0], str(file))


def tiling(arch: Architecture, section: Any) -> Tiling | None:
    """The tiles of a config, or None.

    Args:
      arch: the network.
      section: `config.autoencoder`; `tile`, `tile_size`, `tile_frames`.

    Raises:
      ValueError: their size does not fit the network.
    """
    causal = isinstance(arch, CausalArchitecture)
    wanted = {"yes": True, "no": False, "auto": causal and arch.use_tiling}[section.tile]
    if not wanted:
        return None
    if isinstance(arch, CausalArchitecture):
        frames, latent = arch.tile_sample_min_size_t, arch.tile_latent_min_size_t
        if section.tile_frames:
            frames, latent = section.tile_frames, (section.tile_frames - 1) // causal_vae.FACTOR[0] + 1
        size, overlap, factor = arch.tile_sample_min_size, arch.tile_overlap_factor, causal_vae.FACTOR[1]
    else:
        size, overlap, factor = arch.sample_size, KL_OVERLAP, arch.factor[1]
        frames = latent = 0  # frames do not see each other
    try:
        return Tiling(section.tile_size or size, overlap, frames, latent, factor)
    except ValueError as error:
        raise ValueError(
            f"autoencoder.tile_size={section.tile_size}, autoencoder.tile_frames={section.tile_frames}: {error}"
        ) from error
