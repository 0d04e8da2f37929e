"""What `python -m data_pipelines.inspect` says of a dataset."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from benchmarks import make_raw_demo
from data_pipelines.inspect import __main__ as inspect
from data_pipelines.inspect import figures, guess, stored_report
from tests.data.raw.damaged import write_tar
from tests.data.raw.media import encoded, film, frames, picture


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    make_raw_demo.make_images(folder / "images", 20, 32)
    make_raw_demo.make_videos(folder / "videos", 3, 32, 9, 8)
    return folder


def run(capsys, *arguments):
    code = inspect.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_pictures_are_counted_and_shown(demo, tmp_path, capsys):
    (demo / "images" / "damaged.png").write_bytes(b"<html>")
    (demo / "images" / "damaged.txt").write_text("x")
    sheet = tmp_path / "sheet.png"
    code, out, err = run(capsys, demo / "images", "--out", sheet)
    (demo / "images" / "damaged.png").unlink()
    (demo / "images" / "damaged.txt").unlink()
    assert (code, err) == (0, "")
    assert "images: images\nrecords: 21, of which 21 were looked at: 20 can be used" in out
    assert "1 cannot: not_an_image\n    damaged.png: is a page of HTML" in out
    assert "captions: 20 of 20 records, characters 3 / " in out
    for line in ("1:1 ████████████████████████████████████████ 4", "2:1", "1:2"):
        assert line in out
    with Image.open(sheet) as image:
        assert image.size == (8 * 128, 3 * 144)
        assert np.asarray(image)[:124, 2:126].std() > 20


def test_films_and_embedded_sets(demo, capsys):
    code, out, _ = run(capsys, demo / "videos", "--frames", 9)
    assert code == 0
    assert "kind: video" in out
    assert "frames 9 / 9 / 9 / 9 / 9" in out
    code, out, _ = run(capsys, "digits", "--count", 50)
    assert code == 0
    assert "records: 1,797, of which 50" in out
    assert "labels: 10 classes" in out


def test_what_leaves_nothing_is_said_at_once(tmp_path, demo, capsys):
    parquet.write_table(
        pa.table({"image": [encoded(picture())] * 3, "score": [1, 2, 3]}), tmp_path / "a.parquet"
    )
    code, out, err = run(capsys, f"parquet:{tmp_path}?where=score>3")
    assert run(capsys, f"{tmp_path}?where=score>3") == (code, out, err)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "no record is left; filters keep 0 of 3 records: score>3 alone leaves out 3" in err
    code, _, err = run(capsys, demo / "videos", "--frames", 50)
    assert code == 2
    assert "3 cannot: short_video" in err
    assert "none of the records looked at can be used" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "'nowhere' is no file and no folder, and neither"),
        (("nothing:nowhere",), "'nothing:nowhere' is no file and no folder, and neither"),
        (("digits?side",), "digits?side: 'side' must be OPTION=VALUE"),
        (("digits?wide=3",), "digits has no option 'wide'"),
        (("digits", "--count", "0"), "--count=0"),
        (("digits", "--out", "sheet.txt"), "must end in .png"),
        (("digits", "--out", "nowhere/sheet.png"), "does not exist"),
    ],
)
def test_wrong_arguments_are_one_line(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_stored_arrays_are_looked_at(tmp_path, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    text = rng.normal(size=(12, 6)).astype(np.float32)
    x = rng.normal(size=(6, 4, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "0.npz", x=x, label=np.arange(6), text=text, text_length=np.full(6, 2))
    sheet = tmp_path / "sheet.png"
    code, out, err = run(capsys, tmp_path, "--out", sheet)
    assert (code, err) == (0, "")
    assert "arrays\nrecords: 6, x of shape (4, 1, 8, 8) (C, F, H, W)" in out
    assert "text states 2 / 2 / 2 / 2 / 2" in out
    assert "there is no null_text.npz" in out
    assert "labels: 6 classes, 6 of them here" in out
    seen = []

    def open_autoencoder(section):
        def decode(z):
            seen.append((section.path, z.shape))
            return np.ones((1, 3, 1, 16, 16), np.float32)

        return SimpleNamespace(decode=decode)

    module = ModuleType("autoencoder")
    module.open_autoencoder = open_autoencoder
    monkeypatch.setitem(sys.modules, "ptdit_jax.encoders.autoencoder", module)
    code, out, _ = run(capsys, tmp_path, "--autoencoder", "vae", "--out", sheet)
    assert code == 0
    assert seen == [("vae", (1, 4, 1, 8, 8))] * 6
    code, _, err = run(capsys, f"arrays:{tmp_path}?a=1")
    assert (code, "has no options" in err) == (2, True)


def test_latents_without_a_decoder_show_their_forms():
    x = np.zeros((4, 2, 8, 8), np.float32)
    x[:, :, 2:5, 3:6] = np.array([1.0, -1.0, 0.5, 2.0])[:, None, None, None]
    shown = stored_report.pictures(x, None)
    assert shown.shape == (2, 8, 8, 3)
    inside = np.abs(shown[0, 3, 4].astype(int) - shown[0, 0, 0]).max()
    assert inside > 100
    assert (shown[0, 2:5, 3:6] == shown[0, 3, 4]).all()
    grey = stored_report.pictures(np.full((1, 1, 2, 2), -1.0, np.float32), None)
    assert (grey == 0).all()
    assert grey.shape == (1, 2, 2, 3)
    assert stored_report.pictures(np.zeros((4, 1, 2, 2), np.float32), None).shape == (1, 2, 2, 3)


def test_a_path_is_what_it_holds(demo, tmp_path):
    assert guess.guess(str(demo / "images")) == "images"
    assert guess.guess(str(demo / "videos")) == "videos"
    (tmp_path / "tars").mkdir()
    write_tar(tmp_path / "tars" / "0.tar", [("0.png", encoded(picture()))])
    parquet.write_table(pa.table({"key": ["0"]}), tmp_path / "tars" / "0.parquet")
    assert guess.guess(str(tmp_path / "tars")) == "webdataset"
    assert guess.guess(str(tmp_path / "tars" / "0.tar")) == "webdataset"
    assert (
        guess.guess(str(tmp_path / "tars" / "0.parquet")) == "images"
    )  # no column of bytes: a table of paths
    place = tmp_path / "objects" / "0" / "12" / "00003"
    place.mkdir(parents=True)
    (place / "00003.json").write_text("{}")
    assert guess.guess(str(tmp_path / "objects")) == "gobjaverse"
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match=r"holds nothing that is known \(it is empty\); name it, as NAME:PATH"
    ):
        guess.guess(str(tmp_path / "empty"))


def test_figures():
    assert figures.aspects([(10, 10), (10, 21), (30, 10), (10, 10)]) == [("1:3", 1), ("1:1", 2), ("2:1", 1)]
    assert figures.lengths([0, 1, 2, 3, 4, 200]) == [
        ("0", 1), ("1 to 1", 1), ("2 to 3", 2), ("4 to 7", 1), ("128 to 255", 1)
    ]  # fmt: skip
    assert figures.spread([1, 2, 3, 4, 5000]) == "1 / 2 / 3 / 4 / 5,000"


def test_the_demonstration_is_the_same_each_time(demo, tmp_path):
    make_raw_demo.make_images(tmp_path / "images", 20, 32)
    for file in (demo / "images").iterdir():
        assert file.read_bytes() == (tmp_path / "images" / file.name).read_bytes()
    sizes = {Image.open(file).size for file in (demo / "images").glob("*.png")}
    assert sizes == {(32, 32), (36, 28), (28, 36), (44, 24), (24, 44)}
    assert film(frames(3)) == film(frames(3))
