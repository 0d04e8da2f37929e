"""Figures of images, from files to JSON: those of other implementations on the same random weights."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ptdit_jax import cli
from ptdit_jax.evaluate import __main__ as evaluate
from ptdit_jax.evaluate import flags
from ptdit_jax.evaluation import network, pictures
from ptdit_jax.metrics import manifold
from tests.features import published
from tests.models.tiny import FAST

COUNTS = {"samples": 6, "reference": 5}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Weights, samples as .npz and as a folder, a reference, and all their features by torch-fidelity."""
    folder = tmp_path_factory.mktemp("evaluate")
    file = published.inception_file(folder)
    extractor = published.inception_oracle(file, ["2048", "logits_unbiased"])
    for number, (name, count) in enumerate(COUNTS.items()):
        pixels = (
            np.random.default_rng(number).integers(0, 256 - 60 * number, (count, 20, 24, 3)).astype(np.uint8)
        )
        np.savez(folder / f"{name}.npz", arr_0=pixels)
        (folder / name).mkdir()
        for index, each in enumerate(pixels):
            Image.fromarray(each).save(folder / name / f"{index:03d}.png")
        pooled, logits = extractor(torch.from_numpy(pixels.transpose(0, 3, 1, 2)))
        np.savez(folder / f"{name}-oracle.npz", pooled=pooled, logits=logits)
    return folder


@pytest.fixture(scope="module", autouse=True)
def fast():
    """A program that compiles fast, once."""
    with pytest.MonkeyPatch.context() as patch:
        jit = network.jax.jit
        kept = {}

        def once(function, **options):
            kept.setdefault(function, jit(function, compiler_options=FAST, **options))
            return kept[function]

        patch.setattr(network.jax, "jit", once)
        patch.setattr(cli, "enable_compilation_cache", lambda: None)
        yield


def run(place, *words):
    """The exit code of a command, and what evaluation.json says."""
    out = place / "figures.json"
    out.unlink(missing_ok=True)
    weights = f"--inception={place / 'pt_inception.pth'}"
    code = cli.run(
        lambda: evaluate.main(flags.parse([weights, "--together=3", f"--out={out}", *words], "x\n\ny"))
    )
    return code, json.loads(out.read_text()) if out.exists() else None


def distance_of_few(one, other):
    """The Fréchet distance of fewer samples than features, by their products alone."""
    roots = [(x - x.mean(axis=0)) / (len(x) - 1) ** 0.5 for x in (one, other)]
    overlap = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    spread = sum((root**2).sum() for root in roots)
    return ((one.mean(axis=0) - other.mean(axis=0)) ** 2).sum() + spread - 2 * overlap


def test_figures_are_those_of_others(place, capsys):
    metrics = "--metrics=is,precision,recall,kid"
    words = (f"--samples={place / 'samples.npz'}", f"--reference={place / 'reference.npz'}", metrics)
    code, told = run(place, *words, "--split=4", "--distances=float64")
    assert code == 0
    assert "6 samples: is " in capsys.readouterr().out
    found, oracle = told["figures"], {name: np.load(place / f"{name}-oracle.npz") for name in COUNTS}
    pooled = {name: oracle[name]["pooled"].astype(np.float64) for name in COUNTS}
    logits = torch.from_numpy(oracle["samples"]["logits"])
    scores = []
    for part in (logits[:4], logits[4:]):
        p = part.double().softmax(1)
        scores.append((p * (p.log() - p.mean(0, keepdim=True).log())).sum(1).mean().exp().item())
    assert found["is"] == pytest.approx(np.mean(scores), rel=1e-4)
    near = manifold.precision_recall(pooled["reference"], pooled["samples"], distances=manifold.in_float64)
    assert (found["precision"], found["recall"]) == pytest.approx(near)
    assert found["kid_subset"] == 5
    assert told["count"] == 6
    assert told["reference_count"] == 5
    assert len(told["inception_sha256"]) == 64


