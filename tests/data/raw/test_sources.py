"""Raw sources beside independent readers, their options, their filters, and that nothing is read before its time."""

import csv
import io
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grain
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from data_pipelines import sources as stored
from data_pipelines.raw import RAW, REASONS, decode, listing, open_raw, options_of, tar_index
from data_pipelines.raw.media import Stored
from tests.data.raw.damaged import cameras, write_tar
from tests.data.raw.media import encoded, film, frames, picture
from tests.data.test_prepared import prepare

SMALL = [encoded(picture(k, 6 + k, 9)) for k in range(12)]


def all_of(source):
    return [source[number] for number in range(len(source))]


def write_images(folder, names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(SMALL[number % len(SMALL)])


# A folder of pictures


def test_metadata_is_read_as_datasets_reads_it(tmp_path):
    """`file_name` is relative to the table's own folder, and a folder of any depth has its table."""
    write_images(tmp_path, ["a.png", "train/b.png", "train/deep/c.png"])
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,first\n")
    lines = [
        {"file_name": "b.png", "text": "second"},
        {"file_name": "deep/c.png", "text": "third", "more": 1},
    ]
    (tmp_path / "train" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = {record.key: record.caption for record in all_of(open_raw("images", str(tmp_path)))}
    assert found == {"a.png": "first", "train/b.png": "second", "train/deep/c.png": "third"}
    parquet.write_table(
        pa.table({"file_name": ["a.png"], "text": ["of Parquet"]}), tmp_path / "metadata.parquet"
    )
    (tmp_path / "metadata.csv").unlink()
    assert {r.caption for r in all_of(open_raw("images", str(tmp_path)))} == {"of Parquet", "second", "third"}


def test_labels_are_folders_columns_and_beside_captions(tmp_path):
    write_images(tmp_path, ["cat/a.png", "dog/b.png", "cat/c.png", "ant/d.png"])
    for name in ("cat/a", "dog/b", "cat/c", "ant/d"):
        (tmp_path / f"{name}.txt").write_text(f"it is {name}")
    source = open_raw("images", str(tmp_path), label="folder")
    found = {record.key: (record.label, record.caption) for record in all_of(source)}
    assert found["cat/a.png"] == (1, "it is cat/a")
    assert [found[key][0] for key in ("ant/d.png", "cat/a.png", "cat/c.png", "dog/b.png")] == [0, 1, 1, 2]
    assert (source.classes, source.class_names) == (3, ("ant", "cat", "dog"))
    rows = [("cat/a.png", "7"), ("dog/b.png", "2")]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "class"), *rows])
    source = open_raw("images", str(tmp_path / "list.csv"), label="class", captions="none")
    assert [(r.key, r.label, r.caption) for r in all_of(source)] == [
        ("cat/a.png", 7, None),
        ("dog/b.png", 2, None),
    ]
    assert source.classes == 8


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl"])
def test_tables_of_paths(tmp_path, suffix):
    write_images(tmp_path / "pictures", [f"{k}.png" for k in range(4)])
    columns = {
        "path": [f"{k}.png" for k in range(4)],
        "caption": ["a, b", 'say "c"', "d\ne", "Ü"],
        "score": [1, 2, 3, 4],
    }
    file = tmp_path / f"list.{suffix}"
    if suffix == "parquet":
        parquet.write_table(pa.table(columns), file)
    elif suffix == "jsonl":
        file.write_text("\n".join(json.dumps(dict(zip(columns, row))) for row in zip(*columns.values())))
    else:
        with file.open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out, delimiter="\t" if suffix == "tsv" else ",")
            writer.writerows([columns, *zip(*columns.values())])
    source = open_raw("images", str(file), root=str(tmp_path / "pictures"), where="score >= 2")
    assert [record.caption for record in all_of(source)] == columns["caption"][1:]
    assert [record.media[0].read() for record in all_of(source)] == SMALL[1:4]
    assert source.notes == ["filters keep 3 of 4 records: score >= 2 alone leaves out 1"]


