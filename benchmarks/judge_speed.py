"""Time of the networks that judge samples: pictures or films a second, of random weights, preparation included.

python -m benchmarks.judge_speed [--networks inception,dinov2,clip,i3d,c3d] [--seconds 20]

Pictures are of 256x256 pixels, films 16 frames of 256x256; a network looks at 8 pictures or a film together.  Sizes are
those of the published files: DINOv2 is ViT-L/14, CLIP is ViT-B/32.  Reading files is not in the times.  The second
column is by the seconds that cores worked, all threads together: with one thread (taskset -c 0) what an idle machine
would reach by the clock, where others use this one at the same time.
"""

import argparse
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import transformers

from benchmarks.timing import median_seconds
from ptdit_jax.evaluation import clips, isv
from ptdit_jax.features import c3d, clip, dinov2, i3d, inception, preparation
from ptdit_jax.features import folder as folders

SIDE, FRAMES = 256, 16
PICTURES, FILMS = 8, 1  # looked at together
RNG = np.random.default_rng(0)
Call = Callable[[], Any]


def arrays_of(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Random tensors by name: kernels that keep the scale of what they are given, and variances that are positive."""
    found = {}
    for name, shape in shapes.items():
        values = RNG.standard_normal(shape, np.float32)
        if name.endswith("running_var"):
            values = np.abs(values) + 0.5
        elif len(shape) > 1:
            values *= np.float32((2 / np.prod(shape[1:])) ** 0.5)
        found[name] = values
    return found


def section_of(config: Any, kind: str, folder: Path) -> folders.Section:
    """What a folder of `transformers` with such a config says."""
    (folder / "config.json").write_text(json.dumps(config.to_dict(), default=str))
    return folders.config(folder, kind)


def of_file(module: Any, folder: Path) -> Any:
    """The parameters that a module reads of a file of random weights."""
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in arrays_of(module.shapes()).items()}
    path = folder / f"{module.__name__}.pt"
    torch.save(tensors, path)
    params, _ = module.load(path)
    path.unlink()
    return params


def by_inception(folder: Path, pictures: np.ndarray, films: np.ndarray) -> Call:
    """Inception-v3 with its resize."""
    params, network = of_file(inception, folder), jax.jit(inception.apply)
    return lambda: network(params, pictures)


def by_dinov2(folder: Path, pictures: np.ndarray, films: np.ndarray) -> Call:
    """ViT-L/14 with its resize by Pillow."""
    sizes: dict[str, Any] = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
    config = transformers.Dinov2Config(**sizes, image_size=518, patch_size=14)
    arch = dinov2.read_architecture(section_of(config, "dinov2", folder))
    params = dinov2.to_params(arrays_of(dinov2.shapes(arch, recent=True)), arch)
    network = jax.jit(functools.partial(dinov2.apply, arch))
    return lambda: network(params, dinov2.PAPER(pictures))


def by_clip(folder: Path, pictures: np.ndarray, films: np.ndarray) -> Call:
    """ViT-B/32 with its resize by Pillow; captions, of which there are fewer than frames, are not in it."""
    arch = clip.read_architecture(section_of(transformers.CLIPConfig(), "clip", folder))
    params = clip.to_params(arrays_of(clip.shapes(arch)), arch)
    network = jax.jit(functools.partial(clip.embed_images, arch))
    prepare = preparation.Preparation()
    return lambda: network(params, prepare(pictures))


def by_i3d(folder: Path, pictures: np.ndarray, films: np.ndarray) -> Call:
    """Inception-3D with StyleGAN-V's resize."""
    params = of_file(i3d, folder)
    network = jax.jit(lambda params, films: i3d.apply(params, clips.network_sees(films, "bilinear_whole")))
    return lambda: network(params, films)


def by_c3d(folder: Path, pictures: np.ndarray, films: np.ndarray) -> Call:
    """C3D with TGANv2's resize."""
    params, score = of_file(c3d, folder), isv.PRESETS["stylegan_v"]
    network = jax.jit(
        lambda params, films: c3d.apply(params.layers, isv.network_sees(films, params.mean, score))
    )
    return lambda: network(params, films)


NETWORKS = {"inception": by_inception, "dinov2": by_dinov2, "clip": by_clip, "i3d": by_i3d, "c3d": by_c3d}
OF_FILMS = ("i3d", "c3d")


def main() -> int:
    """Measure; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", default=",".join(NETWORKS), help="of them, by commas")
    parser.add_argument("--seconds", type=float, default=20, help="of each network at least")
    args = parser.parse_args()
    names = args.networks.split(",")
    if unknown := [name for name in names if name not in NETWORKS]:
        parser.error(f"--networks={unknown[0]} must be of {', '.join(NETWORKS)}")
    pictures = RNG.integers(0, 256, (PICTURES, SIDE, SIDE, 3)).astype(np.uint8)
    films = RNG.integers(0, 256, (FILMS, FRAMES, SIDE, SIDE, 3)).astype(np.uint8)
    cores = len(os.sched_getaffinity(0))
    print(
        f"{jax.devices()[0].device_kind}, {cores} cores, float32, jax {jax.__version__}; medians by the clock"
    )
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            call = NETWORKS[name](Path(folder), pictures, films)
        jax.block_until_ready(call())  # compiles
        worked = time.process_time()
        seconds, calls = median_seconds(call, args.seconds)
        worked = (time.process_time() - worked) / calls
        count, unit = (FILMS, "films") if name in OF_FILMS else (PICTURES, "pictures")
        print(
            f"{name:10}{count / seconds:8.3f} {unit}/s{count / worked:10.3f} per core second   ({calls} calls)",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