@pytest.mark.full
def test_distances_of_images_of_a_folder_and_of_a_written_reference(place, capsys):
    """A folder of PNGs is the .npz; statistics that were written are those of the images."""
    metrics = "--metrics=fid,sfid,precision,recall"
    by_images = (f"--samples={place / 'samples.npz'}", f"--reference={place / 'reference.npz'}", metrics)
    _, direct = run(place, *by_images)
    said = capsys.readouterr().err
    assert "6 samples are not more than the 2,048 features" in said
    pooled = [np.load(place / f"{name}-oracle.npz")["pooled"].astype(np.float64) for name in COUNTS]
    bias = float(said.split("the means alone add ")[1].split(" ")[0])
    assert bias == pytest.approx(pooled[0].var(axis=0, ddof=1).sum() / 6, rel=1e-2)
    assert direct["figures"]["fid"] == pytest.approx(distance_of_few(*pooled), rel=1e-3)
    reference = place / "statistics.npz"
    written = run(place, f"--samples={place / 'reference'}", f"--write-reference={reference}", "--metrics=is")
    assert written[0] == 0
    with np.load(reference) as arrays:
        assert sorted(arrays.files) == ["arr_0", "mu", "mu_s", "sigma", "sigma_s"]
        assert arrays["arr_0"].shape == (5, 20, 24, 3)
    code, again = run(place, f"--samples={place / 'samples'}", f"--reference={reference}", metrics)
    assert code == 0
    assert again["figures"] == pytest.approx(direct["figures"], rel=1e-6)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--samples=no.npz", "--metrics=is"), "--samples=no.npz: there is no such file or folder"),
        (("--samples=PLACE", "--metrics=is"), "holds no pictures"),
        (("--samples=PLACE/grey.npz", "--metrics=is"), r"arr_0 is uint8 (3, 20, 24, 1); it must be"),
        (("--samples=PLACE/samples.npz", "--metrics=is", "--count=7"), "--count=7: --samples="),
        (("--samples=PLACE/samples.npz",), "needs --reference"),
        (("--samples=PLACE/samples.npz", "--metrics=fids"), "--metrics=fids must be of fid, sfid"),
        (
            ("--samples=PLACE/samples.npz", "--reference=PLACE/wide.npz"),
            "has images of 20x25 pixels, the samples",
        ),
        (
            ("--samples=PLACE/samples.npz", "--reference=PLACE/odd.npz"),
            "mu (3,) and sigma (3, 3) must be of 2048",
        ),
        (("--samples=PLACE/samples.npz", "--reference=PLACE/plain.npz", "--metrics=recall"), "has no arr_0"),
        (("--samples=PLACE/samples.npz", "--metrics=is", "--together=0"), "--together=0 must be at least 1"),
        (("--samples=PLACE/pt_inception.pth", "--metrics=is"), "is no .npz with arr_0"),
        (
            ("--samples=PLACE/samples.npz", "--reference=PLACE/reference/000.png"),
            "reference/000.png is no .npz",
        ),
    ],
)
def test_what_is_wrong_is_a_line(place, capsys, words, line):
    np.savez(place / "grey.npz", arr_0=np.zeros((3, 20, 24, 1), np.uint8))
    np.savez(place / "wide.npz", arr_0=np.zeros((3, 20, 25, 3), np.uint8))
    np.savez(place / "odd.npz", mu=np.zeros(3), sigma=np.eye(3))
    np.savez(place / "plain.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    try:
        code, told = run(place, *(word.replace("PLACE", str(place)) for word in words))
    except SystemExit as error:
        code, told = error.code, None
    assert code in (1, 2)
    assert told is None
    assert line in capsys.readouterr().err


def test_pictures_of_other_sizes_or_modes_are_a_line(tmp_path):
    for name, size in (("a", (4, 4)), ("b", (4, 5))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "summary.png")  # of `sample.many`, no sample
    found = pictures.find(tmp_path, "--samples")
    assert (found.count, found.size) == (2, (4, 4))
    with pytest.raises(ValueError, match=r"b\.png has 5x4 pixels, the others 4x4"):
        found.read(np.arange(2))
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png is of mode L; it must be RGB"):
        pictures.find(tmp_path, "--samples")


def test_some_pictures_of_a_folder_are_cut_to_size(tmp_path):
    for name, (kind, size) in {"a": ("RGB", (9, 7)), "b": ("L", (8, 8)), "c": ("RGB", (30, 10))}.items():
        Image.effect_noise(size, 90).convert(kind).save(tmp_path / f"{name}.png")
    found = pictures.find(tmp_path, "--reference", size=(4, 4), names=["c.png", "b.png"])
    assert (found.count, found.size) == (2, (4, 4))
    middle = Image.open(tmp_path / "c.png").resize((4, 4), Image.Resampling.BICUBIC, box=(10, 0, 20, 10))
    np.testing.assert_array_equal(found.read(np.arange(2))[0], np.asarray(middle))
    with pytest.raises(ValueError, match=r"lacks 1 of 2 files, d\.png first"):
        pictures.find(tmp_path, "--reference", size=(4, 4), names=["a.png", "d.png"])
    np.savez(tmp_path / "a.npz", arr_0=np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r"must be a folder of pictures"):
        pictures.find(tmp_path / "a.npz", "--reference", size=(4, 4))


def test_an_array_is_mapped_and_a_compressed_one_read(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3, 3)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", other=np.arange(3), arr_0=pixels, mu=np.zeros(7))
    np.savez_compressed(tmp_path / "b.npz", arr_0=pixels)
    for name, kind in (("a", np.memmap), ("b", np.ndarray)):
        found = pictures.find(tmp_path / f"{name}.npz", "--samples")
        assert type(found.pixels) is kind
        np.testing.assert_array_equal(found.read(np.array([4, 0, 4])), pixels[[4, 0, 4]])
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[:200])
    with pytest.raises(ValueError, match=r"cut\.npz is no \.npz with arr_0"):
        pictures.find(tmp_path / "cut.npz", "--samples")
