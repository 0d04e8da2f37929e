"""Judges by the networks of the field, as rows of the table of judges."""

import types

import numpy as np
import pytest
from PIL import Image

from configs import c2i_digits, t2i_demo
from ptdit_jax import evaluation
from ptdit_jax.evaluation import by_networks, clip_space, clips, films, fvd_reference, pictures
from ptdit_jax.experiment import judging, live_text
from ptdit_jax.features import i3d
from ptdit_jax.metrics import Moments
from ptdit_jax.parallel.mesh import make_mesh
from tests.features import towers

COUNT = 6


def section(config=None, **fields):
    """The `evaluation` section of a config."""
    found = (config or c2i_digits.get_config()).evaluation
    for name, value in fields.items():
        found[name] = value if not hasattr(value, "parts") else str(value)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Tiny networks, and pictures to compare with."""
    folder = tmp_path_factory.mktemp("networks")
    towers.save(towers.clip(), folder / "clip", 20)
    towers.save(towers.dinov2(), folder / "dinov2", 35, kind="BitImageProcessor")
    (folder / "real").mkdir()
    for number, pixels in enumerate(shown(5, 1, seed=1)[:, 0]):
        Image.fromarray(pixels).save(folder / "real" / f"{number}.png")
    return folder


def shown(count, frames, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, frames, 24, 24, 3)).astype(np.uint8)


def test_pictures_and_films_fit_their_captions(place):
    judged = evaluation.find(section(name="clip", weights=place / "clip"))
    captions = (towers.CAPTIONS * 2)[:COUNT]
    network = clip_space.Clip(place / "clip", make_mesh({"data": -1}))
    still = judged.judge(shown(COUNT, 1), captions)
    wanted = network.score(pictures.of_array(shown(COUNT, 1)[:, 0], "x"), captions, name=None)
    assert still.metrics() == {"clip": wanted}
    moving = judged.judge(shown(COUNT, 3), captions)
    wanted, _ = network.similarity(films.of_array(shown(COUNT, 3), "x"), captions, name=None)
    assert moving.metrics() == {"clip": wanted}
    assert (judged.takes, judged.wants) == ("pictures", "captions")
    assert str(moving) == f"6 samples: clip {wanted:.5g}."


def test_the_reference_is_looked_at_once(place, monkeypatch):
    judged = evaluation.find(section(name="dinov2", weights=place / "dinov2", reference=place / "real"))
    looked, find = [], pictures.find
    monkeypatch.setattr(pictures, "find", lambda *words: looked.append(words) or find(*words))
    values = [judged.judge(shown(COUNT, 1), None).metrics()["fd_dinov2"] for _ in range(2)]
    assert values[0] == values[1] > 0
    assert len(looked) == 1
    judged.prepare((1, 24, 24))
    with pytest.raises(ValueError, match="has images of 24x24 pixels, the samples 32x24"):
        judged.prepare((1, 32, 24))
    assert len(looked) == 1
    with pytest.raises(ValueError, match="has images of 24x24 pixels, the samples 12x24"):
        judged.judge(shown(COUNT, 1)[:, :, :12], None)


def test_films_by_their_protocol(tmp_path, monkeypatch):
    def apply(params, seen):
        return i3d.Features(params * seen[:, :, 112, 112].mean(axis=1), None)

    monkeypatch.setattr(i3d, "load", lambda path: (np.float32(10), "digest"))
    monkeypatch.setattr(i3d, "apply", apply)
    monkeypatch.setattr(i3d, "CLASSES", 3)
    monkeypatch.setitem(clips.PRESETS, "stylegan_v", clips.Clips(frames=9, covariance="biased"))
    np.savez(tmp_path / "real.npz", arr_0=shown(7, 9, seed=1))
    judged = evaluation.find(
        section(name="i3d", weights=tmp_path / "x", reference=tmp_path / "real.npz", clips="stylegan_v")
    )
    found = judged.judge(shown(COUNT, 9), None).metrics()["fvd"]
    with pytest.raises(ValueError, match="a sample has 8 frames; 9 with a stride of 1 need 9"):
        judged.prepare((8, 24, 24))
    judged.prepare((9, 24, 24))
    network = judged.judge._network
    moments = network.of(films.find(tmp_path / "real.npz", "x"), reference=True, name=None)
    assert isinstance(moments, Moments)
    assert found == by_networks.fvd.fvd(
        moments.gaussian(biased=True),
        network.of(films.of_array(shown(COUNT, 9), "x"), reference=False, name=None),
        network.clips,
    )
    assert found > 0
    reference = fvd_reference.find(tmp_path / "real.npz", network, "x", name=None)
    fvd_reference.write(tmp_path / "statistics.npz", reference, network.clips, network.digest)
    fields = {"name": "i3d", "weights": tmp_path / "x", "clips": "stylegan_v"}
    again = evaluation.find(section(reference=tmp_path / "statistics.npz", **fields))
    assert again.judge(shown(COUNT, 9), None).metrics()["fvd"] == found
    fields["clips"] = "stylegan_v?stride=2"
    other = evaluation.find(section(reference=tmp_path / "statistics.npz", **fields))
    with pytest.raises(ValueError, match=r"evaluation\.reference=.* with stride=1, .* has stride=2"):
        other.prepare((17, 24, 24))


def test_captions_reach_the_judge(place, monkeypatch):
    config = t2i_demo.get_config()
    section(config, name="clip", weights=place / "clip", count=4)

    def encode(config, captions, mesh):
        return np.zeros((len(captions), 48, 128), np.float32), np.ones((len(captions), 48), bool)

    monkeypatch.setattr(live_text, "encode", encode)
    asked = judging.ask(config, types.SimpleNamespace(text=(48, 128), classes=None), 4)
    assert len(asked.captions) == 4
    assert all(isinstance(caption, str) and caption for caption in asked.captions)
    said = []
    judged = evaluation.Evaluation(
        lambda samples, wanted: said.append((samples, wanted)), {}, takes="pictures", wants="captions"
    )
    judging.judge(judged, config, np.zeros((4, 3, 1, 24, 24), np.float32), asked)
    assert said[0][1] == asked.captions
    assert (said[0][0] == 128).all()
    assert said[0][0].shape == (4, 1, 24, 24, 3)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"name": "dinov2"}, "evaluation.weights='' must be those that evaluation.name='dinov2' needs"),
        ({"name": "dinov2"}, "evaluation.reference='' must be what fd_dinov2 compare with"),
        ({"name": "i3d"}, "evaluation.name='i3d' judges films, and data.frames=1 are pictures"),
        ({"name": "i3d", "clips": "none"}, "evaluation.clips='none': protocol none must be of stylegan_v"),
        ({"name": "clip"}, "model.condition='class' has none"),
        ({"name": "inception"}, "judges RGB, and model.channels=1 is grey"),
        ({"name": "clip", "latents": True}, "latents need autoencoder.path, and it is ''"),
        ({"name": "clip", "count": 3}, "evaluation.count=3 must be above 3"),
    ],
)
def test_configs_that_cannot_be_judged_are_refused(fields, line):
    config = c2i_digits.get_config()
    if fields.get("latents"):
        config.data.pixels_per_latent = 8
        fields = {"name": fields["name"]}
    problems = list(evaluation.find(section(config, **fields)).check(config))
    assert any(line in problem for problem in problems), problems
