"""Pictures from prompts: the command, what it writes, and what its samples depend on."""

import json

import av
import diffusers
import jax
import numpy as np
import pytest
import torch
from PIL import Image

from ptdit_jax import cli
from ptdit_jax.encoders import text
from ptdit_jax.experiment import decoding, judging, origin, results
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.decoding import Decoder
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.plots import settings
from ptdit_jax.sample import __main__ as sample
from ptdit_jax.sample import conditions, outputs
from ptdit_jax.sample.prompts import Prompt
from tests.encoders.autoencoders import disturb
from tests.sample.conftest import parameters, small


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small AutoencoderKL of factor 2."""
    folder = tmp_path_factory.mktemp("vae")
    torch.manual_seed(0)
    module = diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[32, 32],
        layers_per_block=1,
        mid_block_add_attention=False,
    )
    disturb(module).save_pretrained(folder)
    return folder


def latent(folder, **changes):
    """A text model of 8x8 latents, whose autoencoder has factor 2."""
    fields = {"model__channels": 4, "data__pixels_per_latent": 2, "autoencoder__path": str(folder)}
    return small(**fields, **changes)


def told(path):
    """The settings in a file, which it must have."""
    found = settings.read(path)
    assert found is not None
    return found


def arrays(run, path, config, *words):
    assert run(config, *words, "--out", path) == 0
    return np.load(path)


def test_a_sample_is_the_same_whatever_is_beside_it(run, tmp_path):
    """With other prompts, in other batches, from a file, by the seed of a line."""
    config, out = small(), tmp_path / "a.npy"
    both = arrays(run, out, config, "--prompt=a three", "--prompt=the digit 7", "--count=3", "--seed=5")
    assert both.shape == (6, 1, 1, 8, 8)
    alone = arrays(run, out, config, "--prompt=a three", "--count=2", "--seed=5", "--batch=1")
    np.testing.assert_allclose(alone, both[:2], atol=1e-5)
    line = {"prompt": "the digit 7", "number": 1, "seed": 5}
    (tmp_path / "a.jsonl").write_text(json.dumps(line) + "\n")
    filed = arrays(run, out, config, f"--prompts={tmp_path / 'a.jsonl'}", "--count=1", "--seed=8")
    np.testing.assert_allclose(filed[0], both[3], atol=1e-5)
    assert np.abs(both[3:] - both[:3]).min(axis=0).max() > 1e-3  # other noise, another prompt


def test_guidance_leads_away_from_the_negative_prompt(run, tmp_path):
    """Away from the prompt itself there is no direction; away from the empty caption is what it is without one."""
    config, out = small(), tmp_path / "a.npy"
    words = ("--prompt=a three", "--count=2")
    plain = arrays(run, out, config, *words, "--guidance=1")
    same = arrays(run, out, config, *words, "--guidance=3", "--negative=a three")
    np.testing.assert_allclose(same, plain, atol=1e-4)
    guided = arrays(run, out, config, *words, "--guidance=3")
    other = arrays(run, out, config, *words, "--guidance=3", "--negative=the digit 7")
    assert min(np.abs(guided - plain).max(), np.abs(guided - other).max()) > 1e-2


def test_the_text_encoder_is_gone_before_the_model_is_read(run, tmp_path, monkeypatch):
    lived = []

    def tables():
        """The tables of bytes that are in memory, which the encoder alone has."""
        return sum(leaf.shape == (384, 128) for leaf in jax.live_arrays() if not leaf.is_deleted())

    states = text.TextEncoder.states

    def encode(self, *args, **options):
        lived.append(tables())
        return states(self, *args, **options)

    def load(step, name, experiment, mesh):
        lived.append(tables())
        return parameters(experiment)

    before, load.kept = tables(), True
    monkeypatch.setattr(text.TextEncoder, "states", encode)
    monkeypatch.setattr(origin, "load_params", load)
    assert run(small(), "--prompt=a three", "--count=4", f"--out={tmp_path}/a.npy") == 0
    assert lived == [before + 1, before]


def test_pictures_by_the_autoencoder_in_a_folder(run, tmp_path, folder, capsys):
    """A file for each, of the pixels that the decoder makes of the latents, with how it was made, and a sheet."""
    config, out = latent(folder), tmp_path / "out"
    words = ("--prompt=a three", "--prompt=a sév", "--negative=grey", "--count=2", "--size=24x36", "--seed=3")
    latents = arrays(run, tmp_path / "a.npy", config, *words)
    assert latents.shape == (4, 4, 1, 12, 18)
    assert run(config, *words, f"--out={out}/") == 0
    printed = capsys.readouterr().out
    assert "4 samples of 24x36 pixels" in printed
    assert " s each, and " in printed
    names = ["000000-0000.png", "000000-0001.png", "000001-0000.png", "000001-0001.png"]
    assert sorted(path.name for path in out.iterdir()) == [*names, "sheet.png"]
    wanted = Decoder(config)(latents)
    for name, picture in zip(names, wanted, strict=True):
        with Image.open(out / name) as image:
            assert image.size == (36, 24)
            exact = (np.clip(picture[:, 0], -1, 1) + 1) * 127.5
            assert np.abs(np.asarray(image) - np.moveaxis(exact, 0, -1)).max() <= 2
    how = told(out / names[3])
    facts = {
        "prompt": "a sév",
        "negative": "grey",
        "number": 1,
        "sample": 1,
        "seed": 3,
        "steps": 3,
        "size": "24x36",
    }
    assert how.items() >= (facts | {"guidance": 2.0, "sampler": "euler", "parameters": "params"}).items()
    assert how["checkpoint"].endswith("checkpoints/7")
    assert [each["prompt"] for each in told(out / "sheet.png")["prompts"]] == ["a three", "a sév"]
    assert cli.run(lambda: run(config, *words, f"--out={out}/")) == cli.USER_ERROR  # nothing is written over
    assert "holds sheet.png already" in capsys.readouterr().err
    assert sample.main(sample.parse([f"--show={out / names[3]}"])) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (shown["prompt"], shown["seed"], shown["guidance"]) == ("a sév", "3", "2.0")


@pytest.mark.parametrize(("side", "size"), [(64, (80, 64)), (63, (160 + 12, 126 + 12 + 18))])
def test_one_sample_is_written_pixel_for_pixel(tmp_path, side, size):
    """Or, if it is small, enlarged with its prompt below."""
    prompts = [Prompt("a three")]
    given = conditions.Conditions(conditions.wanted(prompts, 1, 0), None, prompts)
    pictures = np.zeros((1, 3, 1, side, 80), np.float32)
    outputs.write_one(tmp_path / "a.png", pictures, given, {settings.KEY: "1"}, 8.0)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == size
    assert told(tmp_path / "a.png") == {settings.KEY: "1"}


@pytest.mark.full  # three programs of the decoder
def test_latents_are_decoded_a_few_at_a_time(folder, monkeypatch):
    config = latent(folder, autoencoder__dtype="float32")
    latents = np.random.default_rng(0).standard_normal((3, 4, 2, 6, 4)).astype(np.float32)
    together = Decoder(config)(latents)
    assert together.shape == (3, 3, 2, 12, 8)
    monkeypatch.setattr(decoding, "PIXELS", 1)
    few, seen = Decoder(config), []
    decode = few._opened.apply_decode
    monkeypatch.setitem(
        few._opened.__dict__, "apply_decode", lambda p, z: seen.append(z.shape) or decode(p, z)
    )
    np.testing.assert_allclose(few(latents), together, atol=1e-4)
    assert seen == [(1, 4, 2, 6, 4)]  # one program, for one sample
    np.testing.assert_allclose(Decoder(config, views=True)(latents), together, atol=1e-4)


def test_films(run, tmp_path):
    config, out = small(data__frames=3), tmp_path / "a.mp4"
    words = ("--prompt=a three", "--count=1", "--frames=2", "--size=8x8", "--fps=5")
    assert run(config, *words, f"--out={out}") == 0
    with av.open(str(out)) as film:
        stream = film.streams.video[0]
        assert (stream.frames, stream.average_rate, stream.codec_context.name) == (2, 5, "h264")
    assert told(out).items() >= {"prompt": "a three", "frames": 2}.items()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--prompt=a", "--guidance=1", "--negative=b"),
            "--negative=b needs guidance; --guidance is 1, none",
        ),
        (("--text=a.npz", "--negative=b"), "--negative=b needs --prompt or --prompts"),
        (("--prompt=a", "--size=7x"), "--size=7x must be HEIGHTxWIDTH"),
        (("--prompt=a", "--fps=0", "--out=a.gif"), "--fps=0 must be above 0 and at most 100"),
        (("--prompt=a", "--fps=nan", "--out=a.gif"), "--fps=nan must be a finite number"),
        (("--prompts=none.txt",), "--prompts=none.txt cannot be read"),
        (("--prompt=a", "--vae=none"), "none.*config.json"),
        (("--prompts=a.png", "--out=a.png"), "--out=a.png is the file of --prompts"),
    ],
)
def test_mistakes_are_lines(run, monkeypatch, tmp_path, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    config = latent("nothing") if "--vae=none" in words else small()
    assert cli.run(lambda: run(config, *words)) in (cli.USER_ERROR, cli.FAILURE)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message.split(".*")[0] in line


def test_no_autoencoder_no_picture(run, tmp_path):
    config = latent("")
    with pytest.raises(ValueError, match=r"its config names no autoencoder: name its folder with --vae DIR"):
        run(config, "--prompt=a", f"--out={tmp_path}/a.png")


@pytest.mark.parametrize(
    ("name", "message"), [("a.png", "does not say how it was made"), ("a.txt", "no picture")]
)
def test_show_of_other_files(tmp_path, capsys, name, message):
    if name == "a.png":
        Image.new("L", (2, 2)).save(tmp_path / name)
    else:
        (tmp_path / name).write_text("words")
    assert cli.run(lambda: sample.main(sample.parse([f"--show={tmp_path / name}"]))) == cli.USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_run_ends_with_pictures_of_its_autoencoder(tmp_path, folder, monkeypatch):
    config = latent(folder, sampling__count=2, evaluation__name="none")
    images = np.random.default_rng(0).standard_normal((2, 4, 1, 8, 8)).astype(np.float32)
    monkeypatch.setattr(results, "generate", lambda *args, **options: images)
    monkeypatch.setattr(results, "ask", lambda *args: judging.Asked(np.arange(2), None, None))
    (tmp_path / "metrics.csv").write_text("step,loss\n1,0.5\n")
    results.finish(config, tmp_path, build(config), None, make_mesh({"data": -1}))
    with Image.open(tmp_path / "samples.png") as image:
        assert image.mode == "RGB"
        assert image.size[0] > 2 * 64  # two pictures of 16x16 pixels, enlarged
