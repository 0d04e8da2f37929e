"""Statistics of films as a file: the same figure as of the films, and what is wrong with a file is a line."""

import json

import numpy as np
import pytest

from ptdit_jax import cli
from ptdit_jax.evaluate import __main__ as evaluate
from ptdit_jax.evaluate import flags
from ptdit_jax.evaluation import clips, fvd_reference
from ptdit_jax.features import i3d, stored
from ptdit_jax.metrics import Gaussian

CLASSES = 3


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two sets of films, and the statistics of one of them; the network gives the colour in the middle."""
    folder = tmp_path_factory.mktemp("reference")
    rng = np.random.default_rng(0)
    for name, count, length in (("films", 4, 10), ("real", 8, 13)):
        np.savez(
            folder / f"{name}.npz", arr_0=rng.integers(0, 256, (count, length, 22, 20, 3)).astype(np.uint8)
        )
    (folder / "weights.pt").write_bytes(b"weights")
    (folder / "others.pt").write_bytes(b"others")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "enable_compilation_cache", lambda: None)
        patch.setattr(i3d, "load", lambda path: (np.float32(10), stored.sha256(path)))
        patch.setattr(
            i3d, "apply", lambda params, seen: i3d.Features(params * seen[:, :, 112, 112].mean(axis=1), None)
        )
        patch.setattr(i3d, "CLASSES", CLASSES)
        preset = clips.Clips(
            frames=9,
            reference_offset="random",
            covariance="biased",
            count=4,
            reference_count=7,
            resize="bilinear_whole",
        )
        patch.setitem(clips.PRESETS, "stylegan_v", preset)
        yield folder


def run(place, *words):
    """The exit code of a command, and what evaluation.json says."""
    out = place / "figures.json"
    out.unlink(missing_ok=True)
    given = [f"--out={out}", "--together=3", f"--i3d={place / 'weights.pt'}", "--metrics=fvd"]
    given += [word.replace("PLACE", str(place)) for word in words]
    code = cli.run(lambda: evaluate.main(flags.parse(given, "x\n\ny")))
    return code, json.loads(out.read_text()) if out.exists() else None


@pytest.fixture(scope="module")
def statistics(place):
    """The file that the command writes."""
    code, told = run(place, "--samples=PLACE/real.npz", "--write-reference=PLACE/statistics.npz")
    assert (code, told) == (0, None)  # no figure is asked for
    return place / "statistics.npz"


def test_the_figure_of_the_file_is_that_of_the_films(place, statistics, capsys):
    _, direct = run(place, "--samples=PLACE/films.npz", "--reference=PLACE/real.npz")
    code, told = run(place, "--samples=PLACE/films.npz", f"--reference={statistics}")
    assert code == 0
    assert told["figures"] == direct["figures"]  # to the last digit
    assert told["figures"]["fvd"] > 0
    differ = {name for name in direct if told[name] != direct[name]}
    assert differ == {"reference"}
    assert told["reference_source"].endswith("real.npz")
    assert told["reference_count"] == 7


def test_both_at_once_are_the_same(place, statistics):
    words = ("--samples=PLACE/real.npz", f"--reference={statistics}", "--write-reference=PLACE/again.npz")
    code, told = run(place, *words)
    assert code == 0
    assert told["figures"]["fvd"] > 0
    with np.load(statistics) as one, np.load(place / "again.npz") as other:
        assert sorted(one.files) == sorted(other.files) == ["fvd_mu", "fvd_sigma", "fvd_told"]
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])


def test_the_file_says_what_it_is_of(place, statistics):
    with np.load(statistics, allow_pickle=False) as arrays:
        told = json.loads(str(arrays["fvd_told"]))
        assert arrays["fvd_sigma"].dtype == np.float64
    assert told == {
        "options": {
            "frames": 9,
            "stride": 1,
            "reference_offset": "random",
            "resize": "bilinear_whole",
            "covariance": "biased",
            "reference_count": 7,
            "pick": "first",
            "seed": 0,
        },
        "count": 7,
        "weights_sha256": stored.sha256(place / "weights.pt"),
        "source": str(place / "real.npz"),
    }


@pytest.mark.parametrize(
    ("option", "here", "there"),
    [
        ("frames", "10", "9"),
        ("stride", "2", "1"),
        ("reference_offset", "first", "random"),
        ("resize", "short_side_crop", "bilinear_whole"),
        ("covariance", "unbiased", "biased"),
        ("reference_count", "all", "7"),
        ("pick", "random", "first"),
        ("seed", "5", "0"),
    ],
)
def test_other_options_are_a_line_with_both_values(place, statistics, option, here, there, capsys):
    protocol = f"--clips=stylegan_v?{option}={here}"
    code, told = run(place, "--samples=PLACE/films.npz", f"--reference={statistics}", protocol)
    assert (code, told) == (2, None)
    line = f"was made with {option}={there}, and the protocol here has {option}={here}"
    assert line in capsys.readouterr().err


def test_options_of_the_judged_films_do_not_count(place, statistics):
    words = ("--samples=PLACE/films.npz", f"--reference={statistics}", "--clips=stylegan_v?offset=middle")
    code, told = run(place, *words, "--count=3")
    assert code == 0
    assert (told["offset"], told["count"]) == ("middle", 3)


def test_other_weights_are_a_line_with_both_digests(place, statistics, capsys):
    others = place / "others.pt"
    words = ("--samples=PLACE/films.npz", f"--reference={statistics}", f"--i3d={others}")
    code, told = run(place, *words)
    assert (code, told) == (2, None)
    said = capsys.readouterr().err
    assert stored.sha256(others) in said
    assert stored.sha256(place / "weights.pt") in said
    args = flags.parse([*words[1:], "--samples=a", "--metrics=fvd"], "x\n\ny")
    with pytest.raises(ValueError, match="was made by weights of sha256"):
        evaluate.by_others.check_reference(args)  # before anything is drawn


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"fvd_mu": np.zeros(3)}, "is no file of FVD's statistics (fvd_mu, fvd_sigma, fvd_told): "),
        (
            {"fvd_mu": np.zeros(3), "fvd_sigma": np.eye(3), "fvd_told": np.array("{")},
            "is no file of FVD's statistics",
        ),
        (
            {
                "fvd_mu": np.zeros(2),
                "fvd_sigma": np.eye(2),
                "fvd_told": np.array('{"options": {}, "weights_sha256": "", "count": 2, "source": ""}'),
            },
            "fvd_mu (2,) and fvd_sigma (2, 2) must be of 3 logits",
        ),
        ({"mu": np.zeros(3), "sigma": np.eye(3)}, "is no .npz with arr_0"),  # ADM's
    ],
)
def test_a_file_of_something_else_is_a_line(place, arrays, line, capsys):
    np.savez(place / "odd.npz", **arrays)
    code, told = run(place, "--samples=PLACE/films.npz", "--reference=PLACE/odd.npz")
    assert code in (1, 2)
    assert told is None
    assert line in capsys.readouterr().err


def test_a_file_lacks_an_option_that_is_new(tmp_path):
    protocol = clips.Clips(reference_count=3)
    real = fvd_reference.Reference(Gaussian(np.zeros(3), np.eye(3)), 3, "real/")
    fvd_reference.write(tmp_path / "a.npz", real, protocol, "digest")
    with np.load(tmp_path / "a.npz") as arrays:
        kept = dict(arrays)
    told = json.loads(str(kept["fvd_told"]))
    del told["options"]["seed"]
    np.savez(tmp_path / "a.npz", **kept | {"fvd_told": np.array(json.dumps(told))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(i3d, "CLASSES", 3)
        with pytest.raises(ValueError, match="was made with seed=nothing, and the protocol here has seed=0"):
            fvd_reference.read(tmp_path / "a.npz", protocol, "digest", "--reference")
