"""Exported folders, sound and damaged, and the files that are given to their sample.py with flags."""

import json
import lzma
import os
import shutil
import zipfile

import numpy as np
from safetensors.torch import load_file, save_file

from ptdit_jax.convert import conversion, parity
from tests.convert import small

NOISE = np.random.default_rng(0).standard_normal((2, 1, 1, 8, 8)).astype(np.float32)


def write(folder, **fields):
    """An exported tiny model, as `convert to-torch` writes it."""
    config = small.config(sampling__ema=0.0, sampling__steps=2, **fields)
    folder.mkdir()
    save_file(small.released_tensors(config), folder / "model.safetensors")
    arch = conversion.architecture(config)
    conversion.write_export(folder, arch, config, name="params", dtype="float32", report=parity.UNCHECKED)


def variant(folder, *, base="class", edit=None, config=None, weights=None):
    """A copy of an exported folder with a changed config.json, or other files."""
    shutil.copytree(folder.parent / base, folder)
    if edit is not None:
        content = json.loads((folder / "config.json").read_text())
        edit(content)
        config = json.dumps(content)
    for name, data in (("config.json", config), ("model.safetensors", weights)):
        if data is not None:
            (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def field(path, value):
    """An edit of one field of a config.json, "a.b.c"; `KeyError` as the value removes it."""

    def edit(content):
        *way, last = path.split(".")
        for name in way:
            content = content[name]
        if value is KeyError:
            del content[last]
        else:
            content[last] = value

    return edit


EDITS = {
    "depth0": ("architecture.depth", 0),
    "depth-huge": ("architecture.depth", 10**11),
    "depth-text": ("architecture.depth", "2"),
    "heads": ("architecture.heads", 3),
    "width-huge": ("architecture.width", 16 * 10**8),
    "adaln": ("architecture.adaln", "triple"),
    "modulated": ("architecture.modulated", ["windows"]),
    "no-patch": ("architecture.patch", KeyError),
    "unknown": ("architecture.bigger", 1),
    "no-section": ("config.sampling", KeyError),
    "sections": ("config", [1]),
    "steps0": ("config.sampling.steps", 0),
    "guidance-nan": ("config.sampling.guidance", float("nan")),
    "interval": ("config.sampling.guidance_interval", [0.5, 0.1]),
    "method": ("config.sampling.sampler", "ddim"),
    "prediction": ("config.diffusion.prediction", "eps"),
    "height-float": ("config.data.height", 8.0),
    "window": ("config.compression.fixed", [1, 0, 2]),
    "proxy": ("config.compression", {"fixed": [1, 4, 4], "proxy": [1, 3, 3], "video_frames": 1}),
    "mlp": ("architecture.mlp_ratio", 3),
    "classes": ("architecture.classes", 11),
}
"""Folders whose config.json has another field."""


def folders(place):
    """Exported models of every condition, and what may be wrong in such a folder."""
    write(place / "class")
    write(place / "text", model__condition="text", model__text_dim=4, sampling__guidance=2.0)
    write(place / "none", model__condition="none", sampling__guidance=1.0)
    write(place / "latents", model__channels=4, model__patch=2)
    for name, (path, value) in EDITS.items():
        variant(place / name, edit=field(path, value))
    sound = (place / "class" / "config.json").read_text()
    variant(place / "cut", config=sound[: len(sound) // 2])
    variant(place / "emptied", config="")
    variant(place / "list", config="[]")
    variant(place / "deep", config="[" * 100_000)
    variant(place / "binary", config=b"\xff\xfe\x00")
    (place / "bare").mkdir()
    data = (place / "class" / "model.safetensors").read_bytes()
    variant(place / "w-cut", weights=data[:-100])
    variant(place / "w-empty", weights=b"")
    variant(
        place / "w-pointer", weights=b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"
    )
    variant(place / "w-none")
    (place / "w-none" / "model.safetensors").unlink()
    variant(place / "w-other", weights=(place / "text" / "model.safetensors").read_bytes())
    tensors = load_file(place / "class" / "model.safetensors")
    bias = tensors["proj_out.bias"]
    for name, changed in {"w-nan": bias * np.nan, "w-shape": bias[:-1].clone(), "w-int": bias.long()}.items():
        variant(place / name)
        save_file(tensors | {"proj_out.bias": changed}, place / name / "model.safetensors")


def noises(place):
    """Files for --noise."""
    noise = NOISE
    arrays = {"noise": noise, "n-4d": noise[0], "n-channels": noise.repeat(3, 1), "n-none": noise[:0]}
    arrays |= {
        "n-odd": np.zeros((2, 4, 1, 8, 7)),
        "n-text": np.full(noise.shape, "a"),
        "n-large": noise.astype(float) * 1e300,
    }
    arrays |= {"n-nan": np.where(noise > 2, np.nan, noise), "n-complex": noise * 1j}
    arrays |= {"n-inf": np.where(noise > 2, -np.inf, noise), "n-object": np.array([None, {}], object)}
    for name, array in arrays.items():
        np.save(place / f"{name}.npy", array)
    sound = (place / "noise.npy").read_bytes()
    headers = {
        "n-cut": sound[:-10],
        "n-empty": b"",
        "n-open": sound.replace(b"8, 8), }", b"8, 8,    "),
        "n-absurd": sound.replace(b"(2, 1, 1, 8, 8), }", b"(999999999999999,)").replace(b"999,)", b"99,)}"),
        "n-negative": sound.replace(b"(2, 1", b"(-2,1"),
    }
    for name, content in headers.items():
        (place / f"{name}.npy").write_bytes(content)
    os.mkfifo(place / "n-fifo.npy")


def texts(place):
    """Files for --text."""
    states = {
        "text": NOISE[:, 0, 0, :3, :4],
        "mask": np.ones((2, 3), np.int32),
        "null_text": NOISE[0, 0, 0, :3, :4],
        "null_mask": np.array([1, 0, 0]),
    }
    bad = {
        "t-features": {"text": NOISE[:, 0, 0, :3, :5]},
        "t-flat": {"text": NOISE[0, 0, 0]},
        "t-mask": {"mask": np.ones((2, 4))},
        "t-zero": {"mask": np.array([[1, 1, 0], [0, 0, 0]])},
        "t-scores": {"mask": np.full((2, 3), 0.5)},
        "t-null": {"null_text": NOISE[0, 0, 0, :2, :4]},
        "t-nulls": {"null_mask": np.zeros(3)},
        "t-nan": {"text": states["text"] * np.nan},
        "t-object": {"text": np.array([None])},
    }
    np.savez(place / "states.npz", **states)
    np.savez(place / "t-lacks.npz", text=states["text"], mask=states["mask"])
    for name, changed in bad.items():
        np.savez(place / f"{name}.npz", **(states | changed))
    sound = (place / "states.npz").read_bytes()
    (place / "t-cut.npz").write_bytes(sound[: len(sound) // 2])
    (place / "t-flipped.npz").write_bytes(sound.replace(b"\x93NUMPY", b"\x93NUMBY"))
    with zipfile.ZipFile(place / "t-lzma.npz", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("text.npy", lzma.compress(sound))
        file.writestr("mask.npy", b"")
