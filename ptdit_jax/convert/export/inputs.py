"""What `sample.py` is given, checked before the weights are loaded; each problem is one line.

Raises everywhere: ValueError for what is wrong in a flag, in a file's content or in config.json, OSError for a file
that is not there or cannot be written.

Shapes: N samples, K captions, L text tokens, E text features, C channels, F frames, H height, W width.
"""

import argparse
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from modeling_ptdit import Architecture, PTDiT, layout_of
from settings import Settings

DTYPES = ("F64", "F32", "F16", "BF16")  # of stored weights
Condition = Any  # labels (N,), (text (N, L, E), mask (N, L)), or None


def require(holds: bool, text: str) -> None:
    """Raise a ValueError with a text unless something holds."""
    if not holds:
        raise ValueError(text)


def check_numbers(args: argparse.Namespace, settings: Settings) -> None:
    """That every number of the command line has a meaning for this model."""
    for name in ("count", "batch", "frames", "height", "width"):
        value = getattr(args, name)
        require(value is None or value >= 1, f"--{name} {value} must be at least 1")
    require(0 <= args.seed < 2**32, f"--seed {args.seed} must be in [0, 2**32)")
    allowed = settings.samplers
    require(
        args.sampler is None or args.sampler in allowed,
        f"--sampler {args.sampler}: this model takes {', '.join(allowed)}",
    )
    most = settings.most_steps
    require(args.steps is None or 1 <= args.steps <= most, f"--steps {args.steps} must be in [1, {most}]")
    arch, scale = settings.arch, settings.sampling["guidance"] if args.guidance is None else args.guidance
    require(math.isfinite(scale), f"--guidance {scale} must be a finite number")
    require(
        scale == 1 or arch.condition != "none",
        f"--guidance {scale:g} must be 1: the model has no condition",
    )
    for name, kind in (("label", "class"), ("text", "text")):
        value = getattr(args, name)
        require(
            value is None or arch.condition == kind,
            f"--{name} {value} must be left out: the model's condition is {arch.condition!r}",
        )
    if args.label is not None:
        require(0 <= args.label < arch.classes, f"--label {args.label} must be in [0, {arch.classes})")
    asked = args.prompt is not None or args.prompts is not None
    require(
        not asked or arch.condition == "text",
        f"--prompt and --prompts must be left out: the model's condition is {arch.condition!r}",
    )
    require(not asked or args.text is None, f"--text {args.text} must be left out with prompts")
    require(
        arch.condition != "text" or args.text is not None or asked,
        "a text model needs --text, the states of its text encoder, or --prompt (see --help)",
    )
    for name in ("negative", "text_encoder"):
        given = getattr(args, name) is None
        require(given or asked, f"--{name.replace('_', '-')} goes with --prompt or --prompts")
    require(
        args.negative is None or scale != 1,
        f"--negative {args.negative!r} needs guidance, which is --guidance 1",
    )
    require(math.isfinite(args.fps) and args.fps > 0, f"--fps {args.fps} must be a positive number")


def read_noise(args: argparse.Namespace, settings: Settings, generator: torch.Generator) -> torch.Tensor:
    """The noise of the samples, (N, C, F, H, W) float32: that of --noise, or of the generator."""
    arch, count = settings.arch, args.count
    if args.noise is None:
        count = 16 if count is None else count
        sizes: dict[str, int] = {
            name: getattr(args, name) or settings.data[name] for name in ("frames", "height", "width")
        }
        _check_size(args, settings, count, sizes)
        return torch.randn((count, arch.channels, *sizes.values()), generator=generator)
    what = f"--noise {args.noise}"
    noise = read_array(args.noise, what)
    form = f"(N, {arch.channels}, F, H, W)"
    fits = noise.ndim == 5 and noise.shape[1] == arch.channels and noise.size > 0
    require(fits, f"{what} has shape {noise.shape}, not {form}")
    noise = floats(noise, what)
    sizes = dict(zip(("frames", "height", "width"), noise.shape[2:]))
    for name, size in {"count": len(noise), **sizes}.items():
        given = getattr(args, name)
        require(given in (None, size), f"--{name} {given} must be left out or {size}, that of {what}")
    _check_size(args, settings, len(noise), sizes)
    return torch.from_numpy(noise)


