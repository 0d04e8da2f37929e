"""Sample from the weights in this folder; needs PyTorch, numpy, safetensors and pillow.

    python sample.py --label 3 --count 16 --out samples.png         class-conditional
    python sample.py --prompt "a red seven" --text-encoder T5 --vae VAE --size 512x768 --out seven.png
    python sample.py --prompts FILE --text-encoder T5 --vae VAE --frames 17 --out films.mp4
    python sample.py --text states.npz --out latents.npy            text that is encoded already
    python sample.py --noise noise.npy ...                          from given noise (N, C, F, H, W) at t = 1

T5 is a folder of transformers with the text encoder that the model was trained with and its tokenizer (default: the
text_encoder/ in this folder, where there is one); VAE one of diffusers with an AutoencoderKL, or of the released
CausalVAE.  Prompts are cleaned as those of the training were.  The encoder, the network and the VAE are in memory one
after the other.  Guidance leads away from --negative, by default from the empty caption.

states.npz holds the states of a text encoder: text (K, L, E), mask (K, L), 1 = keep, and for guidance those
of the empty text, null_text (L, E) and null_mask (L,); captions come in turn.  What is not given is as in config.json.
A file .npy gets the samples as they are, (N, C, F, H, W) float32; a .png, .gif or .mp4 can be drawn of pixels, not of
latents, and holds the prompts and the settings as its text or comment.

On `--device npu` (Ascend) the network runs in bfloat16 with the fused attention of torch_npu; README.md tells
what has been run on which hardware.

Exit code: 0 done; 1 a file is missing or cannot be written, memory is too small, or the samples are not finite; 2 the
command, or the content of a file, is wrong.

Shapes: N samples, C channels, F frames, H height, W width, K captions, L text tokens, E features of the text encoder.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

try:
    import numpy as np
    import torch
    from decoding import open_decoder
    from devices import Device, check_device, choose_device, to_device
    from inputs import (
        check_layout,
        check_numbers,
        check_weights,
        read_condition,
        read_noise,
        reason,
        require,
        set_size,
    )
    from modeling_ptdit import load
    from pictures import check_out, write
    from prompts import encode, find_encoder, read_prompts
    from samplers import Denoise, Row, flow_rows, flow_sample, guided, vp_rows, vp_sample
    from settings import Settings, read, shift_ratio
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing}: pip install -r requirements.txt, and keep the files of this folder together")


class NotFinite(ArithmeticError):
    """Samples that are not finite."""


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
    add("--prompt", action="append", metavar="TEXT", help="what to draw; may be given several times")
    add("--prompts", type=path, metavar="FILE", help="a prompt a line")
    add("--negative", metavar="TEXT", help="what guidance leads away from")
    add("--text-encoder", type=path, metavar="DIR", help="T5 of transformers, with its tokenizer")
    add("--vae", type=path, metavar="DIR", help="autoencoder that the samples are decoded with")
    add("--noise", type=path, metavar="FILE.npy", help="initial noise; its length is the count")
    add("--count", type=int, help="samples to make (default 16), or of each prompt (default 1)")
    add("--batch", type=int, default=16, help="samples made together")
    add("--seed", type=int, default=0)
    add("--sampler", help="flow: euler, heun, sde; vp: ddpm, ddim, dpmpp_2m")
    add("--steps", type=int)
    add("--guidance", type=float, help="scale, 1 = none")
    add("--size", metavar="HxW", help="pixels, rows x columns, if other than in training")
    add(
        "--frames",
        type=int,
        help="frames, with --vae those of pixels, else of latents, if other than in training",
    )
    add("--height", type=int, help="latent rows")
    add("--width", type=int, help="latent columns")
    add("--device", choices=("cpu", "cuda", "npu"), default="cpu")
    add("--dtype", choices=("float32", "bfloat16"), help="default: float32, on an npu bfloat16")
    add(
        "--text-dtype",
        choices=("float32", "bfloat16"),
        help="of the text encoder (default: as the model was trained)",
    )
    add("--fps", type=float, default=8.0, help="frames a second of films (default 8)")
    add("--out", type=path, default=Path("samples.png"), metavar="FILE", help=".png, .gif, .mp4 or .npy")
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
    prompts = read_prompts(args)
    if prompts is not None:
        find_encoder(args, settings)
        if args.noise is None or args.count is not None:
            args.count = len(prompts) * (args.count or 1)
    decoder = None if args.vae is None else open_decoder(args.vae, settings)
    set_size(args, settings, time=None if decoder is None else decoder.time)
    guided = (settings.sampling["guidance"] if args.guidance is None else args.guidance) != 1
    generator = torch.Generator().manual_seed(args.seed)
    noise = read_noise(args, settings, generator)
    count, rows = len(noise), rows_of(args, settings, noise.shape)
    condition, null = None, None
    if prompts is None:
        condition, null = read_condition(args, settings.arch, count, guided=guided)
    else:
        require(
            count % len(prompts) == 0,
            f"--noise {args.noise} is of {count} samples, which {len(prompts)} prompts do not divide",
        )
    check_layout(check_weights(args.folder / "model.safetensors", settings.arch), noise, settings)
    device = choose_device(args.device)
    check_device(device.name)

    if prompts is not None:
        dtype = getattr(torch, args.text_dtype or settings.text_encoder["dtype"])
        where = {"device": device.name, "dtype": dtype, "guided": guided}
        text, empty = encode(prompts, args.negative, settings, args, **where)
        condition = tuple(part.repeat_interleave(count // len(prompts), dim=0) for part in text)
        null = None if empty is None else tuple(part.expand(count, *part.shape[1:]) for part in empty)
        if null is not None and settings.model["null_mask"] == "caption":
            null = null[0], condition[1]
    latents = denoise(args, settings, device, noise, rows, condition, null, generator)
    if decoder is None:
        return latents.numpy()
    precision = torch.bfloat16 if device.name == "npu" else torch.float32
    return decoder.decode(latents, settings, device.name, precision).numpy()


def method(args: argparse.Namespace, settings: Settings) -> tuple[str, int]:
    """The sampler and its steps."""
    sampling = settings.sampling
    return args.sampler or sampling["sampler"], args.steps or sampling["steps"]


def rows_of(args: argparse.Namespace, settings: Settings, shape: torch.Size) -> list[Row]:
    """A row for each evaluation of the network, for samples of a shape (N, C, F, H, W)."""
    frames, height, width = shape[2:]
    diffusion, sampling = settings.diffusion, settings.sampling
    if diffusion["path"] != "flow":
        return list(vp_rows(*method(args, settings), time_grid=sampling["time_grid"]))
    last = {"last_step": sampling["sde_last_step"], "size": sampling["sde_last_step_size"]}
    ratio = shift_ratio(diffusion, settings.data, frames, *settings.pixels(height, width))
    return list(flow_rows(*method(args, settings), ratio, time_grid=sampling["time_grid"], **last))


def denoise(
    args: argparse.Namespace,
    settings: Settings,
    device: Device,
    noise: torch.Tensor,
    rows: list[Row],
    condition: Any,
    null: Any,
    generator: torch.Generator,
) -> torch.Tensor:
    """The samples (N, C, F, H, W) of checked noise and conditions; the network is freed after.

    Raises:
      NotFinite: they are not.
    """
    diffusion, sampling = settings.diffusion, settings.sampling
    sampler, steps = method(args, settings)
    scale = sampling["guidance"] if args.guidance is None else args.guidance
    window = settings.window(*noise.shape[2:])
    dtype = getattr(torch, args.dtype) if args.dtype else device.dtype
    model = load(args.folder, dtype=dtype).to(device.name).eval()
    model.use_attention(device.attend)

    def network(x: torch.Tensor, t: torch.Tensor, condition: Any) -> torch.Tensor:
        x, t, condition = to_device((x, t, condition), device.name)
        return model(x, t, condition, window=window, proxy_ratio=settings.proxy_ratio).float().cpu()

    samples = []
    for first in range(0, len(noise), args.batch):
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
        denoiser = guided(network, here, none, scale, interval, channels)
        denoiser = watched(denoiser, f"{sampler}, {steps} steps, guidance {scale:g}")
        if diffusion["path"] == "flow":
            x = flow_sample(denoiser, noise[part], rows, sampler, generator)
        else:
            options = {name: diffusion[name] for name in ("prediction", "learn_variance")}
            x = vp_sample(denoiser, noise[part], rows, sampler, generator, **options)
        if not x.isfinite().all():
            raise NotFinite(f"the samples are not finite after the last step ({sampler}, guidance {scale:g})")
        samples.append(x)
    return torch.cat(samples)


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


def main(argv: list[str]) -> int:
    """Sample and write the file; returns the exit code."""
    args = parse(argv)
    try:
        check_out(args.out, read(args.folder).arch.channels, pixels=args.vae is not None)
        images = generate(args)
        write(images, args.out, asked(args), fps=args.fps)
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


def asked(args: argparse.Namespace) -> dict[str, Any]:
    """What was given on the command line, for the metadata of a picture."""
    given = {name: value for name, value in vars(args).items() if value is not None and value is not False}
    return {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}


def complain(text: str, code: int) -> int:
    """Say what is wrong in one line; returns the exit code."""
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
