"""Sample from the weights in this folder; needs PyTorch, numpy, safetensors and pillow.

    python sample.py --label 3 --count 16 --out samples.png         class-conditional
    python sample.py --text states.npz --out latents.npy            text
    python sample.py --noise noise.npy ...                          from given noise (N, C, F, H, W) at t = 1

states.npz holds the states of a text encoder: text (N, L, E), mask (N, L), 1 = keep, and for guidance those
of the empty text, null_text (L, E) and null_mask (L,).  What is not given is as in config.json.  A file .npy
gets the samples as they are, (N, C, F, H, W) float32; a .png can be drawn of pixels, not of latents.

On `--device npu` (Ascend) the network runs in bfloat16 with the fused attention of torch_npu; README.md tells
what has been run on which hardware.

Shapes: N samples, C channels, F frames, H height, W width, L text tokens, E features of the text encoder.
"""

import argparse
import dataclasses
import importlib
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from modeling_ptdit import Architecture, Attend, load, npu_attention, read_config, sdpa
from samplers import SAMPLERS, flow_rows, flow_sample, guided, vp_rows, vp_sample


@dataclasses.dataclass(frozen=True)
class Device:
    """Where and how the network runs: a device's name, the dtype of the parameters, the attention."""

    name: str
    dtype: torch.dtype
    attend: Attend


def choose_device(name: str) -> Device:
    """The device "cpu", "cuda" or "npu"; ends the program with a line where it is not there."""
    if name == "npu":
        try:
            torch_npu = importlib.import_module("torch_npu")
        except ImportError as error:
            raise SystemExit(
                "error: --device npu needs torch_npu: pip install torch_npu, in the version of your PyTorch "
                "and CANN"
            ) from error
        fused = hasattr(torch_npu, "npu_fusion_attention")
        return Device("npu", torch.bfloat16, npu_attention(torch_npu) if fused else sdpa)
    if name == "cuda" and not torch.cuda.is_available():
        raise SystemExit("error: --device cuda: this PyTorch sees no CUDA device")
    return Device(name, torch.float32, sdpa)


# What config.json says, at the size of the samples.


def window_for(
    compression: dict[str, Any], frames: int, height_px: int, width_px: int
) -> tuple[int, int, int]:
    """The window of a size: the fixed one, or that of the nearest resolution (in log) of the table."""
    if compression["fixed"]:
        return tuple(compression["fixed"])
    table = {int(name[2:]): value for name, value in compression.items() if name.startswith("px")}
    side = math.sqrt(height_px * width_px)
    _, ratio_h, ratio_w = table[min(table, key=lambda row: abs(math.log(row / side)))]
    return (1 if frames == 1 else compression["video_frames"], ratio_h, ratio_w)


def shift_ratio(
    diffusion: dict[str, Any], data: dict[str, Any], frames: int, height_px: int, width_px: int
) -> float:
    """r of the resolution shift of flow times, r·u / (1 + (r-1)·u): √(H·W / 512²)·√T·scale, or 1."""
    if diffusion["shift"] == "none":
        return 1.0
    duration = frames
    if diffusion["shift"] == "released":
        pixel_frames = data["pixel_frames"] if frames == data["frames"] and data["pixel_frames"] else frames
        duration = 1 if pixel_frames == 1 else pixel_frames // 17 * 5
    return math.sqrt(height_px * width_px / 512**2) * math.sqrt(duration) * diffusion["shift_scale"]


def read_condition(args: argparse.Namespace, arch: Architecture, count: int) -> tuple[Any, Any]:
    """The condition of `count` samples and the null condition, on the CPU; ends the program if one lacks."""
    if arch.condition == "none":
        return None, None
    if arch.condition == "class":
        if args.label is not None and not 0 <= args.label < arch.classes:
            raise SystemExit(f"error: --label {args.label} must be in [0, {arch.classes})")
        labels = (
            torch.arange(count) % arch.classes if args.label is None else torch.full((count,), args.label)
        )
        return labels, torch.full((count,), arch.classes)
    if args.text is None:
        raise SystemExit("error: a text model needs --text, the states of its text encoder (see --help)")
    with np.load(args.text) as file:
        states = {name: torch.from_numpy(file[name]) for name in file.files}
    absent = {"text", "mask", "null_text", "null_mask"} - set(states)
    if absent:
        raise SystemExit(f"error: --text {args.text} lacks {', '.join(sorted(absent))}")
    pick = torch.arange(count) % len(states["text"])
    null_text = states["null_text"].reshape(1, *states["text"].shape[1:]).expand(count, -1, -1)
    null_mask = states["null_mask"].reshape(1, -1).expand(count, -1)
    return (states["text"][pick], states["mask"][pick]), (null_text, null_mask)


def to_device(value: Any, device: str) -> Any:
    """A tensor, a tuple of them, or None, on a device."""
    if isinstance(value, tuple):
        return tuple(to_device(part, device) for part in value)
    return value if value is None else value.to(device)


