"""Sources, filters, pictures and shards, without Beam."""

import gzip
import io
import json
import tarfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from data_pipelines.ingest import filters, measured, pictures, shards, storage, units
from data_pipelines.ingest.options import Settings, parse
from data_pipelines.ingest.reasons import LeftOut
from tests.ingest.conftest import encoded, picture

pytestmark = pytest.mark.usefixtures("average_hash")


def settings(**values):
    return Settings(sources=("x",), **values)


def measure_all(source, **values):
    """{key: row} of all samples of a source."""
    chosen = Settings(sources=(str(source),), **values)
    rows = [row for unit in units.plan(chosen, "/nowhere") for row in measured.measure_unit(unit, chosen)]
    return {row["key"]: row for row in rows}


def reasons(rows):
    return {key: row["reason"] for key, row in rows.items() if row["reason"]}


def write_tar(path, members):
    """Members by name: bytes, or a TarInfo to change."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if content not in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                member.type, member.linkname = content, "/etc/passwd"
                tar.addfile(member)


@pytest.mark.parametrize(
    ("values", "caption", "metadata", "reason"),
    [
        ({}, None, {}, None),
        ({"min_caption_chars": 1}, None, {}, "no_caption"),
        ({"min_caption_words": 1}, "  ", {}, "no_caption"),
        ({"min_caption_chars": 4}, "né è", {}, None),
        ({"min_caption_chars": 5}, "né è", {}, "caption_too_short"),
        ({"max_caption_words": 2}, "a b", {}, None),
        ({"max_caption_words": 2}, "a b c", {}, "caption_too_long"),
        ({"min_score": (("a", 5.0),)}, "", {"a": 5}, None),
        ({"min_score": (("a", 5.0),)}, "", {"a": "4.9"}, "score_too_low"),
        ({"min_score": (("a", 5.0),)}, "", {"a": float("nan")}, "no_score"),
        ({"max_score": (("w", 0.5),)}, "", {"w": 0.6}, "score_too_high"),
        ({"max_score": (("w", 0.5),)}, "", {}, "no_score"),
        ({"max_score": (("w", 0.5),)}, "", {"w": True}, "no_score"),
    ],
)
def test_text_filters(values, caption, metadata, reason):
    if reason is None:
        filters.check_text(settings(**values), caption, metadata)
    else:
        with pytest.raises(LeftOut) as error:
            filters.check_text(settings(**values), caption, metadata)
        assert error.value.reason == reason


@pytest.mark.parametrize(
    ("values", "size", "reason"),
    [
        ({"min_side": 64}, (64, 80), None),
        ({"min_side": 65}, (64, 80), "too_small"),
        ({"min_pixels": 64 * 80}, (64, 80), None),
        ({"min_pixels": 64 * 80 + 1}, (64, 80), "too_small"),
        ({"max_aspect": 1.25}, (64, 80), None),
        ({"max_aspect": 1.25}, (80, 64), None),
        ({"max_aspect": 1.24}, (80, 64), "aspect"),
    ],
)
def test_size_filters(values, size, reason):
    if reason is None:
        filters.check_size(settings(**values), *size)
    else:
        with pytest.raises(LeftOut) as error:
            filters.check_size(settings(**values), *size)
        assert error.value.reason == reason


def bomb():
    content = bytearray(encoded(Image.new("1", (8, 8))))
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def frames(kind):
    return encoded(picture(0), kind, save_all=True, append_images=[picture(1)])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: b"", "empty"),
        (lambda: b"<html>not found</html>", "not_an_image"),
        (lambda: encoded(picture(0), "JPEG")[:700], "damaged"),
        (lambda: encoded(picture(0))[:2000], "damaged"),
        (lambda: frames("GIF"), "animated"),
        (lambda: frames("WEBP"), "animated"),
        (bomb, "too_large"),
    ],
)
def test_what_cannot_be_used_has_its_reason(content, reason):
    with pytest.raises(LeftOut) as error:
        pictures.measure(content(), "jpg", settings())
    assert error.value.reason == reason


def test_limits_are_asked_before_decoding():
    content = encoded(picture(0))
    for values in ({"max_pixels": 64 * 80 - 1}, {"max_bytes": len(content) - 1}):
        with pytest.raises(LeftOut) as error:
            pictures.measure(content, "png", settings(**values))
        assert error.value.reason == "too_large"


def test_pixels_are_compared_as_shown():
    base = picture(3)
    one = pictures.measure(encoded(base), "png", settings())
    same = [
        encoded(base, "BMP"),
        encoded(base.convert("RGBA")),
        encoded(base, "WEBP", lossless=True),
        encoded(base.transpose(Image.Transpose.ROTATE_90), exif=exif(6)),
    ]
    for content in same:
        other = pictures.measure(content, "dat", settings())
        assert (other.pixels, other.phash, other.width, other.height) == (one.pixels, one.phash, 80, 64)
        assert other.sha256 != one.sha256
    assert (other.stored_width, other.stored_height) == (64, 80)
    assert pictures.measure(encoded(picture(4)), "png", settings()).pixels != one.pixels


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "I;16", "LA", "F"])
def test_modes_are_measured(mode):
    if mode == "I;16":
        image = Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
    else:
        image = picture(0).convert("L").convert(mode) if mode == "LA" else picture(0).convert(mode)
    kind = "TIFF" if mode in ("CMYK", "F") else "PNG"
    assert pictures.measure(encoded(image, kind), "png", settings()).phash is not None


def test_a_tar_of_every_kind_of_member(tmp_path):
    jpeg = encoded(picture(0), "JPEG")
    members = [
        ("0.jpg", jpeg),
        ("0.txt", b"zero"),
        ("0.json", json.dumps({"url": "u", "aesthetic": 6.5}).encode()),
        ("1.jpg", jpeg),
        ("1.txt", b"\xff\xfe"),
        ("2.jpg", jpeg),
        ("2.json", b"[1"),
        ("3.txt", b"alone"),
        ("4.jpg", jpeg),
        ("4.png", encoded(picture(0))),
        ("../5.jpg", jpeg),
        ("/6.jpg", jpeg),
        ("7.jpg", tarfile.SYMTYPE),
        ("8.jpg", tarfile.LNKTYPE),
        ("noname", b"x"),
        ("a/b.jpg", jpeg),
        ("9.jpg", jpeg),
        ("9.json", json.dumps({"caption": "of json"}).encode()),
    ]
    write_tar(tmp_path / "a.tar", members)
    pq.write_table(pa.table({"key": ["9", "0"], "watermark": [0.25, None]}), tmp_path / "a.parquet")
    rows = measure_all(tmp_path)
    assert reasons(rows) == {
        "1": "caption_not_text",
        "2": "bad_metadata",
        "3": "no_media",
        "4": "several_media",
        "../5.jpg": "bad_path",
        "/6.jpg": "bad_path",
        "7.jpg": "no_file",
        "8.jpg": "no_file",
        "noname": "no_media",
    }
    assert json.loads(rows["0"]["metadata"]) == {"key": "0", "watermark": None, "url": "u", "aesthetic": 6.5}
    assert (rows["0"]["caption"], rows["9"]["caption"], rows["a/b"]["caption"]) == ("zero", "of json", None)
    assert json.loads(rows["9"]["metadata"])["watermark"] == 0.25
    content = (tmp_path / "a.tar").read_bytes()
    offset = rows["9"]["offset"]
    assert content[offset : offset + rows["9"]["size"]] == jpeg


def test_damaged_sources_give_what_can_be_read(tmp_path):
    write_tar(tmp_path / "a.tar", [(f"{i}.png", encoded(picture(i))) for i in range(3)])
    whole = (tmp_path / "a.tar").read_bytes()
    cut = whole.index(b"2.png") + 512 + 100
    (tmp_path / "a.tar").write_bytes(whole[:cut])
    (tmp_path / "b.tar").write_bytes(gzip.compress(whole))
    (tmp_path / "c.tar").write_bytes(b"")
    rows = measure_all(tmp_path)
    assert rows["0"]["reason"] is rows["1"]["reason"] is None
    assert rows["2"]["reason"] == "damaged"
    chosen = settings()
    for name in ("b.tar", "c.tar"):
        unit = {"kind": "webdataset", "uri": str(tmp_path / name), "sidecar": None}
        assert [row["reason"] for row in measured.measure_unit(unit, chosen)] == ["source_damaged"]
    (tmp_path / "d.parquet").write_bytes(b"PAR1 and nothing else PAR1")
    unit = {"kind": "parquet", "uri": str(tmp_path / "d.parquet")}
    assert [row["reason"] for row in measured.measure_unit(unit, chosen)] == ["source_damaged"]


def test_parquet_with_embedded_bytes(tmp_path):
    images = [{"bytes": encoded(picture(i)), "path": f"{i}.png"} for i in range(70)] + [
        {"bytes": None, "path": "n"},
        None,
    ]
    table = pa.table({"image": images, "text": [f"t{i}" for i in range(72)], "label": list(range(72))})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=40)
    rows = measure_all(tmp_path)
    assert len(rows) == 72
    assert reasons(rows) == {"n": "no_media", "71": "no_media"}
    assert (rows["45.png"]["caption"], json.loads(rows["45.png"]["metadata"])["label"]) == ("t45", 45)
    out = tmp_path / "out"
    chosen = Settings(sources=(str(tmp_path / "t.parquet"),), score=("label",))
    (unit,) = units.plan(chosen, str(out))
    measured.load_unit(str(out), 0, unit, chosen)
    shards.write_shard(str(out), "00000", [(0, [69, 3, 45, 41])], chosen)
    found = list(webdataset.WebDataset(str(out / "00000.tar"), shardshuffle=False))
    assert [sample["png"] for sample in found] == [images[i]["bytes"] for i in (69, 3, 45, 41)]
    assert pq.read_table(out / "00000.parquet")["label"].to_pylist() == [69.0, 3.0, 45.0, 41.0]


def test_folders_take_captions_from_tables(tmp_path):
    for name in ("a.png", "sub/b.png", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encoded(picture(0)))
    lines = [
        {"file_name": "a.png", "text": "of a", "aesthetic": 5},
        {"file_name": "sub/b.png", "text": "of b"},
        {"file_name": "gone.png"},
        {"file_name": "../../etc/passwd"},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "d.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "c.txt").write_text("of c\n")
    rows = measure_all(tmp_path)
    assert reasons(rows) == {"gone.png": "missing", "../../etc/passwd": "bad_path", "d.png": "no_file"}
    assert [rows[key]["caption"] for key in ("a.png", "sub/b.png", "c.png")] == ["of a", "of b", "of c"]
    assert json.loads(rows["a.png"]["metadata"])["aesthetic"] == 5
    (tmp_path / "metadata.jsonl").write_text("{")
    with pytest.raises(ValueError, match=r"metadata\.jsonl cannot be read"):
        measure_all(tmp_path)


def test_a_shard_is_img2datasets_layout_with_the_bytes_unchanged(folder, tmp_path):
    out = str(tmp_path / "out")
    chosen = Settings(sources=(str(folder),))
    (unit,) = units.plan(chosen, out)
    rows = measured.load_unit(out, 0, unit, chosen)
    indices = [index for index, row in enumerate(rows) if not row["reason"]][:6]
    shards.write_shard(out, "00002", [(0, indices)], chosen)
    table = pq.read_table(f"{out}/00002.parquet").to_pylist()
    found = list(webdataset.WebDataset(f"{out}/00002.tar", shardshuffle=False))
    assert (
        [sample["__key__"] for sample in found]
        == [f"00002{i:04d}" for i in range(6)]
        == [r["key"] for r in table]
    )
    for sample, row in zip(found, table):
        assert sample["jpg"] == (folder / row["source_key"]).read_bytes()
        assert (
            sample["txt"].decode()
            == row["caption"]
            == (folder / row["source_key"]).with_suffix(".txt").read_text()
        )
        assert row.items() <= json.loads(sample["json"]).items()
        assert (row["status"], row["width"], row["height"]) == ("success", 80, 64)
    with tarfile.open(f"{out}/00002.tar") as tar:
        assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}
    assert not list((tmp_path / "out" / storage.DRAFTS).iterdir())


def test_a_source_that_has_changed_is_an_error(folder, tmp_path):
    out, chosen = str(tmp_path / "out"), Settings(sources=(str(folder),))
    (unit,) = units.plan(chosen, out)
    measured.load_unit(out, 0, unit, chosen)
    (folder / "00.jpg").write_bytes((folder / "01.jpg").read_bytes())
    with pytest.raises(OSError, match=r"00\.jpg is not what it was"):
        shards.write_shard(out, "00000", [(0, [0])], chosen)
    assert not (tmp_path / "out" / "00000.tar").exists()


def test_a_film_is_measured(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 80, 64, "yuv420p"
        for seed in range(4):
            container.mux(stream.encode(av.VideoFrame.from_image(picture(seed))))
        container.mux(stream.encode())
    (tmp_path / "b.mp4").write_bytes(b"no film")
    rows = measure_all(tmp_path)
    assert reasons(rows) == {"b.mp4": "not_a_video"}
    assert (rows["a.mp4"]["width"], rows["a.mp4"]["height"], rows["a.mp4"]["phash"]) == (80, 64, None)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--out o", "--source is missing"),
        ("--source s", "--out is missing"),
        ("--source s --out o --min-side -3", "--min-side: '-3' must be a whole number"),
        ("--source s --out o --max-aspect 0.5", "--max-aspect 0.5: must be 1 or more"),
        ("--source s --out o --min-score a", "--min-score: 'a' must be COLUMN=NUMBER"),
        (
            "--source s --out o --min-score a=2 --max-score a=1",
            "--min-score a=2: must be at most --max-score a=1",
        ),
        ("--source s --out o --dedupe all", "--dedupe all: must be one of none, bytes, pixels, perceptual"),
        ("--source s --out o --distance 17", "--distance 17: must be at most 16"),
        ("--source s --out o --shard-size 20000", "--shard-size 20000: must be from 1 to 10,000"),
        (
            "--source s --out o --min-caption-words 3 --max-caption-words 2",
            "--min-caption-words 3: must be at most",
        ),
        ("--source http://x --out o", "--source=http://x must be a path or a bucket"),
        ("--source s --out o --score width", "--score width: must not be width"),
    ],
)
def test_wrong_flags_are_one_line(flags, message):
    with pytest.raises(ValueError) as error:
        parse(flags.split())
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_other_flags_are_beams():
    flags = (
        "--source s --runner FlinkRunner --out o/ --min-score a=b=2 --direct_num_workers 2 -- --parallelism 3"
    )
    found, out, rest = parse(flags.split())
    assert (found.min_score, out) == ((("a=b", 2.0),), "o")
    assert rest == ["--runner", "FlinkRunner", "--direct_num_workers", "2", "--", "--parallelism", "3"]


def test_columns_that_no_sample_has_stop_at_the_start(folder):
    chosen = Settings(sources=(str(folder),), min_score=(("aesthetic", 5.0),))
    with pytest.raises(ValueError, match="no column aesthetic in the first 32 samples; they have none"):
        units.check_columns(units.plan(chosen, "/nowhere"), chosen)
