"""Bytes changed at random: each file is used or refused with a reason, and nothing else is raised or printed."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from data_pipelines.raw import RawRecord, Unusable, decode, open_raw
from data_pipelines.raw.media import Held
from tests.data.raw.damaged import write_tar
from tests.data.raw.media import encoded, film, frames, picture

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

NOISE = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
PICTURES = {
    **{form: {} for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM", "JPEG2000", "AVIF", "TIFF")},
    "TIFF by LZW": {"compression": "tiff_lzw"},
    "TIFF by JPEG": {"compression": "jpeg"},
}
FILMS = {"mp4": (), "webm": ("libvpx-vp9",), "avi": ("mpeg4",), "mpegts": (), "gif": ("gif",), "flv": ()}


def changed(content, rng):
    """The bytes with some flipped, overwritten, cut out or put in, half of them near the begin."""
    made = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(0, max(min(len(made), 200 if rng.random() < 0.5 else len(made)), 1)))
        way = rng.integers(0, 4)
        if way == 0 and made:
            made[place % len(made)] ^= 1 << int(rng.integers(0, 8))
        elif way == 1:
            made[place : place + 4] = rng.bytes(4)
        elif way == 2:
            del made[place : place + int(rng.integers(1, 50))]
        else:
            made[place:place] = rng.bytes(int(rng.integers(1, 20)))
    return bytes(made)


def outcomes(records, **decoding):
    found = []
    for record in records:
        try:
            found.append("used" if decode(record, max_pixels=2**22, **decoding).size else "nothing")
        except Unusable as problem:
            found.append(problem.reason)
    return found


@pytest.mark.parametrize("form", PICTURES)
def test_pictures(form, capfd):
    rng = np.random.default_rng(1)
    content = encoded(NOISE, form.partition(" ")[0], **PICTURES[form])
    found = outcomes(RawRecord("key", "image", (Held(changed(content, rng)),)) for _ in range(60))
    assert {"damaged", "not_an_image"} & set(found)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("form", FILMS)
def test_films(form, capfd):
    rng = np.random.default_rng(2)
    content = film(frames(8), form, *FILMS[form])
    for decoding in ({"frames": 4}, {"frames": 3, "fps": 4.0, "start": 0.25}):
        records = (RawRecord("key", "video", (Held(changed(content, rng)),)) for _ in range(40))
        assert len(set(outcomes(records, **decoding))) > 1
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["webdataset", "parquet", "images"])
def test_containers(name, tmp_path, capfd):
    rng = np.random.default_rng(3)
    small = [encoded(picture(k, 9, 9)) for k in range(3)]
    (tmp_path / "a.png").write_bytes(small[0])
    file = tmp_path / {"webdataset": "0.tar", "parquet": "0.parquet", "images": "metadata.jsonl"}[name]
    if name == "webdataset":
        write_tar(file, [(f"{k}.{s}", c) for k in range(3) for s, c in (("png", small[k]), ("txt", b"abc"))])
    elif name == "parquet":
        rows = [{"image": {"bytes": small[k], "path": None}, "text": "x", "label": k} for k in range(3)]
        parquet.write_table(pa.Table.from_pylist(rows), file, row_group_size=2)
    else:
        file.write_bytes(b'{"file_name": "a.png", "text": "abc"}\n{"file_name": "b.png", "text": "d"}\n')
    whole, found = file.read_bytes(), set()
    for _ in range(150):
        file.write_bytes(changed(whole, rng))
        try:
            source = open_raw(name, str(tmp_path), **({"classes": 9} if name == "parquet" else {}))
            found.update(outcomes(source[number] for number in range(len(source))))
        except ValueError as error:  # all that there was cannot be read
            found.add(str(error).count("\n"))
    assert len(found) > 2
    assert all(lines == 0 for lines in found if isinstance(lines, int)), found
    assert capfd.readouterr().err == ""
    shutil.rmtree(tmp_path)
