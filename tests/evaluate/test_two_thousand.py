"""Figures of 2,000 random images against 2,000 others: torch-fidelity's, on the same random weights."""

import json

import numpy as np
import pytest
import torch

from ptdit_jax import cli
from ptdit_jax.evaluate import __main__ as evaluate
from ptdit_jax.evaluate import flags
from tests.features import published

COUNT, SIDE, SPLIT = 2000, 32, 200
pytestmark = pytest.mark.full  # 4,000 images by both networks


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """The folder of two sets, and their features by torch-fidelity."""
    folder = tmp_path_factory.mktemp("two")
    extractor = published.inception_oracle(published.inception_file(folder), ["2048", "logits_unbiased"])
    found = {}
    for number, name in enumerate(("samples", "reference")):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256 - 40 * number, (COUNT, 8, 8, 3))
        pixels = np.kron(coarse, np.ones((1, SIDE // 8, SIDE // 8, 1))).astype(np.uint8)
        np.savez(folder / f"{name}.npz", arr_0=pixels)
        parts = torch.from_numpy(pixels.transpose(0, 3, 1, 2)).split(64)
        with torch.no_grad():
            seen = [extractor(part) for part in parts]
        found[name] = [torch.cat(each) for each in zip(*seen, strict=True)]
    return folder, found


def test_figures_agree(features):
    folder, found = features
    out = folder / "figures.json"
    words = [
        f"--samples={folder / 'samples.npz'}",
        f"--reference={folder / 'reference.npz'}",
        f"--inception={folder / 'pt_inception.pth'}",
        f"--out={out}",
        f"--split={SPLIT}",
        "--metrics=fid,is,precision,recall,kid",
        "--distances=float64",
    ]
    assert cli.run(lambda: evaluate.main(flags.parse(words, "x\n\ny"))) == 0
    ours = json.loads(out.read_text())["figures"]
    (pooled, logits), (real, _) = found["samples"], found["reference"]
    theirs = {}
    of = published.fidelity_metric("metric_fid")
    statistics = [of.fid_features_to_statistics(each.double()) for each in (pooled, real)]
    theirs["fid"] = of.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    scores = published.fidelity_metric("metric_isc").isc_features_to_metric(
        logits, COUNT // SPLIT, shuffle=False
    )
    theirs["is"] = scores["inception_score_mean"]
    assert ours["fid"] == pytest.approx(theirs["fid"], rel=1e-3)
    assert ours["is"] == pytest.approx(theirs["is"], rel=1e-3)
    near = published.fidelity_metric("metric_prc").calculate_precision_recall_full(
        pooled.double(), real.double(), 3, 1000
    )
    assert (ours["precision"], ours["recall"]) == pytest.approx(near, abs=1e-3)
    kernel = published.torchmetrics("image.kid").poly_mmd
    rng = np.random.default_rng(0)
    subsets = [(rng.permutation(COUNT)[:1000], rng.permutation(COUNT)[:1000]) for _ in range(20)]
    values = [kernel(real[one].double(), pooled[other].double()).item() for one, other in subsets]
    assert ours["kid"] == pytest.approx(np.mean(values), abs=6 * ours["kid_error"] + 1e-9)
