"""The Fréchet video distance, from files to the figure: that of numpy, and of a pipeline in PyTorch."""

import dataclasses

import jax
import numpy as np
import pytest
import scipy.linalg
import torch

from ptdit_jax.evaluation import films, fvd
from ptdit_jax.evaluation.clips import Clips, preset
from ptdit_jax.features import i3d
from ptdit_jax.parallel.mesh import make_mesh
from tests.data.raw.media import film
from tests.features import i3d_oracle, published
from tests.models.tiny import FAST

WEIGHTS = np.random.default_rng(5).normal(size=(9 * 3, i3d.CLASSES)) / 27**0.5


def stub(part):
    """400 numbers of a film: a random map of the mean colours of its frames."""
    colours = part[:, :9].astype(np.float64).mean(axis=(2, 3)) / 255
    return (colours.reshape(len(part), -1) @ WEIGHTS).astype(np.float32)


def videos(seed, count, length=12):
    """uint8 (count, length, 16, 16, 3): colours that wander."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 12, (count, length, 1, 1, 3)).cumsum(axis=1)
    return np.broadcast_to(128 + steps, (count, length, 16, 16, 3)).clip(0, 255).astype(np.uint8)


def distance(one, other, covariance):
    """By numpy and scipy alone."""
    means = [each.astype(np.float64).mean(axis=0) for each in (one, other)]
    spreads = [covariance(each.astype(np.float64)) for each in (one, other)]
    root = scipy.linalg.sqrtm(spreads[0] @ spreads[1]).real
    return ((means[0] - means[1]) ** 2).sum() + np.trace(spreads[0] + spreads[1] - 2 * root)


def biased(rows):
    """E[x xᵀ] - m mᵀ."""
    mean = rows.mean(axis=0)
    return rows.T @ rows / len(rows) - np.outer(mean, mean)


COVARIANCES = {"biased": biased, "unbiased": lambda rows: np.cov(rows, rowvar=False)}


def over(extract, rows):
    """A network that gives a part's features after the other."""

    def give(read, count):
        for first in range(0, count, rows):
            yield extract(read(np.arange(first, min(first + rows, count))))

    return give


