"""Sample from the weights in this folder; needs PyTorch, numpy, safetensors and pillow.

    python sample.py --label 3 --count 16 --out samples.png         class-conditional
    python sample.py --text states.npz --out latents.npy            text
    python sample.py --noise noise.npy ...                          from given noise (N, C, F, H, W) at t = 1

states.npz holds the states of a text encoder: text (K, L, E), mask (K, L), 1 = keep, and for guidance those
of the empty text, null_text (L, E) and null_mask (L,); captions come in turn.  What is not given is as in config.json.
A file .npy gets the samples as they are, (N, C, F, H, W) float32; a .png can be drawn of pixels, not of latents.

On `--device npu` (Ascend) the network runs in bfloat16 with the fused attention of torch_npu; README.md tells
what has been run on which hardware.

Exit code: 0 done; 1 a file is missing or cannot be written, memory is too small, or the samples are not finite; 2 the
command, or the content of a file, is wrong.

Shapes: N samples, C channels, F frames, H height, W width, K captions, L text tokens, E features of the text encoder.
"""

import argparse
import dataclasses
import importlib
import math
import sys
from pathlib import Path
from typing import Any, NoReturn

try:
    import numpy as np
    import torch
    from inputs import (
        check_layout,
        check_numbers,
        check_out,
        check_weights,
        draft_of,
        read_condition,
        read_noise,
        reason,
    )
    from modeling_ptdit import Attend, load, npu_attention, sdpa
    from samplers import Denoise, flow_rows, flow_sample, guided, vp_rows, vp_sample
    from settings import read, shift_ratio
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing}: pip install -r requirements.txt, and keep the files of this folder together")


class NotFinite(ArithmeticError):
    """Samples that are not finite."""


@dataclasses.dataclass(frozen=True)
class Device:
    """Where and how the network runs: a device's name, the dtype of the parameters, the attention."""

    name: str
    dtype: torch.dtype
    attend: Attend


def choose_device(name: str) -> Device:
    """The device "cpu", "cuda" or "npu"; a ValueError where it is not there."""
    if name == "npu":
        try:
            torch_npu = importlib.import_module("torch_npu")
        except ImportError as error:
            raise ValueError(
                "--device npu needs torch_npu: pip install torch_npu, in the version of your PyTorch and CANN"
            ) from error
        fused = hasattr(torch_npu, "npu_fusion_attention")
        return Device("npu", torch.bfloat16, npu_attention(torch_npu) if fused else sdpa)
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: this PyTorch sees no CUDA device")
    return Device(name, torch.float32, sdpa)


def check_device(name: str) -> None:
    """That a device computes.

    Raises:
      ValueError: it does not, with what PyTorch says.
    """
    try:
        torch.zeros(1, device=name)
    except Exception as error:  # each backend has errors of its own
        raise ValueError(f"--device {name} does not work: {reason(error)}") from error


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


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """End the program."""
        self.exit(2, f"error: {' '.join(message.split())}; --help tells what there is\n")


def path(text: str) -> Path:
    """A path as typed; ~ is the home folder."""
    return Path(text).expanduser()


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--folder", type=path, default=Path(__file__).parent, help="of config.json and model.safetensors")
    add("--label", type=int, help="class of every sample; without it, all classes in turn")
    add("--text", type=path, metavar="FILE.npz", help="states of the text encoder")
    add("--noise", type=path, metavar="FILE.npy", help="initial noise; its length is the count")
    add("--count", type=int, help="samples to make (default 16)")
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
    add("--out", type=path, default=Path("samples.png"), metavar="FILE", help=".png or .npy")
    add("--debug", action="store_true", help="show where an error comes from")
    return parser.parse_args(argv)