def test_what_may_lie_outside(tmp_path):
    write_images(tmp_path, ["far/a.png", "near/b.png"])
    (tmp_path / "near" / "c.png").symlink_to(tmp_path / "far" / "a.png")
    (tmp_path / "near" / "more").symlink_to(tmp_path / "far")
    closed, opened = (open_raw("images", str(tmp_path / "near"), outside=flag) for flag in (False, True))
    assert [(r.key, r.problem and r.problem.reason) for r in all_of(closed)] == [
        ("b.png", None),
        ("c.png", "bad_path"),
    ]
    assert closed.notes == ["1 entries are no image by their names: more (link)"]
    assert [decode(r).shape for r in all_of(opened)] == [(1, 7, 9, 3), (1, 6, 9, 3), (1, 6, 9, 3)]


def test_a_listing_opens_nothing(tmp_path, monkeypatch, capsys):
    write_images(tmp_path, [f"{k // 10}/{k}.png" for k in range(40)])
    (tmp_path / "0" / "0.txt").write_text("a caption")

    def refuse(*_):
        raise AssertionError("a file was opened")

    monkeypatch.setattr(Stored, "open", refuse)
    monkeypatch.setattr(listing, "SECONDS", 0.0)
    assert len(open_raw("images", str(tmp_path))) == 40
    assert "so far" in capsys.readouterr().err