def judged(reference, samples, clips, extract, rows=3):
    """The distance of two sets, and what is told of it."""
    found = [
        fvd.films_statistics(films.find(path, "--set"), clips, over(extract, rows), reference=is_reference)
        for path, is_reference in ((reference, True), (samples, False))
    ]
    real, shown = found
    figure = fvd.fvd(real.gaussian(biased=clips.covariance == "biased"), shown, clips)
    return figure, fvd.told(clips, real.count, shown.count)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two sets of films, each as a folder of films without loss and as an .npz."""
    folder = tmp_path_factory.mktemp("fvd")
    for name, seed, count in (("reference", 0, 7), ("samples", 1, 6)):
        shown = videos(seed, count)
        np.savez(folder / f"{name}.npz", arr_0=shown)
        (folder / name).mkdir()
        for index, each in enumerate(shown):
            (folder / name / f"{index:03d}.mkv").write_bytes(film(each, "matroska", "ffv1"))
    return folder


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_distance_of_two_folders_is_that_of_numpy(place, covariance):
    clips = Clips(frames=9, covariance=covariance)
    found, told = judged(place / "reference", place / "samples", clips, stub)
    side, decoded = clips.side(reference=False), []
    for name, count in (("reference", 7), ("samples", 6)):
        films_of = films.find(place / name, "--set")
        decoded.append(np.stack([films_of.clip(number, side) for number in range(count)]))
    assert decoded[0].shape == (7, 9, 16, 16, 3)
    wanted = distance(stub(decoded[0]), stub(decoded[1]), COVARIANCES[covariance])
    assert found == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    assert wanted > 0.01
    assert told == dataclasses.asdict(clips) | {"count": 6, "reference_count": 7}


def test_the_two_covariances_differ_and_parts_do_not(place):
    figures = {
        (covariance, rows): judged(
            place / "reference.npz",
            place / "samples.npz",
            Clips(frames=9, covariance=covariance),
            stub,
            rows=rows,
        )[0]
        for covariance in COVARIANCES
        for rows in (1, 4, 100)
    }
    for covariance in COVARIANCES:
        assert figures[covariance, 1] == pytest.approx(figures[covariance, 100], rel=1e-9)
        assert figures[covariance, 4] == pytest.approx(figures[covariance, 100], rel=1e-9)
    assert figures["biased", 1] != pytest.approx(figures["unbiased", 1], rel=0.01)


def test_only_real_clips_start_at_random(place):
    clips = preset("stylegan_v", frames=9, count=6, reference_count=6)
    shown = []

    def extract(part):
        shown.append(part)
        return stub(part)

    for name, is_reference in (("reference", True), ("samples", False)):
        found = films.find(place / f"{name}.npz", "--set")
        fvd.films_statistics(found, clips, over(extract, 4), reference=is_reference)
    assert [len(part) for part in shown] == [4, 2, 4, 2]
    stored = np.load(place / "samples.npz")["arr_0"]
    np.testing.assert_array_equal(np.concatenate(shown[2:]), stored[:, :9])
    real, stored = np.concatenate(shown[:2]), np.load(place / "reference.npz")["arr_0"]
    starts = [
        next(start for start in range(4) if (clip == whole[start : start + 9]).all())
        for clip, whole in zip(real, stored)
    ]
    assert len(set(starts)) > 1


def test_logits_that_are_not_finite_are_a_line(place):
    found = films.find(place / "samples.npz", "--set")
    nothing = over(lambda part: np.full((len(part), 400), np.nan), 3)
    with pytest.raises(ValueError, match="features: 1200 of 1200 are not finite"):
        fvd.films_statistics(found, Clips(frames=9), nothing)


def test_the_last_part_is_filled_up_for_one_program(monkeypatch):
    """The network is one that gives the mean over time of the pixel in the middle."""
    shapes = []

    def apply(params, seen):
        shapes.append(seen.shape)
        return i3d.Features(params * seen[:, :, 112, 112].mean(axis=1), None)

    monkeypatch.setattr(i3d, "load", lambda path: (np.float32(10), "digest"))
    monkeypatch.setattr(i3d, "apply", apply)
    network = fvd.I3d(None, Clips(frames=9), make_mesh({"data": -1}), together=4)
    assert network.digest == "digest"
    shown = np.arange(6, dtype=np.uint8)[:, None, None, None, None] * np.full((1, 9, 8, 8, 3), 51, np.uint8)
    given = list(network._network.over(lambda numbers: shown[numbers], 6, name=None))
    assert [len(part) for part in given] == [4, 2]
    wanted = np.repeat(10 * (shown[:, 0, 0, 0, :1] / 127.5 - 1), 3, axis=1)
    np.testing.assert_allclose(np.concatenate(given), wanted, atol=1e-4)
    assert shapes == [(4 * jax.device_count(), 9, 224, 224, 3)]  # traced once


@pytest.mark.full
@pytest.mark.parametrize("name", ["stylegan_v", "common_metrics"])
def test_zeros_against_ones_are_those_of_a_pipeline_of_torch(tmp_path, monkeypatch, name):
    """Films of black and of white, a little noise on each: one figure by JAX and PyTorch, and the same once more."""
    jit = jax.jit
    monkeypatch.setattr(jax, "jit", lambda call, **options: jit(call, compiler_options=FAST, **options))
    clips = preset(name, frames=9, count=3, reference_count=3)
    rng = np.random.default_rng(0)
    sets = {}
    for turn, kind in enumerate(("zeros", "ones")):
        noise = rng.integers(0, 16, (3, 9, 24, 32, 3))
        sets[kind] = (239 * turn + noise).astype(np.uint8)
        np.savez(tmp_path / f"{kind}.npz", arr_0=sets[kind])
    network = fvd.I3d(published.i3d_file(tmp_path), clips, make_mesh({"data": -1}), together=2)
    seen = [
        network.of(films.find(tmp_path / f"{kind}.npz", "--set"), reference=kind == "zeros", name=None)
        for kind in ("zeros", "ones", "ones")
    ]
    np.testing.assert_array_equal(seen[1].scatter, seen[2].scatter)
    found = fvd.fvd(seen[0].gaussian(biased=clips.covariance == "biased"), seen[1], clips)

    tensors = published.i3d_tensors()
    logits = {}
    for kind, shown in sets.items():
        x = torch.from_numpy(shown).permute(0, 4, 1, 2, 3).float() / 255 * 2 - 1
        if name == "stylegan_v":
            size = (9, 224, 224)
        else:
            size = (9, 224, 299)  # 224 / 24 * 32, rounded up
        x = torch.nn.functional.interpolate(x, size=size, mode="trilinear", align_corners=False)
        left = (size[2] - 224) // 2
        logits[kind] = i3d_oracle.logits(tensors, x[..., left : left + 224])[0].numpy()
    wanted = distance(logits["zeros"], logits["ones"], COVARIANCES[clips.covariance])
    assert wanted > 0
    assert found == pytest.approx(wanted, rel=1e-3)
