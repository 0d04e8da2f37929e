"""Prompts and sizes as people write them: what is read of them, and one clear line for what is wrong."""

import json

import numpy as np
import pytest

from configs import t2v_xl_512x288
from ptdit_jax import config as rules
from ptdit_jax.sample import conditions, flags, prompts, settings, sizes
from ptdit_jax.sample.prompts import Prompt
from tests.sample.conftest import small


def test_prompts_of_a_file_are_its_lines(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffa red seven\r\n  siedem, czerwone ż\nlast".encode())
    assert prompts.read(tmp_path / "a.txt", "grey") == [
        Prompt("a red seven", "grey", 0),
        Prompt("  siedem, czerwone ż", "grey", 1),
        Prompt("last", "grey", 2),
    ]
    lines = [
        {"prompt": "one"},
        {"prompt": "two", "negative": "three", "seed": 4},
        {"prompt": "x", "number": 77},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert prompts.read(tmp_path / "a.jsonl", "grey") == [
        Prompt("one", "grey", 0),
        Prompt("two", "three", 1, 4),
        Prompt("x", "grey", 77),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"one\n\ntwo\n", "line 2 is empty; every line must hold a prompt"),
        ("a.txt", b"one\n \t\n", "line 2 is empty"),
        ("a.txt", b"one\nab\xff", "line 2: byte 3 is no UTF-8"),
        ("a.txt", b"", "a.txt holds no prompt"),
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt": }', "line 2 is no JSON"),
        ("a.jsonl", b'["a"]', 'line 1 must be an object with a "prompt"'),
        ("a.jsonl", b'{"text": "a"}', 'line 1 must be an object with a "prompt"'),
        ("a.jsonl", b'{"prompt": " "}', "line 1: its prompt is empty"),
        ("a.jsonl", b'{"prompt": "a", "sede": 1}', "'sede' is unknown; a line has prompt, negative, seed"),
        ("a.jsonl", b'{"prompt": "a", "seed": true}', "seed=True must be a whole number"),
        ("a.jsonl", b'{"prompt": "a", "seed": -1}', r"seed=-1 must be in \[0, 2\*\*32\)"),
        ("a.jsonl", b'{"prompt": "a", "negative": 3}', "negative=3 must be text"),
    ],
)
def test_lines_that_are_no_prompt(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"--prompts=.*{message}"):
        prompts.read(tmp_path / name, "")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"--prompts=.*a\.txt cannot be read: No such file"):
        prompts.read(tmp_path / "a.txt", "")


def test_prompts_of_the_command():
    assert prompts.given(["a", "b"], "c") == [Prompt("a", "c", 0), Prompt("b", "c", 1)]
    for texts, negative, message in (
        (["a", " "], "", "must not be empty"),
        (["a\udcff"], "", "must be UTF-8"),
    ):
        with pytest.raises(ValueError, match=f"--prompt=.*{message}"):
            prompts.given(texts, negative)


def test_the_noise_is_of_seed_number_and_turn():
    found = [Prompt("a", number=3), Prompt("b", number=9, seed=5)]
    wanted = conditions.wanted(found, 2, 1)
    np.testing.assert_array_equal(wanted.labels, [3, 3, 9, 9])
    np.testing.assert_array_equal(wanted.captions, [0, 0, 1, 1])
    np.testing.assert_array_equal(wanted.turns, [0, 1, 0, 1])
    np.testing.assert_array_equal(wanted.seeds, [1, 1, 5, 5])
    assert conditions.wanted(found[:1], 2, 1).seeds is None
    np.testing.assert_array_equal(conditions.wanted(found, 2, 1, turns=[6]).turns, [6, 6])


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """The config of films, with the folder of a CausalVAE that has no weights to speak of."""
    folder = tmp_path_factory.mktemp("vae")
    (folder / "config.json").write_text(json.dumps({"_class_name": "CausalVAEModel"}))
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    config = t2v_xl_512x288.get_config()
    config.autoencoder.path = str(folder)
    return config


@pytest.mark.parametrize(
    ("size", "latent"),
    [("512x512", (64, 64)), ("1024X2048", (128, 256)), ("1792x1792", (224, 224)), ("720 x 1280", (90, 160))],
)
def test_sizes_are_height_then_width(film, size, latent):
    found = sizes.latent_size(film, size, None)
    assert found == {"frames": 0, "height": latent[0], "width": latent[1], "pixel_frames": 0}


