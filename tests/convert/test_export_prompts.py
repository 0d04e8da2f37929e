"""The exported folder from a sentence to pixels: T5 of transformers, the network, AutoencoderKL of diffusers."""

import json
import sys
from pathlib import Path

import av
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from ptdit_jax.convert import conversion, torch_causal_vae
from ptdit_jax.diffusion import samplers
from ptdit_jax.diffusion.guidance import classifier_free
from ptdit_jax.encoders import text
from ptdit_jax.experiment import live_text
from ptdit_jax.experiment.build import build
from tests.convert import small
from tests.convert.test_export import isolated
from tests.encoders import autoencoders
from tests.models import tiny

PROMPTS = ["A Red  seven &amp; a http://x.com/y.png", "the digit 3"]  # cleaning changes the first


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A text model's run, its export, and an autoencoder of 2 pixels a latent, with their config and parameters."""
    place = tmp_path_factory.mktemp("prompts")
    config = small.config(
        sampling__ema=0.0,
        sampling__steps=5,
        sampling__guidance=2.5,
        model__condition="text",
        model__text_dim=128,
        model__text_length=24,
        model__channels=4,
        data__pixels_per_latent=2,
        text_encoder__path="bytes",
        text_encoder__clean="release",
        text_encoder__dtype="float32",
    )
    params = small.random_params(config)
    run = small.write_checkpoint(place / "run", config, params=params)
    conversion.to_torch(run, place / "export", verify=False)
    torch.manual_seed(0)
    module = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[32, 32],
        layers_per_block=1,
        latent_channels=4,
        scaling_factor=0.7,
        shift_factor=0.1,
    )
    autoencoders.disturb(module).save_pretrained(place / "vae")
    return place, config, params


def ours(config, params, noise, vae):
    """The pixels (N, 3, F, H, W) of `PROMPTS` from the same noise, by our encoder, network and decoder."""
    condition = live_text.encode(config, PROMPTS)
    empty = text.null_of(config.text_encoder, length=config.model.text_length)
    null = (np.zeros_like(condition[0]), np.zeros_like(condition[1]))
    null[0][:, : len(empty)], null[1][:, : len(empty)] = empty, True
    model = small.network(config, params)
    each = [tuple(jnp.asarray(a) for a in pair) for pair in (condition, null)]
    denoise = classifier_free(lambda x, t, c: model(x, t, c, window=(1, 2, 2)), *each, 2.5, (0.0, 1.0))
    objective = build(config).objective

    def run(noise):
        return samplers.sample(jax.random.key(0), denoise, noise, objective, sampler="euler", steps=5)

    latents = jax.jit(run, compiler_options=tiny.FAST)(jnp.asarray(noise))
    return np.asarray(autoencoders.open_fast(vae).decode(latents))


@pytest.mark.full  # a process that imports diffusers and transformers
def test_a_prompt_gives_our_picture_without_this_package(place, tmp_path):
    """Cleaned, encoded, guided by the empty caption, decoded: within 1e-3 of ours, in a process without JAX."""
    folder, config, params = place
    noise = np.random.default_rng(0).standard_normal((2, 4, 1, 8, 8)).astype(np.float32)
    np.save(tmp_path / "noise.npy", noise)
    (tmp_path / "prompts.txt").write_text(f"\n{PROMPTS[1]}\n\n")
    arguments = ["--prompt", PROMPTS[0], "--prompts", tmp_path / "prompts.txt", "--vae", folder / "vae"]
    done = isolated(
        folder / "export", *arguments, "--noise", tmp_path / "noise.npy", "--out", tmp_path / "a.npy"
    )
    assert done.returncode == 0, done.stderr
    theirs, wanted = np.load(tmp_path / "a.npy"), ours(config, params, noise, folder / "vae")
    assert theirs.shape == (2, 3, 1, 16, 16)
    assert np.abs(wanted[0] - wanted[1]).max() > 0.05
    np.testing.assert_allclose(theirs, wanted, rtol=0, atol=1e-3)


def generate(program, folder, *arguments):
    flags = [f"--folder={folder / 'export'}", f"--vae={folder / 'vae'}", "--steps=1", *arguments]
    return program.generate(program.parse(flags))


def test_sizes_are_of_pixels_and_counts_of_each_prompt(place, exported_sample):
    folder, _, _ = place
    flags = ["--prompt=a", "--prompt=b", "--count=2", "--size=8x12", "--negative=c", "--frames=3"]
    made = generate(exported_sample, folder, *flags)
    assert made.shape == (4, 3, 3, 8, 12)
    plain = generate(exported_sample, folder, *(flag for flag in flags if "negative" not in flag))
    assert np.abs(made - plain).max() > 1e-3  # what guidance leads away from counts


