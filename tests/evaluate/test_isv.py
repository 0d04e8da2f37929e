"""The Inception score of films, from files to the figure: that of the published steps in PyTorch and numpy."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import torch

from configs import c2i_digits
from ptdit_jax import cli, evaluation
from ptdit_jax.evaluate import __main__ as evaluate
from ptdit_jax.evaluate import flags
from ptdit_jax.evaluation import films, isv
from ptdit_jax.features import c3d
from ptdit_jax.parallel.mesh import make_mesh
from tests.features import c3d_oracle, published
from tests.models.tiny import FAST

MEAN = np.random.default_rng(7).normal(100, 10, c3d.MEAN_SHAPE).astype(np.float32)
COUNT = 23


def shown(count, *shape):
    """uint8 (count, F, H, W, 3)."""
    return np.random.default_rng(count).integers(0, 256, (count, *shape, 3)).astype(np.uint8)


def published_score(probabilities, splits, *, shuffled):
    """As StyleGAN-V writes it: rows shuffled in place, parts by whole-number division, no constant added."""
    kept = probabilities.copy()
    if shuffled:
        np.random.RandomState(42).shuffle(kept)
    count, scores = len(kept), []
    for number in range(splits):
        part = kept[number * count // splits : (number + 1) * count // splits]
        kl = part * (np.log(part) - np.log(part.mean(axis=0, keepdims=True)))
        scores.append(np.exp(kl.sum(axis=1).mean()))
    return np.mean(scores), np.std(scores)


@pytest.mark.parametrize("splits", [1, 3, 10, 23])
@pytest.mark.parametrize("order", isv.ORDERS)
def test_the_score_is_the_published_one(splits, order):
    logits = 3 * np.random.default_rng(1).normal(size=(COUNT, 101)).astype(np.float32)
    found = isv.scores(logits, isv.Score(splits=splits, order=order))
    wanted = published_score(c3d_oracle.probabilities(logits), splits, shuffled=order == "shuffled")
    assert (found["isv"], found["isv_deviation"]) == pytest.approx(wanted, rel=1e-10, abs=1e-12)
    assert (found["isv"] > 1.5) == (splits < 23)


def test_the_order_moves_the_score():
    logits = 3 * np.random.default_rng(1).normal(size=(COUNT, 101))
    found = {order: isv.scores(logits, isv.Score(splits=3, order=order))["isv"] for order in isv.ORDERS}
    assert found["file"] != pytest.approx(found["shuffled"], rel=1e-3)


@pytest.mark.parametrize("shape", [(64, 64), (240, 320), (112, 112), (128, 171)])
@pytest.mark.parametrize("name", ["tgan2", "tgan", "caffe"])
def test_frames_are_prepared_as_published(name, shape):
    given = shown(1, 16, *shape)
    wanted = c3d_oracle.seen(torch.from_numpy(given), torch.from_numpy(MEAN), name)
    sees = jax.jit(isv.network_sees, static_argnums=2, compiler_options=FAST)
    found = sees(given, MEAN.transpose(1, 2, 3, 0), isv.PRESETS[name])
    assert found.shape == (1, 16, 112, 112, 3)
    np.testing.assert_allclose(found, wanted.numpy().transpose(0, 2, 3, 4, 1), rtol=0, atol=2e-3)


def test_protocols_are_the_published_ones():
    assert isv.PRESETS["stylegan_v"] == isv.Score(
        stride=1, offset="first", resize="aligned_112", white=256, splits=10, order="shuffled", count=2048
    )
    assert (isv.PRESETS["tgan2"].count, isv.PRESETS["tgan2"].order) == (10 * 2048, "file")
    assert (isv.PRESETS["tgan"].splits, isv.PRESETS["tgan"].resize) == (1, "cubic_128")
    assert isv.parse("stylegan_v?splits=4&order=file", count=8) == isv.Score(splits=4, count=8)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("latte", "protocol latte must be of stylegan_v, tgan2, tgan, magvit, caffe"),
        ("tgan?resize=none", "resize=none must be of aligned_112, cubic_128, bilinear_128x171"),
        ("tgan?order=none", "order=none must be of file, shuffled"),
        ("tgan?white=1", "white=1 must be 255 or 256"),
        ("tgan?splits=0", "splits=0 must be at least 1"),
        ("tgan?frames=8", "there is no option 'frames'; there are stride, offset"),
        ("tgan?count=3&splits=4", "count=3 must be at least 2, and splits=4"),
    ],
)
def test_options_that_are_wrong_are_a_line(text, line):
    with pytest.raises(ValueError, match=line):
        isv.parse(text)


def fake(monkeypatch):
    """A network whose logits are the first pixels that it is shown."""

    def load(path):
        return c3d.Params({}, np.zeros((16, 128, 171, 3), np.float32)), "digest"

    monkeypatch.setattr(c3d, "load", load)
    monkeypatch.setattr(c3d, "apply", lambda layers, seen: seen[:, 0, 0, :101, 0] / 64)
    monkeypatch.setattr(cli, "enable_compilation_cache", lambda: None)


def run(place, *words):
    """The exit code of a command, and what evaluation.json says."""
    out = place / "figures.json"
    out.unlink(missing_ok=True)
    given = [f"--out={out}", "--together=3", *words]
    try:
        code = cli.run(lambda: evaluate.main(flags.parse(given, "x\n\ny")))
    except SystemExit as error:
        code = error.code
    return code, json.loads(out.read_text()) if out.exists() else None


def test_the_command_says_what_the_score_depends_on(tmp_path, monkeypatch, capsys):
    fake(monkeypatch)
    given = shown(COUNT, 17, 112, 112)
    np.savez(tmp_path / "films.npz", arr_0=given)
    (tmp_path / "weights.pt").write_bytes(b"x")
    words = (f"--samples={tmp_path / 'films.npz'}", "--metrics=isv", f"--c3d={tmp_path / 'weights.pt'}")
    code, told = run(tmp_path, *words, "--isv=stylegan_v?splits=4&white=255")
    assert code == 0
    logits = given[:, 0, 0, :101, 2].astype(np.float32) / 64  # blue
    wanted = published_score(c3d_oracle.probabilities(logits), 4, shuffled=True)
    found = told["figures"]
    assert (found["isv"], found["isv_deviation"]) == pytest.approx(wanted, rel=1e-5)
    protocol = isv.parse("stylegan_v?splits=4&white=255", count=COUNT)
    facts = {"protocol": "stylegan_v?splits=4&white=255", "frames": 16, "mean_corner": [8, 8]}
    assert (dataclasses.asdict(protocol) | facts).items() <= told["isv"].items()
    assert told["c3d_sha256"] == "digest"
    code, few = run(tmp_path, *words, "--isv=stylegan_v?splits=4&white=255", "--count=9")
    assert (code, few["isv"]["count"]) == (0, 9)
    for more, line in (
        (("--count=9",), "count=9 must be at least 2, and splits=10"),
        (("--isv=stylegan_v?stride=2",), "film 0 has 17 frames; 16 with a stride of 2 need 31"),
        (("--protocol=isv2048_ucf",), "--protocol=isv2048_ucf is of 2,048 samples, and there are 23"),
        (("--isv=none",), "protocol none must be of stylegan_v"),
    ):
        code, told = run(tmp_path, *words, *more)
        assert code in (1, 2)
        assert told is None
        assert line in capsys.readouterr().err
    assert run(tmp_path, *words[:2])[0] == 2
    assert "--c3d is missing: the weights that isv need" in capsys.readouterr().err
    np.savez(tmp_path / "pictures.npz", arr_0=given[:, 0])
    assert run(tmp_path, f"--samples={tmp_path / 'pictures.npz'}", *words[1:])[1] is None
    assert "--metrics=isv is of films, and --samples=" in capsys.readouterr().err


def test_a_run_can_be_judged_by_it(tmp_path, monkeypatch):
    fake(monkeypatch)
    config = c2i_digits.get_config()
    config.evaluation.name, config.evaluation.weights = "c3d", str(tmp_path)
    judged = evaluation.find(config.evaluation)
    given = shown(12, 16, 112, 112)
    logits = given[:, 0, 0, :101, 2].astype(np.float32) / 64 * (256 / 255)
    wanted = published_score(c3d_oracle.probabilities(logits), 10, shuffled=True)
    assert judged.judge(given, None).metrics() == {"isv": pytest.approx(wanted[0], rel=1e-5)}
    assert judged.better == {"isv": "higher"}
    judged.prepare((16, 64, 64))
    with pytest.raises(ValueError, match="a sample has 15 frames; 16 with a stride of 1 need 16"):
        judged.prepare((15, 64, 64))
    problems = list(judged.check(config))
    assert any("judges films, and data.frames=1 are pictures" in problem for problem in problems)
    assert not any("evaluation.reference" in problem for problem in problems)
    config.evaluation.count = 9
    assert any("evaluation.count=9 must be at least 10" in problem for problem in judged.check(config))


@pytest.mark.full
def test_films_to_score_are_those_of_a_pipeline_of_torch(tmp_path, monkeypatch):
    jit = jax.jit
    monkeypatch.setattr(jax, "jit", lambda call, **options: jit(call, compiler_options=FAST, **options))
    given = shown(4, 16, 48, 64)
    tensors = published.c3d_tensors()
    score = isv.parse("tgan2?splits=2", count=4)
    network = isv.C3d(published.c3d_file(tmp_path), score, make_mesh({"data": -1}), together=2)
    logits = network.of(films.of_array(given, "x"), name=None)
    seen = c3d_oracle.seen(torch.from_numpy(given), tensors["mean"], "tgan2")
    wanted = c3d_oracle.network(tensors)(seen).numpy()
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    found = isv.scores(logits, score)["isv"]
    assert found == pytest.approx(
        published_score(c3d_oracle.probabilities(wanted), 2, shuffled=False)[0], rel=1e-4
    )
    assert found > 1.001
