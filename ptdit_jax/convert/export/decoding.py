"""Latents to pixels: AutoencoderKL of diffusers, or the CausalVAE of the released models, from a folder.

Shapes: N samples, C latent channels, F frames, H rows, W columns of latents; primed ones of pixels.
"""

import dataclasses
import importlib.util
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

# An export has a copy of convert/torch_causal_vae.py beside this.
import torch_causal_vae  # pyright: ignore[reportMissingImports]
from settings import Settings

CAUSAL = ("CausalVAEModel", "CausalVAE")
CAUSAL_SCALE, CAUSAL_TIME, CAUSAL_SIDE, CAUSAL_CHANNELS = 0.18215, 4, 8, 4
CAUSAL_TILES = {  # of its config.json, with the values of the released one
    "use_tiling": True,
    "tile_sample_min_size": 512,
    "tile_sample_min_size_t": 29,
    "tile_latent_min_size_t": 8,
    "tile_overlap_factor": 0.125,
}
Network = Callable[[torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Decoder:
    """An autoencoder's folder, of which the config.json is read.

    Attributes:
      folder: with config.json and the weights.
      facts: its config.json.
      causal: whether it is a CausalVAE.
      channels: C.
      time: frames of pixels for each latent frame after the first.
      side: pixels a latent along rows and columns.
    """

    folder: Path
    facts: Mapping[str, Any]
    causal: bool
    channels: int
    time: int
    side: int

    def decode(self, z: torch.Tensor, settings: Settings, device: str, dtype: torch.dtype) -> torch.Tensor:
        """Pixels (N, 3, F', H', W') float32 of scaled latents (N, C, F, H, W), one sample after the other."""
        run = self._causal(settings, device, dtype) if self.causal else self._kl(settings, device, dtype)
        with torch.no_grad():
            return torch.cat([run(sample[None].to(device, dtype)).float().cpu() for sample in z])

    def _kl(self, settings: Settings, device: str, dtype: torch.dtype) -> Network:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        options: dict[str, Any] = {"torch_dtype": dtype, "local_files_only": True}
        kind: Any = AutoencoderKL
        module = kind.from_pretrained(str(self.folder), **options).eval().to(device)
        if settings.autoencoder["tile"] == "yes":
            module.enable_tiling()
        mean, deviation = (self.facts.get(f"latents_{name}") for name in ("mean", "std"))
        mean = self.facts.get("shift_factor") or 0.0 if mean is None else mean
        columns = lambda v: torch.as_tensor(v, dtype=dtype, device=device).reshape(-1, 1, 1)  # noqa: E731
        scale = self.facts.get("scaling_factor", 0.18215)
        scale, mean = columns(1.0 if deviation is None else deviation) / scale, columns(mean)

        def run(z: torch.Tensor) -> torch.Tensor:
            frames = z.transpose(1, 2).flatten(0, 1)  # each frame is a picture of its own
            pictures = [module.decode(frame[None] * scale + mean).sample for frame in frames]
            return torch.stack(pictures, dim=2)

        return run

    def _causal(self, settings: Settings, device: str, dtype: torch.dtype) -> Network:
        weights = {name: tensor.to(device, dtype) for name, tensor in read_weights(self.folder).items()}

        def network(z: torch.Tensor) -> torch.Tensor:
            return torch_causal_vae.decode(weights, z)

        facts, section = CAUSAL_TILES | dict(self.facts), settings.autoencoder
        wanted = facts["use_tiling"] if section["tile"] == "auto" else section["tile"] == "yes"
        size = (section["tile_size"] or facts["tile_sample_min_size"]) // CAUSAL_SIDE
        frames = facts["tile_latent_min_size_t"]
        if section["tile_frames"]:
            frames = (section["tile_frames"] - 1) // CAUSAL_TIME + 1

        def run(z: torch.Tensor) -> torch.Tensor:
            z = z / CAUSAL_SCALE
            if not wanted or (max(z.shape[3:]) <= size and z.shape[2] <= frames):
                return network(z)
            return tiled(network, z, size=size, frames=frames, overlap=facts["tile_overlap_factor"])

        return run


def open_decoder(folder: Path, settings: Settings) -> Decoder:
    """The autoencoder of a folder, or of the `vae/` in it, held against the model.

    Raises:
      ValueError: it is of another kind, or does not go with the model; or diffusers is missing.
      OSError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"--vae {folder}: there is no such folder")
    if not (folder / "config.json").is_file() and (folder / "vae").is_dir():
        folder = folder / "vae"
    facts = read_json(folder / "config.json", f"--vae {folder}")
    name = facts.get("_class_name")
    if name in CAUSAL or (name is None and "hidden_size_mult" in facts):
        found = Decoder(folder, facts, True, CAUSAL_CHANNELS, CAUSAL_TIME, CAUSAL_SIDE)
        read_weights(folder, only_look=True)
    elif name == "AutoencoderKL":
        if importlib.util.find_spec("diffusers") is None:
            raise ValueError(f"--vae {folder} needs diffusers: pip install -r requirements.txt")
        levels = facts.get("block_out_channels") or [0]
        found = Decoder(folder, facts, False, facts.get("latent_channels", 4), 1, 2 ** (len(levels) - 1))
    else:
        raise ValueError(
            f"--vae {folder} is of {name or 'no autoencoder'}; it must be of AutoencoderKL or CausalVAEModel"
        )
    wanted = settings.arch.channels, settings.data["pixels_per_latent"]
    if (found.channels, found.side) != wanted:
        raise ValueError(
            f"--vae {folder} has latents of {found.channels} channels and {found.side} pixels a side; the model's have "
            f"{wanted[0]} and {wanted[1]}"
        )
    return found


def read_json(file: Path, what: str) -> dict[str, Any]:
    """The object in a .json file.

    Raises:
      ValueError: there is none.
    """
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise ValueError(f"{what} has no {file.name}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold an object")
    return content


def read_weights(folder: Path, *, only_look: bool = False) -> dict[str, torch.Tensor]:
    """The tensors of a CausalVAE by the names that `torch_causal_vae` has; of the one file of weights in a folder.

    Raises:
      ValueError: there is none, or several, or it holds none.
    """
    files = [f for suffix in ("safetensors", "ckpt", "pt", "pth", "bin") for f in folder.glob(f"*.{suffix}")]
    if len(files) != 1:
        raise ValueError(f"--vae {folder} must have one file of weights; it has {len(files)}")
    if only_look:
        return {}
    if files[0].suffix == ".safetensors":
        from safetensors.torch import load_file

        found: Any = load_file(files[0])
    else:
        found = torch.load(files[0], map_location="cpu", weights_only=True)
    for key in ("ema_state_dict", "state_dict", "gen_model"):  # where training scripts keep them
        found = found.get(key, found)
    named = {
        name.removeprefix("module."): tensor for name, tensor in found.items() if torch.is_tensor(tensor)
    }
    if "decoder.conv_in.conv.weight" not in named:
        raise ValueError(f"{files[0]} has no decoder.conv_in.conv.weight; it is of no CausalVAE")
    return named


def tiled(network: Network, z: torch.Tensor, *, size: int, frames: int, overlap: float) -> torch.Tensor:
    """The pixels of latents (1, C, F, H, W) in overlapping tiles, as the released code decodes them.

    Args:
      network: decodes a tile.
      z: unscaled latents.
      size: latents a side of a tile.
      frames: latent frames of a chunk of time; neighbours share one.
      overlap: share of a tile that is blended with the next.
    """
    stride, blend = int(size * (1 - overlap)), int(size * CAUSAL_SIDE * overlap)
    keep = size * CAUSAL_SIDE - blend
    starts = list(range(0, z.shape[2], frames - 1))
    chunks = [(start, after + 1) for start, after in itertools.pairwise(starts)]
    if not chunks or chunks[-1][1] < z.shape[2]:
        chunks.append((starts[-1], z.shape[2]))
    parts = []
    for start, end in chunks:
        rows: list[list[torch.Tensor]] = []
        for i in range(0, z.shape[3], stride):
            row: list[torch.Tensor] = []
            for j in range(0, z.shape[4], stride):
                tile = network(z[:, :, start:end, i : i + size, j : j + size])
                if rows:
                    tile = _blend(rows[-1][len(row)], tile, 3, blend)
                if row:
                    tile = _blend(row[-1], tile, 4, blend)
                row.append(tile)  # the next ones are blended with what this one has become
            rows.append(row)
        whole = [torch.cat([tile[..., :keep, :keep] for tile in row], dim=4) for row in rows]
        parts.append(torch.cat(whole, dim=3)[:, :, bool(parts) :])
    return torch.cat(parts, dim=2)


def _blend(before: torch.Tensor, tile: torch.Tensor, dim: int, extent: int) -> torch.Tensor:
    """A tile whose first positions go over from the last ones of that before it."""
    extent = min(extent, before.shape[dim], tile.shape[dim])
    if not extent:
        return tile
    share = torch.arange(extent, dtype=tile.dtype, device=tile.device) / extent
    share = share.reshape([-1 if axis == dim else 1 for axis in range(tile.ndim)])
    old = before.narrow(dim, before.shape[dim] - extent, extent)
    new, rest = tile.split([extent, tile.shape[dim] - extent], dim)
    return torch.cat([old * (1 - share) + new * share, rest], dim)