def test_filters_of_metadata(tmp_path):
    write_images(tmp_path, ["a.png", "b.png", "c.png", "alone.png"])
    lines = [
        json.dumps({"file_name": "a.png", "text": "a long caption", "score": 3}),
        json.dumps({"file_name": "b.png", "text": "short", "score": 3}),
        "{",
        json.dumps({"file_name": "c.png", "text": "another long caption", "score": 1}),
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    source = open_raw("images", str(tmp_path), where="score>2", min_caption=10)
    assert [(r.key, r.problem and r.problem.reason) for r in all_of(source)] == [
        ("a.png", None),
        ("metadata.jsonl:3", "bad_metadata"),
    ]
    assert source[0].facts == {"score": 3, "text": "a long caption"}
    assert "1 files are in no table, so that no filter keeps them: alone.png" in source.notes
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png"}')
    with pytest.raises(ValueError, match="min_caption=3 needs a column of captions"):
        open_raw("images", str(tmp_path), min_caption=3)
    (tmp_path / "metadata.jsonl").unlink()
    with pytest.raises(ValueError, match=r"min_side=3 needs a table metadata\.jsonl"):
        open_raw("images", str(tmp_path), min_side=3)


def test_captions_in_capitals_and_optional(tmp_path):
    write_images(tmp_path, ["A.PNG", "b.png"])
    (tmp_path / "A.TXT").write_text("LOUD")
    found = [record.caption for record in all_of(open_raw("images", str(tmp_path), captions="optional"))]
    assert found == ["LOUD", None]
    assert open_raw("images", str(tmp_path))[1].problem.reason == "no_caption"
    assert open_raw("images", str(tmp_path), captions="none")[0].caption is None


# Tars


def write_shards(folder, shards=3, samples=5, parquets=True):
    folder.mkdir(exist_ok=True)
    for shard in range(shards):
        keys = [f"{shard:05d}{k:04d}" for k in range(samples)]
        members = [
            (f"{key}.{suffix}", content)
            for k, key in enumerate(keys)
            for suffix, content in (
                ("jpg", SMALL[(shard * samples + k) % 12]),
                ("txt", f"caption {key}".encode()),
                ("json", json.dumps({"key": key, "alt": f"other {key}", "kind": k % 3}).encode()),
            )
        ]
        write_tar(folder / f"{shard:05d}.tar", members)
        if parquets:
            rows = {"key": [*keys, "lost"], "status": ["success"] * samples + ["failed_to_download"]}
            rows |= {"width": [100 * k for k in range(samples + 1)], "height": [200] * (samples + 1)}
            rows |= {"aesthetic": [None, *(4.0 + k for k in range(samples))]}
            rows |= {"caption": [f"caption {key}" for key in (*keys, "lost")]}
            parquet.write_table(pa.table(rows), folder / f"{shard:05d}.parquet")


def test_tars_are_read_as_webdataset_reads_them(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    write_shards(tmp_path)
    names = [str(tmp_path / f"{shard:05d}.tar") for shard in range(3)]
    theirs = list(webdataset.WebDataset(names, shardshuffle=False, empty_check=False))
    ours = all_of(open_raw("webdataset", str(tmp_path)))
    assert [record.key.partition("/")[2] for record in ours] == [sample["__key__"] for sample in theirs]
    assert [record.media[0].read() for record in ours] == [sample["jpg"] for sample in theirs]
    assert [record.caption for record in ours] == [sample["txt"].decode() for sample in theirs]
    assert [record.facts for record in ours] == [json.loads(sample["json"]) for sample in theirs]
    order = np.random.default_rng(0).permutation(15)
    source = open_raw("webdataset", str(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        assert [r.key for r in pool.map(source.__getitem__, order)] == [ours[number].key for number in order]


def test_captions_and_labels_of_a_json(tmp_path):
    write_shards(tmp_path)
    source = open_raw("webdataset", str(tmp_path), caption="alt", label="kind", classes="3")
    assert (source[1].caption, source[1].label, source.classes) == ("other 000000001", 1, 3)
    with pytest.raises(ValueError, match="say how many classes there are, classes=N"):
        open_raw("webdataset", str(tmp_path), label="kind")


def test_labels_of_cls(tmp_path):
    write_tar(
        tmp_path / "a.tar", [("0.png", SMALL[0]), ("0.cls", b"4\n"), ("1.png", SMALL[1]), ("1.cls", b"five")]
    )
    source = open_raw("webdataset", str(tmp_path / "a.tar"), classes=10)
    assert (source[0].label, source[0].caption, source[1].problem.reason) == (4, None, "bad_label")


def test_filters_open_no_tar(tmp_path, monkeypatch):
    write_shards(tmp_path)
    scanned = []
    scan = tar_index.scan
    monkeypatch.setattr(tar_index, "scan", lambda path: scanned.append(path.name) or scan(path))
    (tmp_path / "00001.tar").rename(tmp_path / "moved")
    (tmp_path / "00001.tar").write_bytes(b"")
    source = open_raw("webdataset", str(tmp_path), where="aesthetic>=6", min_side=200, max_aspect=2.0)
    assert len(source) == 6  # widths 300 and 400 of each shard
    assert scanned in (["00000.tar"], [])
    assert [record.key for record in all_of(source)][:2] == ["00000/000000003", "00000/000000004"][:2]
    assert [r.problem.reason if r.problem else "" for r in all_of(source)] == [
        "",
        "",
        "missing",
        "missing",
        "",
        "",
    ]
    assert source.notes == [
        "filters keep 6 of 15 records: aesthetic>=6 alone leaves out 9, min_side=200 alone leaves out 6, "
        "max_aspect=2 alone leaves out 3"
    ]


def test_an_index_is_made_once(tmp_path, monkeypatch):
    write_shards(tmp_path / "in", parquets=False)
    scanned = []
    scan = tar_index.scan
    monkeypatch.setattr(tar_index, "scan", lambda path: scanned.append(path.name) or scan(path))
    cache = tmp_path / "cache"
    first = all_of(open_raw("webdataset", str(tmp_path / "in"), cache=str(cache)))
    assert sorted(scanned) == ["00000.tar", "00001.tar", "00002.tar"]
    for file in cache.iterdir():
        with np.load(file, allow_pickle=False) as arrays:
            assert all(arrays[name].dtype != object for name in arrays)
    scanned.clear()
    assert all_of(open_raw("webdataset", str(tmp_path / "in"), cache=str(cache))) == first
    assert not scanned
    damaged = sorted(cache.iterdir())[1]
    damaged.write_bytes(damaged.read_bytes()[:100])
    write_tar(tmp_path / "in" / "00002.tar", [("new.png", SMALL[0]), ("new.txt", b"new")])
    again = open_raw("webdataset", str(tmp_path / "in"), cache=str(cache))
    assert sorted(scanned) == ["00001.tar", "00002.tar"]
    assert (len(again), again[10].key) == (11, "00002/new")


def test_films_in_tars(tmp_path):
    content = film(frames(6))
    write_tar(
        tmp_path / "a.tar", [("0_00000.mp4", content), ("0_00000.txt", b"grey"), ("0_00000.jpg", SMALL[0])]
    )
    source = open_raw("webdataset", str(tmp_path))
    assert (source.kind, source[0].kind, len(source)) == ("video", "video", 1)
    assert decode(source[0], frames=6).shape == (6, 64, 64, 3)


# Filters


def test_nothing_left_is_one_line(tmp_path):
    write_shards(tmp_path)
    with pytest.raises(ValueError, match="no record is left") as raised:
        open_raw("webdataset", str(tmp_path), where="aesthetic>100, width<1e9", min_caption=5)
    assert str(raised.value) == (
        f"webdataset: {tmp_path}: no record is left; filters keep 0 of 15 records: aesthetic>100 alone leaves out 15, "
        "width<1e9 alone leaves out 0, min_caption=5 alone leaves out 0"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": "aesthetic"}, "must be COLUMN, one of"),
        ({"where": "aesthetic>high"}, "must be COLUMN, one of"),
        ({"where": "beauty>1"}, "beauty>1 needs the column 'beauty'; there are key, status, width"),
        ({"max_aspect": 0.5}, "max_aspect=0.5 must be 0 .any., or 1 or more"),
        ({"min_side": "small"}, "min_side='small' must be a whole number"),
        ({"captions": "maybe"}, "captions='maybe' must be one of auto, required, optional, none"),
        ({"beauty": 1}, "webdataset has no option 'beauty'; it has cache, captions"),
    ],
)
def test_wrong_options_are_named(tmp_path, options, message):
    write_shards(tmp_path)
    with pytest.raises(ValueError, match=message):
        open_raw("webdataset", str(tmp_path), **options)


@pytest.mark.parametrize("name", [name for name in RAW if not name.endswith("digits")])
def test_nothing_there_is_one_line(tmp_path, name, monkeypatch):
    for path in ("", str(tmp_path / "nowhere"), str(tmp_path)):
        with pytest.raises(ValueError, match=r"\S") as raised:
            open_raw(name, path)
        assert "\n" not in str(raised.value)
        assert name.rstrip("s") in str(raised.value)


# Parquet and TFDS


def hugging_face_table(rows=25):
    feature = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["zero", "one", "two"]}}
    columns = {
        "image": [{"bytes": SMALL[k % 12], "path": f"{k}.png"} for k in range(rows)],
        "label": [k % 2 for k in range(rows)],
        "text": [f"number {k}" for k in range(rows)],
        "score": [float(k) for k in range(rows)],
    }
    schema = {b"huggingface": json.dumps({"info": {"features": feature}}).encode()}
    return pa.table(columns).replace_schema_metadata(schema)


def test_embedded_bytes_come_back(tmp_path):
    table = hugging_face_table()
    parquet.write_table(table.slice(0, 12), tmp_path / "train-00000-of-00002.parquet", row_group_size=5)
    parquet.write_table(table.slice(12), tmp_path / "train-00001-of-00002.parquet", row_group_size=5)
    source = open_raw("parquet", str(tmp_path))
    assert (len(source), source.classes, source.class_names) == (25, 3, ("zero", "one", "two"))
    for number in np.random.default_rng(1).permutation(25).tolist():
        record = source[number]
        assert record.media[0].read() == SMALL[number % 12]
        assert (record.caption, record.label) == (f"number {number}", number % 2)
        assert record.facts == {"score": float(number)}
    source = open_raw("parquet", str(tmp_path), where="score>3,score<20", min_caption=9)
    assert [record.caption for record in all_of(source)] == [f"number {k}" for k in range(10, 20)]


def test_row_groups_in_memory_are_few(tmp_path):
    parquet.write_table(hugging_face_table(60), tmp_path / "a.parquet", row_group_size=2)
    source = open_raw("parquet", str(tmp_path / "a.parquet"))
    threads = [threading.Thread(target=lambda: all_of(source)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(source._loaded) <= 8


def test_a_damaged_row_group_costs_its_own_rows(tmp_path):
    file = tmp_path / "a.parquet"
    parquet.write_table(hugging_face_table(12), file, row_group_size=4, compression="none")
    columns = [parquet.ParquetFile(file).metadata.row_group(1).column(k) for k in range(5)]
    content = bytearray(file.read_bytes())
    for column in columns:
        start = column.dictionary_page_offset or column.data_page_offset
        content[start : start + 8] = b"\xff" * 8
    file.write_bytes(content)
    for options, rows in (({}, 9), ({"where": "score>=0"}, 9)):
        found = all_of(open_raw("parquet", str(file), **options))
        assert [record.problem and record.problem.reason for record in found] == [
            *[None] * 4,
            "damaged",
            *[None] * 4,
        ]
        assert len(found) == rows


def test_which_column_holds_media_is_asked(tmp_path):
    parquet.write_table(pa.table({"front": [b"1"], "back": [b"2"], "text": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="which column holds the media, media=front or back"):
        open_raw("parquet", str(tmp_path))
    assert open_raw("parquet", str(tmp_path), media="back")[0].media[0].read() == b"2"
    with pytest.raises(ValueError, match="media='text' must be a column of bytes"):
        open_raw("parquet", str(tmp_path), media="text")


def test_tfds_by_folder_and_by_name(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    rows = [{"image": io.BytesIO(SMALL[k]), "label": k % 3, "file_name": f"n0{k}.JPEG"} for k in range(5)]

    def features(f):
        image = f.Image(encoding_format="png")
        return {"image": image, "label": f.ClassLabel(num_classes=1000), "file_name": f.Text()}

    folder = prepare(tmp_path, features, rows)
    source = open_raw("tfds", folder)
    assert (len(source), source.classes, source.kind) == (5, 1000, "image")
    found = {record.facts["file_name"]: record for record in all_of(source)}
    for row in rows:
        record = found[row["file_name"]]
        assert record.label == row["label"]
        assert record.media[0].read() == row["image"].getvalue()
        assert decode(record).shape[2:] == (9, 3)
    # the name of a dataset whose code tensorflow-datasets has, prepared before by that code
    version = str(tfds.builder_cls("imagenet2012").VERSION)
    place = tmp_path / "data" / "imagenet2012" / version
    place.parent.mkdir(parents=True)
    (tmp_path / "prepared" / "1.0.0").rename(place)
    for file in place.iterdir():
        if file.suffix == ".json":
            text = file.read_text().replace('"prepared"', '"imagenet2012"').replace('"1.0.0"', f'"{version}"')
            file.write_text(text)
        else:
            file.rename(file.with_name(file.name.replace("prepared", "imagenet2012")))
    named = open_raw("tfds", str(tmp_path / "data"), dataset="imagenet2012")
    assert sorted(record.facts["file_name"] for record in all_of(named)) == sorted(found)
    assert len(open_raw("tfds", str(tmp_path / "data"), dataset="imagenet2012", split="train[:2]")) == 2
    with pytest.raises(ValueError, match="tfds: imagenet2012: is not prepared"):
        open_raw("tfds", str(tmp_path / "nowhere"), dataset="imagenet2012")
    with pytest.raises(ValueError, match="tfds: no_such_set"):
        open_raw("tfds", str(tmp_path / "data"), dataset="no_such_set")
    with pytest.raises(ValueError, match="image='picture' must be a feature Image"):
        open_raw("tfds", str(place), image="picture")


def test_missing_tfds_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ValueError, match=r"requirements-tfds\.txt"):
        open_raw("tfds", str(tmp_path))


# Objects


def test_views_stand_in_the_order_of_their_numbers(tmp_path):
    (tmp_path / "chair").mkdir()
    for view in range(12):
        (tmp_path / "chair" / f"view_{view}.png").write_bytes(SMALL[view])
    (tmp_path / "chair.txt").write_text("a chair")
    record = open_raw("multiview", str(tmp_path), views=12)[0]
    assert [media.read() for media in record.media] == SMALL  # 10 comes after 9
    assert record.caption == "a chair"
    assert record.facts["azimuth"] == [30.0 * view for view in range(12)]


@pytest.mark.parametrize("up", [0, 1, 2])
def test_gobjaverse_angles_are_its_cameras(tmp_path, up):
    origins = np.roll(cameras(24, 0.5, 1.645), up - 1, axis=1)
    for view in range(40):
        place = tmp_path / "0" / "10005" / "campos_512_v4" / f"{view:05d}"
        place.mkdir(parents=True)
        (place / f"{view:05d}.png").write_bytes(SMALL[view % 12])
        origin = origins[view].tolist() if view < 24 else [0, 0, 9]
        (place / f"{view:05d}.json").write_text(json.dumps({"origin": origin, "x": [1, 0, 0], "x_fov": 0.69}))
    record = open_raw("gobjaverse", str(tmp_path))[0]
    np.testing.assert_allclose(record.facts["azimuth"], 15 * np.arange(24), atol=1e-6)
    assert record.facts["distance"] == pytest.approx(1.645)
    assert record.facts["elevation"] == pytest.approx(np.degrees(np.arcsin(0.5 / 1.645)))
    assert record.caption is None
    four = open_raw("gobjaverse", str(tmp_path), views=4)[0]
    assert [media.read() for media in four.media] == [SMALL[view % 12] for view in (0, 6, 12, 18)]
    np.testing.assert_allclose(four.facts["azimuth"], [0, 90, 180, 270], atol=1e-6)
    with pytest.raises(ValueError, match="views=7 must divide 24"):
        open_raw("gobjaverse", str(tmp_path), views=7)


# Digits, and all of them


def test_digits_are_those_that_are_trained_on():
    raw, source = open_raw("digits", side=16), stored.Digits(16, 16)
    assert (len(raw), raw.classes) == (len(source), 10)
    for number in (0, 3, 1796):
        made = decode(raw[number])[0, :, :, 0].astype(np.float32) / 127.5 - 1
        np.testing.assert_allclose(made, source[number]["x"][0, 0], atol=1 / 127)
        assert raw[number].label == source[number]["label"]
    assert {raw[number].caption for number in (0, 1, 2, 3)} == {
        "a handwritten zero", "the digit 1", "two", "a scan of the number three"
    }  # fmt: skip
    film_, moving = open_raw("moving_digits", frames=7, height=20, width=24), stored.MovingDigits(7, 20, 24)
    made = decode(film_[9000], frames=7)[..., 0].astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(made, moving[9000]["x"][0], atol=1 / 127)
    with pytest.raises(ValueError, match="side=12 must be a multiple of 8"):
        open_raw("digits", side=12)
    with pytest.raises(ValueError, match="takes no path"):
        open_raw("digits", "somewhere")


def test_options_come_as_text_too():
    assert open_raw("moving_digits", frames="5", height="16", width="16")[0].media[0].frames.shape == (
        5,
        16,
        16,
        3,
    )
    assert options_of("images")["outside"] is False
    assert "kind" not in options_of("images")
    assert "kind" in options_of("parquet")
    with pytest.raises(ValueError, match="'no_such' is no raw source; there are images"):
        open_raw("no_such")


def test_grain_reads_any_raw_source(tmp_path):
    write_shards(tmp_path, parquets=False)
    dataset = grain.MapDataset.source(open_raw("webdataset", str(tmp_path))).shuffle(seed=1)
    batches = dataset.map(lambda record: decode(record, shape=(4, 4))[0]).batch(5)
    assert [batch.shape for batch in batches] == [(5, 4, 4, 3)] * 3


def test_the_page_names_every_reason_and_source():
    page = (Path(__file__).parents[3] / "docs" / "raw_data.md").read_text()
    for reason, text in REASONS.items():
        assert f"| `{reason}` | {text} |" in page
    table = page.partition("| source | `path` |")[2].partition("\n\n")[0]
    assert all(f"`{name}`" in table for name in RAW)