def set_size(args: argparse.Namespace, settings: Settings, *, time: int | None) -> None:
    """Latent rows, columns and frames of --size and --frames.

    Args:
      args: the command line, which is changed.
      settings: of the model.
      time: frames of pixels for each latent frame after the first, of the autoencoder; None for latents.
    """
    if args.size is not None:
        match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", args.size)
        unit = settings.data["pixels_per_latent"] * settings.arch.patch
        if match is None:
            raise ValueError(f"--size {args.size} must be HEIGHTxWIDTH in pixels, such as 512x768")
        sides = int(match[1]), int(match[2])
        require(
            args.height is None and args.width is None,
            "--size must be left out with --height and --width, latents",
        )
        require(
            not any(side % unit for side in sides),
            f"--size {args.size}: both must be multiples of {unit} pixels, the side of a token",
        )
        args.height, args.width = (side // settings.data["pixels_per_latent"] for side in sides)
    if time is not None and args.frames is not None:
        require(
            (args.frames - 1) % time == 0,
            f"--frames {args.frames} must be {time}k+1, which the autoencoder's latents stand for",
        )
        args.frames = (args.frames - 1) // time + 1


def _check_size(args: argparse.Namespace, settings: Settings, count: int, sizes: Mapping[str, int]) -> None:
    """That the network takes a size, and that this machine could hold it."""
    arch = settings.arch
    for name in ("height", "width"):
        require(
            sizes[name] % arch.patch == 0,
            f"--{name} {sizes[name]} must be a multiple of the patch, {arch.patch} latent pixels",
        )
    samples = 3 * count * arch.channels * math.prod(sizes.values())
    tokens = min(args.batch, count) * math.prod(sizes.values()) // arch.patch**2
    needed, there = 4 * (samples + 4 * tokens * arch.width), _memory()
    text = ", ".join(f"--{name} {value}" for name, value in {"count": count, **sizes}.items())
    require(
        needed <= there,
        f"{text}, --batch {args.batch} need at least {needed / 2**30:,.1f} GiB of memory, and this machine has "
        f"{there / 2**30:,.1f}",
    )


def _memory() -> float:
    """Bytes of this machine's memory; infinite where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return math.inf


def read_condition(
    args: argparse.Namespace, arch: Architecture, count: int, *, guided: bool
) -> tuple[Condition, Condition]:
    """The condition of `count` samples, and the null condition where it is needed, on the CPU."""
    if arch.condition == "none":
        return None, None
    if arch.condition == "class":
        turns = torch.arange(count) % arch.classes
        labels = turns if args.label is None else torch.full((count,), args.label)
        return labels, torch.full((count,), arch.classes)
    what = f"--text {args.text}"
    names = ("text", "mask", "null_text", "null_mask") if guided else ("text", "mask")
    states = read_arrays(args.text, what, names)
    shape = states["text"].shape
    require(
        len(shape) == 3 and shape[2] == arch.text_dim and min(shape) > 0,
        f"{what}: text has shape {shape}, not (K, L, {arch.text_dim})",
    )
    forms = {"text": shape, "mask": shape[:2], "null_text": (1, *shape[1:]), "null_mask": (1, shape[1])}
    for name in names:
        array, form = states[name], forms[name]
        given = (1, *array.shape) if name.startswith("null") and array.ndim < len(form) else array.shape
        rest = form[1:] if name.startswith("null") else form
        require(given == form, f"{what}: {name} has shape {array.shape}, not {rest}, as text says")
        array = states[name] = floats(array.reshape(form), f"{what}: {name}")
        if name.endswith("mask"):
            require(bool(np.isin(array, (0, 1)).all()), f"{what}: {name} must hold 0 and 1 (keep) alone")
            empty = np.flatnonzero(~array.any(1))
            require(not empty.size, f"{what}: {name} keeps no token in row {empty[:1].tolist()}")
    picks = {"": np.arange(count) % len(states["text"]), "null_": np.zeros(count, int)}
    condition, null = (
        tuple(torch.from_numpy(states[prefix + name][pick]) for name in ("text", "mask"))
        if prefix + "text" in states
        else None
        for prefix, pick in picks.items()
    )
    return condition, null


def floats(array: np.ndarray, what: str) -> np.ndarray:
    """An array of numbers as finite float32."""
    require(array.dtype.kind in "fiub", f"{what} holds {array.dtype}, not numbers")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    require(bool(np.isfinite(array).all()), f"{what} has values that are not finite")
    return array


def read_array(path: Path, what: str) -> np.ndarray:
    """The array of a .npy file."""
    found = _read(path, what, lambda: np.load(path))
    require(isinstance(found, np.ndarray), f"{what} is no .npy file of one array")
    return found


def read_arrays(path: Path, what: str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Arrays of a .npz file by their names."""
    file = _read(path, what, lambda: np.load(path))
    require(isinstance(file, np.lib.npyio.NpzFile), f"{what} is no .npz file")
    with file:
        absent = [name for name in names if name not in file.files]
        require(not absent, f"{what} lacks {', '.join(absent)}; it has {', '.join(file.files) or 'nothing'}")
        arrays = {name: _read(path, f"{what}: {name}", lambda name=name: file[name]) for name in names}
    for name, array in arrays.items():  # what does not begin as an array comes as bytes
        require(isinstance(array, np.ndarray), f"{what}: {name} is no array")
    return arrays


def _read(path: Path, what: str, read: Callable[[], Any]) -> Any:
    """What `read` gets out of a file, whatever is wrong with it."""
    if not path.exists():
        raise FileNotFoundError(f"{what}: there is no such file")
    require(path.is_file(), f"{what} is no ordinary file")
    try:
        return read()
    except OSError as error:
        raise OSError(f"{what} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zip, zlib, lzma, pickle, the headers of numpy: each raises errors of its own
        raise ValueError(f"{what} cannot be read: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """The first line of an error, with its kind."""
    lines = str(error).strip().splitlines()
    return type(error).__name__ + (f": {lines[0][:200]}" if lines else "")


def check_weights(file: Path, arch: Architecture) -> PTDiT:
    """That a file holds the weights of a network, by its header; returns the network without values."""

    def header() -> dict[str, tuple[tuple[int, ...], str]]:
        with safetensors.safe_open(file, "pt") as content:
            parts = {name: content.get_slice(name) for name in content.keys()}  # noqa: SIM118
            return {name: (tuple(p.get_shape()), str(p.get_dtype())) for name, p in parts.items()}

    found = _read(file, str(file), header)
    # First what a network of an absurd config.json could not be built for.
    stated = {name.split(".")[1] for name in found if name.startswith("transformer_blocks.")}
    require(
        len(stated) == arch.depth,
        f"{file} has {len(stated)} blocks, and config.json says depth {arch.depth}",
    )
    side = max(arch.sample_size // arch.patch, 1)
    buffer, form = "pos_embed.pos_embed", (1, arch.frames, side**2, arch.width)
    shape = found.get(buffer, (None, ""))[0]
    require(
        shape == form,
        f"{file}: {buffer} has shape {shape}, not {form}, as config.json says (frames, sample_size, patch, width)",
    )
    with torch.device("meta"):  # no memory for values that are not there
        model = PTDiT(arch)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for text, names in (
        ("lacks", wanted.keys() - found),
        ("has, and the network has not,", found.keys() - wanted),
    ):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        require(not names, f"{file} {text} {min(names, default='')}{more}; config.json is of another network")
    for name, (shape, dtype) in found.items():
        require(
            shape == wanted[name],
            f"{file}: {name} has shape {shape}, not {wanted[name]}, as config.json says",
        )
        require(dtype in DTYPES, f"{file}: {name} is of {dtype}, not one of {', '.join(DTYPES)}")
    return model


def check_layout(model: PTDiT, noise: torch.Tensor, settings: Settings) -> None:
    """That the network takes the window of a size of samples."""
    _, _, frames, height, width = noise.shape
    patch = model.arch.patch
    grid = (frames, height // patch, width // patch)
    try:
        model.check_injection(layout_of(grid, settings.window(frames, height, width), settings.proxy_ratio))
    except ValueError as error:
        raise ValueError(f"samples of {frames} x {height} x {width}: {error}") from error