@torch.no_grad()
def generate(args: argparse.Namespace) -> np.ndarray:
    """The samples (N, C, F, H, W) float32 of a command line, which is checked, but for --out, before the weights load.

    Raises:
      ValueError: the command line, or the content of a file, is wrong.
      OSError: a file is missing.
      NotFinite: the samples are not.
    """
    settings = read(args.folder)
    check_numbers(args, settings)
    arch, data, diffusion, sampling = settings.arch, settings.data, settings.diffusion, settings.sampling
    sampler, steps = args.sampler or sampling["sampler"], args.steps or sampling["steps"]
    scale = sampling["guidance"] if args.guidance is None else args.guidance
    generator = torch.Generator().manual_seed(args.seed)
    noise = read_noise(args, settings, generator)
    count, _, frames, height, width = noise.shape
    window, pixels = settings.window(frames, height, width), settings.pixels(height, width)
    if diffusion["path"] == "flow":
        last = {"last_step": sampling["sde_last_step"], "size": sampling["sde_last_step_size"]}
        ratio = shift_ratio(diffusion, data, frames, *pixels)
        rows = list(flow_rows(sampler, steps, ratio, time_grid=sampling["time_grid"], **last))
    else:
        rows = list(vp_rows(sampler, steps, time_grid=sampling["time_grid"]))
    condition, null = read_condition(args, arch, count, guided=scale != 1)
    check_layout(check_weights(args.folder / "model.safetensors", arch), noise, settings)
    device = choose_device(args.device)
    check_device(device.name)

    dtype = getattr(torch, args.dtype) if args.dtype else device.dtype
    model = load(args.folder, dtype=dtype).to(device.name).eval()
    model.use_attention(device.attend)

    def network(x: torch.Tensor, t: torch.Tensor, condition: Any) -> torch.Tensor:
        x, t, condition = to_device((x, t, condition), device.name)
        return model(x, t, condition, window=window, proxy_ratio=settings.proxy_ratio).float().cpu()

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
        interval, channels = tuple(sampling["guidance_interval"]), sampling["guidance_channels"]
        denoise = guided(network, here, none, scale, interval, channels)
        denoise = watched(denoise, f"{sampler}, {steps} steps, guidance {scale:g}")
        if diffusion["path"] == "flow":
            x = flow_sample(denoise, noise[part], rows, sampler, generator)
        else:
            options = {name: diffusion[name] for name in ("prediction", "learn_variance")}
            x = vp_sample(denoise, noise[part], rows, sampler, generator, **options)
        if not x.isfinite().all():
            raise NotFinite(f"the samples are not finite after the last step ({sampler}, guidance {scale:g})")
        samples.append(x.numpy())
    return np.concatenate(samples)


def watched(denoise: Denoise, how: str) -> Denoise:
    """The function, which raises a `NotFinite` when what it predicts is not; `how` says how it is sampled."""

    def watching(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        prediction = denoise(x, t)
        if not prediction.isfinite().all():
            raise NotFinite(
                f"the network's output is not finite at t = {t[0]:.4g} ({how}); no file is written"
            )
        return prediction

    return watching


def write(images: np.ndarray, out: Path) -> None:
    """Write a file whole or not at all."""
    draft = draft_of(out)
    try:
        with draft.open("wb") as file:
            if out.suffix.lower() == ".npy":
                np.save(file, images)
            else:
                from PIL import Image

                page = grid(images)
                Image.fromarray(page[..., 0] if page.shape[-1] == 1 else page).save(file, "PNG")
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)


def main(argv: list[str]) -> int:
    """Sample and write the file; returns the exit code."""
    args = parse(argv)
    try:
        check_out(args.out, read(args.folder).arch.channels)
        images = generate(args)
        write(images, args.out)
        print(f"{len(images)} samples: {args.out}")
        return 0
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    except Exception as error:
        if args.debug:
            raise
        if isinstance(error, ValueError):
            return complain(str(error), 2)
        if isinstance(error, OSError | NotFinite):
            return complain(str(error), 1)
        # PyTorch has no kind of its own for the CPU's memory.
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error)):
            return complain(f"out of memory, a smaller --batch or --count needs less: {reason(error)}", 1)
        raise


def complain(text: str, code: int) -> int:
    """Say what is wrong in one line; returns the exit code."""
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
