"""CLIP score, CLIPSIM, FD-DINOv2 and FVD from files to JSON; protocols, and the captions of COCO."""

import json

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image

from data_pipelines.raw import fit
from ptdit_jax import cli
from ptdit_jax.evaluate import __main__ as evaluate
from ptdit_jax.evaluate import coco, flags, protocols
from ptdit_jax.evaluation import pictures
from ptdit_jax.features import clip, dinov2, i3d
from ptdit_jax.plots import settings
from tests.features import towers

COUNT = 5


@pytest.fixture(scope="module", autouse=True)
def uncached():
    """No folder of compiled programs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "enable_compilation_cache", lambda: None)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Tiny networks, pictures that say their prompts, other pictures, and films."""
    folder = tmp_path_factory.mktemp("others")
    towers.save(towers.clip(), folder / "clip", 20)
    towers.save(towers.dinov2(), folder / "dinov2", 35, kind="BitImageProcessor")
    rng = np.random.default_rng(0)
    for name in ("pictures", "real"):
        (folder / name).mkdir()
        for number in range(COUNT):
            told = (
                settings.options("a.png", {settings.KEY: "0", "prompt": caption(number)})
                if name == "pictures"
                else {}
            )
            pixels = rng.integers(0, 256, (24, 30, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png", **told)
    np.savez(folder / "films.npz", arr_0=rng.integers(0, 256, (4, 10, 22, 20, 3)).astype(np.uint8))
    np.savez(folder / "films_real.npz", arr_0=rng.integers(0, 256, (6, 12, 22, 20, 3)).astype(np.uint8))
    (folder / "captions.txt").write_text("a cat\nthe tea\n")
    return folder


def caption(number):
    return towers.CAPTIONS[number % len(towers.CAPTIONS)] or "tea"


def run(place, *words):
    """The exit code of a command, and what evaluation.json says."""
    out = place / "figures.json"
    out.unlink(missing_ok=True)
    given = [word.replace("PLACE", str(place)) for word in words]
    code = cli.run(lambda: evaluate.main(flags.parse([f"--out={out}", "--together=3", *given], "x\n\ny")))
    return code, json.loads(out.read_text()) if out.exists() else None


def pixels_of(folder):
    return np.stack([np.asarray(Image.open(file)) for file in sorted(folder.glob("*.png"))])


def cosines(place, images, captions):
    """By transformers' network, of pictures (N, H, W, 3) and a caption each."""
    ours, _ = clip.load(place / "clip")
    ids, mask = ours.tokens(captions)
    with torch.no_grad():
        found = towers.clip()(
            pixel_values=torch.from_numpy(ours.prepare(images).transpose(0, 3, 1, 2)),
            input_ids=torch.from_numpy(np.array(ids)).long(),
            attention_mask=torch.from_numpy(np.array(mask)).long(),
        )
    return (found.image_embeds * found.text_embeds).sum(-1).double().numpy()


def test_the_clip_score_is_of_the_prompts_in_the_files(place):
    code, told = run(place, "--samples=PLACE/pictures", "--metrics=clip_score", "--clip=PLACE/clip")
    assert code == 0
    near = cosines(place, pixels_of(place / "pictures"), [caption(number) for number in range(COUNT)])
    assert told["figures"]["clip_score"] == pytest.approx(np.maximum(100 * near, 0).mean(), rel=1e-4)
    assert len(told["clip_sha256"]) == 64


def test_clipsim_is_the_raw_cosine_of_every_frame(place):
    words = ("--samples=PLACE/films.npz", "--metrics=clipsim", "--clip=PLACE/clip")
    code, told = run(place, *words, "--captions=PLACE/captions.txt")
    assert code == 0
    shown = np.load(place / "films.npz")["arr_0"]
    near = [
        cosines(place, film, [text] * 10).mean()
        for film, text in zip(shown, ["a cat", "a cat", "the tea", "the tea"], strict=True)
    ]
    assert told["figures"]["clipsim"] == pytest.approx(np.mean(near), rel=1e-4)
    assert told["frames"] == [10] * 4


def test_the_distance_in_the_space_of_dinov2(place):
    words = ("--samples=PLACE/pictures", "--reference=PLACE/real", "--metrics=fd_dinov2")
    code, told = run(place, *words, "--dinov2=PLACE/dinov2")
    assert code == 0
    ours, _ = dinov2.load(place / "dinov2", as_paper=True)
    one, other = (
        np.asarray(ours.of_images(pixels_of(place / name)), np.float64) for name in ("real", "pictures")
    )
    spreads = [np.cov(each, rowvar=False) for each in (one, other)]
    root = scipy.linalg.sqrtm(spreads[0] @ spreads[1]).real
    wanted = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(spreads[0] + spreads[1] - 2 * root)
    assert told["figures"]["fd_dinov2"] == pytest.approx(wanted, rel=1e-2)


def test_fvd_is_of_the_clips_of_a_protocol(place, monkeypatch):
    def apply(params, seen):
        return i3d.Features(params * seen[:, :, 112, 112].mean(axis=1), None)

    monkeypatch.setattr(i3d, "load", lambda path: (np.float32(10), "digest"))
    monkeypatch.setattr(i3d, "apply", apply)
    monkeypatch.setattr(i3d, "CLASSES", 3)
    monkeypatch.setattr(
        evaluate.by_others.clips, "PRESETS", {"common_metrics": evaluate.by_others.clips.Clips(frames=9)}
    )
    words = ("--samples=PLACE/films.npz", "--reference=PLACE/films_real.npz", "--metrics=fvd")
    code, told = run(
        place, *words, "--i3d=PLACE/captions.txt", "--clips=common_metrics?stride=1&reference_count=5"
    )
    assert code == 0
    assert told["figures"]["fvd"] > 0
    facts = {"frames": 9, "count": 4, "reference_count": 5, "stride": 1, "i3d_sha256": "digest"}
    assert facts.items() <= told.items()


def test_raw_sources_are_cut_to_the_size_of_the_samples(place, tmp_path):
    for name, kind in (("wide", "RGB"), ("grey", "L")):
        Image.effect_noise((61, 35), 90).convert(kind).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text("noise")
    words = ("--samples=PLACE/pictures", "--metrics=fd_dinov2", "--dinov2=PLACE/dinov2")
    code, told = run(place, *words, f"--reference-source=images:{tmp_path}")
    assert code == 0
    assert told["reference"] == f"images:{tmp_path}"
    assert told["reference_count"] == 2
    found = pictures.of_source(f"images:{tmp_path}", "--x", (24, 30))
    wanted = [
        fit(np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"))[None], 24, 30)[0]
        for name in ("grey", "wide")
    ]
    np.testing.assert_array_equal(found.read(np.array([0, 1, 1])), np.stack([*wanted, wanted[1]]))
    with pytest.raises(ValueError, match=r"--x=moving_digits: must be pictures|must be pictures"):
        pictures.of_source("moving_digits", "--x", (24, 30))
    with pytest.raises(ValueError, match="--x=tapes:a: "):
        pictures.of_source("tapes:a", "--x", (24, 30))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("--samples=PLACE/films.npz", "--metrics=is", "--inception=PLACE/captions.txt"),
            "=is is of pictures",
        ),
        (("--samples=PLACE/pictures", "--metrics=clipsim", "--clip=PLACE/clip"), "=clipsim is of films"),
        (("--samples=PLACE/films.npz", "--metrics=clipsim", "--clip=PLACE/clip"), "--captions is missing"),
        (
            ("--samples=PLACE/real", "--metrics=clip_score", "--clip=PLACE/clip"),
            "0.png does not say its prompt",
        ),
        (
            (
                "--samples=PLACE/real",
                "--metrics=clip_score",
                "--clip=PLACE/clip",
                "--captions=PLACE/captions.txt",
            ),
            "has 2 captions for 5 samples",
        ),
        (("--samples=PLACE/real", "--metrics=clip_score"), "--clip is missing: the weights that clip_score"),
        (("--samples=PLACE/films.npz", "--metrics=fvd", "--i3d=a"), "--metrics=fvd needs --reference"),
        (("--samples=PLACE/films.npz", "--metrics=fvds"), "--metrics=fvds must be of fid"),
        (
            ("--samples-source=images:PLACE/real", "--metrics=clip_score", "--clip=PLACE/clip"),
            "--samples-source needs --size HxW, and --out or --write-reference",
        ),
        (
            (
                "--samples=PLACE/films.npz",
                "--metrics=fvd",
                "--reference=a",
                "--i3d=a",
                "--clips=stylegan_v?fps=8",
            ),
            "stylegan_v?fps=8: there is no option 'fps'; there are frames, stride",
        ),
        (
            ("--samples=PLACE/real", "--metrics=clip_score", "--clip=PLACE/clip", "--write-reference=a.npz"),
            "--write-reference needs a figure of Inception, or fvd, and --metrics=clip_score has none",
        ),
        (
            ("--samples=a", "--metrics=fvd", "--i3d=a", "--write-reference=a.npz", "--count=4"),
            "--count=4 does not go with --write-reference of fvd: it is of reference_count films",
        ),
        (
            ("--samples=PLACE/real", "--reference=a", "--reference-source=images:b", "--metrics=is"),
            "--reference and --reference-source do not go together",
        ),
        (
            (
                "--samples=PLACE/pictures",
                "--reference=PLACE/real",
                "--protocol=coco_fid30k",
                "--inception=PLACE/captions.txt",
            ),
            "--protocol=coco_fid30k is of 30,000 samples, and there are 5",
        ),
        (
            ("--samples=PLACE/pictures", "--protocol=coco_fid30k", "--metrics=kid"),
            "--metrics=kid is not --protocol=coco_fid30k, which has fid",
        ),
    ],
)
def test_what_is_wrong_is_a_line(place, words, line, capsys):
    try:
        code, told = run(place, *words)
    except SystemExit as error:
        code, told = error.code, None
    assert code in (1, 2)
    assert told is None
    assert line in capsys.readouterr().err