def test_the_empty_caption_of_the_run_is_exported_and_used(place, exported_sample, tmp_path):
    _, config, params = place
    run = small.write_checkpoint(tmp_path / "run", config, params=params)
    states = np.random.default_rng(1).standard_normal((24, 128)).astype(np.float32)
    np.savez(run / "null_text.npz", null_text=states, null_mask=np.arange(24) < 5)
    conversion.to_torch(run, tmp_path / "export", verify=False)
    args = exported_sample.parse([f"--folder={tmp_path / 'export'}"])
    settings = exported_sample.read(args.folder)
    options = {"device": "cpu", "dtype": torch.float32, "guided": True}
    _, (null, mask) = exported_sample.encode(["a"], None, settings, args, **options)
    np.testing.assert_array_equal(null[0, :5], states[:5])
    assert mask[0].tolist() == [1.0] * 5 + [0.0] * 19
    assert not null[0, 5:].any()


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--size=7x8", r"--size 7x8: both must be multiples of 2 pixels"),
        ("--size=8", r"--size 8 must be HEIGHTxWIDTH in pixels"),
        ("--size=8x8 --height=4", "--size must be left out with --height"),
        ("--text-encoder={}/absent", "--text-encoder .*absent: there is no such folder"),
        ("--text-encoder={}/vae", "--text-encoder .*vae is of None; it must be of t5"),
        ("--vae={}/absent", "--vae .*absent: there is no such folder"),
        ("--vae={}/export/text_encoder", "is of no autoencoder; it must be of AutoencoderKL"),
        ("--text=a.npz", "--text a.npz must be left out with prompts"),
        ("--guidance=1 --negative=b", "--negative 'b' needs guidance"),
        ("--fps=0", "--fps 0.0 must be a positive number"),
        ("--prompts={}/absent.txt", "--prompts .*absent.txt cannot be read: No such file"),
    ],
)
def test_what_is_wrong_is_a_line_before_the_weights_load(place, exported_sample, monkeypatch, flags, line):
    monkeypatch.setattr(exported_sample, "load", lambda *_, **__: pytest.fail("the weights were loaded"))
    given = [flag.format(place[0]) for flag in flags.split()]
    with pytest.raises((ValueError, OSError), match=line):
        generate(exported_sample, place[0], "--prompt=a", *given)


def test_pictures_and_films_hold_what_was_asked(exported_sample, tmp_path):
    """A PNG, a GIF and an MP4 of three samples of four frames, each with its settings inside."""
    pictures = sys.modules["pictures"]
    images = np.random.default_rng(0).uniform(-1, 1, (3, 3, 4, 9, 7)).astype(np.float32)
    asked = {"prompt": ["a snow-white «é»"], "seed": 3}
    for name in ("a.png", "a.gif", "a.mp4"):
        pictures.write(images, tmp_path / name, asked, fps=8)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gif", "a.mp4", "a.png"]
    still = Image.open(tmp_path / "a.png")
    assert still.size == (4 * 7 * 4, 3 * 9 * 4)
    assert json.loads(still.text["settings"]) == asked  # pyright: ignore[reportAttributeAccessIssue]
    moving = Image.open(tmp_path / "a.gif")
    assert getattr(moving, "n_frames") == 4  # noqa: B009
    assert json.loads(moving.info["comment"]) == asked
    with av.open(str(tmp_path / "a.mp4")) as film:
        assert json.loads(film.metadata["comment"]) == asked
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 4
    first = np.rint((images[0, :, 1] + 1) * 127.5).transpose(1, 2, 0)[2, 3]
    seen = frames[1][2 * 4 : 3 * 4, 3 * 4 : 4 * 4].mean((0, 1))
    assert np.abs(seen - first).mean() < 40  # colours of films are stored coarser


@pytest.mark.full
def test_tiles_of_a_causal_vae_equal_ours(exported_sample, tmp_path):
    """Blended in rows, columns and time, as `ptdit_jax.encoders.tiling` does, whose network is another code."""
    facts = {"tile_sample_min_size": 32, "tile_sample_min_size_t": 9, "tile_latent_min_size_t": 3}
    facts |= {"tile_overlap_factor": 0.25, "use_tiling": True}
    autoencoders.write_causal(tmp_path / "vae", **facts)
    z = np.random.default_rng(0).standard_normal((1, 4, 4, 6, 5)).astype(np.float32)
    wanted = autoencoders.open_fast(tmp_path / "vae").decode(z)
    decoding = sys.modules["decoding"]
    found = decoding.Decoder(
        tmp_path / "vae", json.loads((tmp_path / "vae" / "config.json").read_text()), True, 4, 4, 8
    )

    class Settings:
        autoencoder = {"tile": "auto", "tile_size": 0, "tile_frames": 0}  # noqa: RUF012

    made = found.decode(torch.from_numpy(z), Settings, "cpu", torch.float32).numpy()
    np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-3)
    whole = torch_causal_vae.decode(decoding.read_weights(tmp_path / "vae"), torch.from_numpy(z / 0.18215))
    assert np.abs(whole.numpy() - made).max() > 0.01  # they are not the whole's


def test_the_copied_modules_import_nothing_of_ours(place):
    for file in Path(place[0] / "export").glob("*.py"):
        assert "ptdit_jax" not in "".join(
            line for line in file.read_text().splitlines() if line.startswith(("import", "from"))
        ), file