def grid(images: np.ndarray) -> np.ndarray:
    """One picture (rows, columns, C) uint8 of samples (N, C, F, H, W) in [-1, 1]; a video takes a row."""
    count, channels, frames, height, width = images.shape
    pixels = np.rint((images.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    tiles = pixels.transpose(0, 3, 2, 4, 1).reshape(count, height, frames * width, channels)
    columns = 1 if frames > 1 else math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    page = np.full((rows * columns, height, frames * width, channels), 255, np.uint8)
    page[:count] = tiles
    page = page.reshape(rows, columns, height, -1, channels).transpose(0, 2, 1, 3, 4)
    return page.reshape(rows * height, -1, channels).repeat(4, axis=0).repeat(4, axis=1)


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--folder", type=Path, default=Path(__file__).parent, help="of config.json and model.safetensors")
    add("--label", type=int, help="class of every sample; without it, all classes in turn")
    add("--text", type=Path, metavar="FILE.npz", help="states of the text encoder")
    add("--noise", type=Path, metavar="FILE.npy", help="initial noise; its length is the count")
    add("--count", type=int, default=16)
    add("--batch", type=int, default=16, help="samples made together")
    add("--seed", type=int, default=0)
    add("--sampler", help="flow: euler, heun, sde; vp: ddpm, ddim, dpmpp_2m")
    add("--steps", type=int)
    add("--guidance", type=float, help="scale, 1 = none")
    add("--frames", type=int, help="latent frames, if other than in training")
    add("--height", type=int, help="latent rows")
    add("--width", type=int, help="latent columns")
    add("--device", choices=("cpu", "cuda", "npu"), default="cpu")
    add("--dtype", choices=("float32", "bfloat16"), help="default: float32, on an npu bfloat16")
    add("--out", type=Path, default=Path("samples.png"), metavar="FILE", help=".png or .npy")
    return parser.parse_args(argv)


@torch.no_grad()
def generate(args: argparse.Namespace) -> np.ndarray:
    """The samples (N, C, F, H, W) float32 of a command line."""
    device = choose_device(args.device)
    arch, content = read_config(args.folder)
    config = content["config"]
    data, diffusion, sampling = config["data"], config["diffusion"], config["sampling"]
    sampler, steps = args.sampler or sampling["sampler"], args.steps or sampling["steps"]
    scale = sampling["guidance"] if args.guidance is None else args.guidance
    if sampler not in SAMPLERS[diffusion["path"]]:
        raise SystemExit(
            f"error: --sampler {sampler}: this model takes {', '.join(SAMPLERS[diffusion['path']])}"
        )
    if arch.condition == "none" and scale != 1:
        raise SystemExit(f"error: --guidance {scale:g} must be 1: the model has no condition")

    generator = torch.Generator().manual_seed(args.seed)
    if args.noise is not None:
        noise = torch.from_numpy(np.load(args.noise).astype(np.float32))
        if noise.ndim != 5 or noise.shape[1] != arch.channels:
            raise SystemExit(
                f"error: --noise has shape {tuple(noise.shape)}, not (N, {arch.channels}, F, H, W)"
            )
    else:
        size = [getattr(args, name) or data[name] for name in ("frames", "height", "width")]
        noise = torch.randn((args.count, arch.channels, *size), generator=generator)
    count, _, frames, height, width = noise.shape
    pixels = (height * data["pixels_per_latent"], width * data["pixels_per_latent"])
    window = window_for(config["compression"], frames, *pixels)
    proxy_ratio = config["compression"]["proxy"] or None

    dtype = getattr(torch, args.dtype) if args.dtype else device.dtype
    model = load(args.folder, dtype=dtype).to(device.name).eval()
    model.use_attention(device.attend)

    def network(x: torch.Tensor, t: torch.Tensor, condition: Any) -> torch.Tensor:
        x, t, condition = to_device((x, t, condition), device.name)
        return model(x, t, condition, window=window, proxy_ratio=proxy_ratio).float().cpu()

    condition, null = read_condition(args, arch, count)
    samples = []
    for first in range(0, count, args.batch):
        part = slice(first, first + args.batch)
        here, none = (
            tuple(v[part] for v in value)
            if isinstance(value, tuple)
            else value
            if value is None
            else value[part]
            for value in (condition, null)
        )
        denoise = guided(network, here, none, scale, tuple(sampling["guidance_interval"]))
        if diffusion["path"] == "flow":
            rows = list(flow_rows(sampler, steps, shift_ratio(diffusion, data, frames, *pixels)))
            x = flow_sample(denoise, noise[part], rows, sampler, generator)
        else:
            rows = list(vp_rows(sampler, steps))
            options = {name: diffusion[name] for name in ("prediction", "learn_variance")}
            x = vp_sample(denoise, noise[part], rows, sampler, generator, **options)
        samples.append(x.numpy())
    return np.concatenate(samples)


def main(argv: list[str]) -> None:
    """Sample and write the file."""
    args = parse(argv)
    channels = read_config(args.folder)[0].channels
    if args.out.suffix not in (".png", ".npy"):
        raise SystemExit(f"error: --out {args.out} must end with .png or .npy")
    if args.out.suffix == ".png" and channels not in (1, 3):
        raise SystemExit(
            f"error: samples have {channels} channels, latents: write them with --out samples.npy"
        )
    images = generate(args)
    if args.out.suffix == ".npy":
        np.save(args.out, images)
    else:
        from PIL import Image

        page = grid(images)
        Image.fromarray(page[..., 0] if channels == 1 else page).save(args.out)
    print(f"{len(images)} samples: {args.out}")


if __name__ == "__main__":
    main(sys.argv[1:])