def test_protocols_say_options_that_there_are():
    args = flags.parse(["--samples=a", "--metrics=clip_score", "--clip=b"], "x\n\ny")
    for protocol in protocols.PROTOCOLS.values():
        assert set(protocol.options) <= set(vars(args))
        assert set(protocol.options["metrics"].split(",")) <= set(flags.NETWORKS)


def annotations(pictures=40):
    """As COCO's: five captions a picture, in no order."""
    rng = np.random.default_rng(0)
    images = [{"id": 7 * n, "file_name": f"COCO_val2014_{7 * n:012d}.jpg"} for n in range(pictures)]
    texts = [
        {"id": 100 * n + k, "image_id": 7 * n, "caption": f"picture {7 * n},\n caption {k} "}
        for n in range(pictures)
        for k in range(5)
    ]
    return {"images": images, "annotations": [texts[place] for place in rng.permutation(len(texts))]}


def test_a_caption_of_each_of_some_pictures_by_a_seed(tmp_path, capsys):
    (tmp_path / "captions.json").write_text(json.dumps(annotations()))
    words = [f"--annotations={tmp_path / 'captions.json'}", f"--out={tmp_path / 'out'}", "--count=12"]
    assert cli.run(lambda: coco.main(coco.parse(words))) == 0
    names = (tmp_path / "out" / "pictures.txt").read_text().splitlines()
    prompts = [json.loads(line)["prompt"] for line in (tmp_path / "out" / "prompts.jsonl").open()]
    assert len(names) == len(set(names)) == 12
    numbers = [int(name[-16:-4]) for name in names]
    assert numbers == sorted(numbers)
    assert [text.split(",")[0] for text in prompts] == [f"picture {number}" for number in numbers]
    assert len({text[-1] for text in prompts}) > 2  # not always the first caption
    assert coco.digest(tmp_path / "out" / "pictures.txt") in capsys.readouterr().out
    assert cli.run(lambda: coco.main(coco.parse(["--annotations=none.json", "--out=a"]))) == 1
    assert "error: --annotations=none.json: there is no such file" in capsys.readouterr().err
    again = coco.choose(annotations(), 12, 0, "x")
    assert [name for name, _ in again] == names
    assert [name for name, _ in coco.choose(annotations(), 12, 1, "x")] != names
    with pytest.raises(ValueError, match=r"--count=41: x has 40 pictures with captions"):
        coco.choose(annotations(), 41, 0, "x")
    with pytest.raises(ValueError, match="x is no file of COCO's captions: KeyError"):
        coco.choose({"images": []}, 1, 0, "x")