def test_frames_are_those_of_the_film(film):
    nothing = {"height": 0, "width": 0}
    assert sizes.latent_size(film, None, 97) == nothing | {"frames": 25, "pixel_frames": 97}
    assert sizes.latent_size(film, None, 24, views=True) == nothing | {"frames": 24, "pixel_frames": 24}
    assert sizes.latent_size(small(), "12x10", 3) == {
        "frames": 3,
        "height": 12,
        "width": 10,
        "pixel_frames": 3,
    }


@pytest.mark.parametrize(
    ("size", "frames", "message"),
    [
        ("512", None, "--size=512 must be HEIGHTxWIDTH in pixels, such as 512x512"),
        ("512x", None, "must be HEIGHTxWIDTH"),
        ("-16x16", None, "must be HEIGHTxWIDTH"),
        (
            "720x1000",
            None,
            "the width 1000 must be a multiple of 16, 8 pixels a latent times model.patch=2: 992 or 1008",
        ),
        ("8x16", None, "the height 8 must be a multiple of 16, .*: 16"),
        ("0x16", None, "the height 0 must be a multiple of 16, .*: 16"),
        (None, 96, "--frames=96 must be 4k.1, as the autoencoder makes: 93 or 97"),
        (None, 0, "--frames=0 must be 4k.1"),
    ],
)
def test_sizes_that_cannot_be(film, size, frames, message):
    with pytest.raises(ValueError, match=message):
        sizes.latent_size(film, size, frames)


def test_the_shift_of_times_is_that_of_the_film(film):
    """Of 97 frames, not of their 25 latents: the length counts in pixels, 5 for each 17 frames."""
    config = film.copy_and_resolve_references()
    config.diffusion.shift = "released"
    ratios = [
        rules.make_objective(config, frames=25, pixel_frames=frames).shift_ratio for frames in (97, 25, 0)
    ]
    assert ratios[1] == ratios[2]
    np.testing.assert_allclose(ratios[0] / ratios[1], (97 // 17 * 5 / (25 // 17 * 5)) ** 0.5)


def test_an_autoencoder_of_another_factor(film):
    config = film.copy_and_resolve_references()
    config.data.pixels_per_latent = 16
    with pytest.raises(
        ValueError, match=r"data\.pixels_per_latent=16 of the run is not 8, as autoencoder\.path="
    ):
        sizes.latent_size(config, "512x512", None)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--checkpoint=a", "--sise=3"], "error: unrecognized arguments: --sise=3; see --help\n"),
        (["--checkpoint=a", "--step=3"], "error: unrecognized arguments: --step=3; see --help\n"),
        (["--checkpoint=a", "--cache=fast"], "error: argument --cache: invalid choice: 'fast'"),
    ],
)
def test_a_wrong_flag_is_one_line(capsys, words, line):
    with pytest.raises(SystemExit) as ended:
        flags.parse(words, "What.\n\nMore.")
    errors = capsys.readouterr().err
    assert (ended.value.code, errors.count("\n")) == (2, 1)
    assert errors.startswith(line)


def test_a_file_to_show_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OSError, match=r"--show=.*no\.png cannot be read: No such file"):
        settings.show(tmp_path / "no.png")


@pytest.mark.parametrize("null_mask", ["own", "caption"])
def test_a_negative_prompt_has_the_place_of_the_empty_caption_of_its_prompt_alone(null_mask):
    config = small()
    length, width = config.model.text_length, config.model.text_dim
    config.model.null_mask = null_mask
    rng = np.random.default_rng(0)
    states = {
        name: rng.normal(size=(tokens, width)).astype(np.float32)
        for name, tokens in (("one", 3), ("two", 5), ("not", 4))
    }
    empty = rng.normal(size=(length, width)).astype(np.float32), np.arange(length) < 2
    found = [Prompt("one", "", 0), Prompt("two", "not", 1)]
    assert conditions.texts_of(found) == ["one", "two", "not"]
    (text, mask), (away, seen) = conditions.assemble(config, found, empty, states)
    for row, name in enumerate(("one", "two")):
        count = len(states[name])
        np.testing.assert_array_equal(text[row, :count], states[name])
        np.testing.assert_array_equal(mask[row], np.arange(length) < count)
    np.testing.assert_array_equal(away[0], empty[0])
    np.testing.assert_array_equal(seen[0], np.arange(length) < (3 if null_mask == "caption" else 2))
    np.testing.assert_array_equal(away[1, :4], states["not"])
    np.testing.assert_array_equal(seen[1], np.arange(length) < 4)
    assert conditions.assemble(config, found[:1], empty, states)[1] is None
