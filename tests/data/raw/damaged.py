"""More than 200 damaged or odd inputs of many kinds, the same each time, and what is to become of each.

`make` writes datasets below a folder.  A case says for one record of a dataset whether it is used, or for which reason
it is not.
"""

import dataclasses
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
from PIL import Image

from tests.data.raw.media import RED, encoded, film, frames, huge_png, picture, sound

USED = "used"
CAPTION = "a red picture"


@dataclasses.dataclass(frozen=True)
class Case:
    """One input: its kind, its record's key, what becomes of it, and if used its caption and its lower right pixel."""

    kind: str
    key: str
    outcome: str = USED
    caption: str | None = CAPTION
    pixel: tuple[int, int, int] | None = RED


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A source, and what its records are expected to be."""

    name: str
    path: str
    cases: list[Case]
    options: dict = dataclasses.field(default_factory=dict)
    decoding: dict = dataclasses.field(default_factory=dict)


def make(root):
    """Writes everything below `root`, and a file outside of the datasets that links point to."""
    outside = root / "outside"
    outside.mkdir(parents=True)
    (outside / "secret.png").write_bytes(encoded(picture()))
    (outside / "secret.txt").write_text("a secret")
    return [
        images(root / "images", outside),
        metadata(root / "metadata", outside),
        table(root / "table"),
        tars(root / "tars"),
        broken_tars(root / "broken_tars"),
        rows(root / "parquet", outside),
        videos(root / "videos", outside),
        objects(root / "objects"),
        gobjaverse(root / "gobjaverse"),
    ]


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found


UPRIGHT = {  # how a picture is stored that an orientation sets upright
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x, -1),
}


def good_and_odd():
    """(kind, name, bytes, pixel) of pictures that are used."""
    x = picture()
    yield "plain", "plain.png", encoded(x), RED
    for number, quality in enumerate((30, 60, 90)):
        yield "plain", f"plain{number}.jpg", encoded(picture(number), "JPEG", quality=quality), RED
    for orientation, stored in UPRIGHT.items():
        yield (
            "EXIF-rotated",
            f"exif{orientation}.jpg",
            encoded(np.ascontiguousarray(stored(x)), "JPEG", exif=exif(orientation)),
            RED,
        )
    for number, garbage in enumerate(
        (b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08")
    ):
        yield "EXIF of garbage", f"badexif{number}.jpg", encoded(x, "JPEG", exif=garbage), RED
    for number in range(4):
        cmyk = Image.fromarray(picture(number)).convert("CMYK")
        yield "CMYK", f"cmyk{number}.jpg", encoded(cmyk, "JPEG", quality=85), RED
    for number, grey in enumerate((0, 20_000, 40_000, 65_535)):
        pixels = np.full((20, 30), grey, np.uint16)
        for form in ("png", "tiff"):
            yield "16-bit", f"deep{number}.{form}", encoded(pixels, form.upper()), (round(grey / 257),) * 3
    for number in range(4):
        alpha = np.full(
            (24, 24, 4), (10, 20, 30, 0), np.uint8
        )  # what is under a transparent pixel is not seen
        alpha[: 6 + number] = 255
        image = Image.fromarray(alpha)
        yield "RGBA", f"rgba{number}.png", encoded(image), (255, 255, 255)
        yield "RGBA", f"rgba{number}.webp", encoded(image, "WEBP", lossless=True), (255, 255, 255)
        yield "LA", f"la{number}.png", encoded(image.convert("LA")), (255, 255, 255)
        palette = image.convert("RGB").quantize(8)
        yield (
            "palette with alpha",
            f"palette{number}.png",
            encoded(palette, transparency=int(palette.getpixel((23, 23)))),
            (255, 255, 255),
        )
        yield (
            "palette with alpha",
            f"palettes{number}.png",
            encoded(palette, transparency=bytes(8)),
            (255, 255, 255),
        )
    for number in range(3):
        more = [Image.fromarray(picture(k)[::-1, ::-1]) for k in range(1 + number)]
        first = Image.fromarray(picture())
        yield (
            "animated GIF",
            f"moving{number}.gif",
            encoded(first, "GIF", save_all=True, append_images=more),
            RED,
        )
        yield (
            "animated WebP",
            f"moving{number}.webp",
            encoded(first, "WEBP", save_all=True, append_images=more, quality=95),
            RED,
        )
        yield (
            "animated PNG",
            f"moving{number}.png",
            encoded(first, "PNG", save_all=True, append_images=more),
            RED,
        )
    for number, (form, suffix) in enumerate(
        (("PNG", "jpg"), ("JPEG", "png"), ("WEBP", "jpg"), ("GIF", "webp"))
    ):
        yield "wrong extension", f"wrong{number}.{suffix}", encoded(x, form), RED
    yield "extension in capitals", "LOUD.JPG", encoded(x, "JPEG"), RED
    yield "extension in capitals", "Loud.PnG", encoded(x), RED
    for name in ("картинка.png", "絵.png", "a b'c\"d.png", "emoji-\N{FACE WITH TEARS OF JOY}.png"):
        yield "name of other letters", name, encoded(x), RED
    yield "other modes", "bits.png", encoded(Image.new("1", (20, 20), 1)), (255, 255, 255)
    yield (
        "other modes",
        "lab.tiff",
        encoded(Image.new("YCbCr", (20, 20), (128, 128, 128)), "JPEG"),
        (128, 128, 128),
    )
    yield "other modes", "grey.jpg", encoded(Image.new("L", (20, 20), 77), "JPEG"), (77, 77, 77)


def bad_pictures():
    """(kind, name, bytes, reason) of files that are named as pictures and cannot be used."""
    # enough detail that a part of the file is a part of the picture
    noisy = np.random.default_rng(5).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for form in ("JPEG", "PNG", "WEBP", "GIF", "TIFF"):
        whole = encoded(noisy, form, **({"compression": "tiff_lzw"} if form == "TIFF" else {}))
        for percent in (5, 30, 60, 90, 99):
            name = f"cut{percent}.{form.lower()}"
            yield f"truncated {form}", name, whole[: max(len(whole) * percent // 100, 20)], "damaged"
    for number in range(3):
        yield "zero bytes", f"empty{number}.{('jpg', 'png', 'webp')[number]}", b"", "empty"
    others = {
        "html": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "text": b"This image was removed.",
        "zip": b"PK\x03\x04" + bytes(100),
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
        "zeros": bytes(4096),
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "film": film(frames(2)),
        "pdf": b"%PDF-1.7 ...",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "noise": np.random.default_rng(9).bytes(3000),
    }
    for name, content in others.items():
        yield "no picture inside", f"{name}.jpg", content, "not_an_image"
    for side in (15_000, 60_000, 200_000):
        yield "decompression bomb", f"bomb{side}.png", huge_png(side), "too_large"
    for number, size in enumerate(((1, 1), (3000, 1), (1, 3000), (2, 5000))):
        yield "absurd size", f"thin{number}.png", encoded(Image.new("RGB", size)), "too_small"
    yield "floats", "float.tiff", encoded(np.full((20, 20), 0.5, np.float32), "TIFF"), "unknown_range"
    yield "floats", "deep.tiff", encoded(np.full((20, 20), 70_000, np.int32), "TIFF"), "unknown_range"
    whole = bytearray(encoded(noisy))
    whole[18] ^= 0xFF  # of the header, whose checksum is then another
    yield "flipped bits", "header.png", bytes(whole), "damaged"
    for number, place in enumerate((200, 1000, 5000)):
        whole = bytearray(encoded(noisy))
        whole[place : place + 64] = bytes(64)
        yield "flipped bits", f"data{number}.png", bytes(whole), "damaged"


def images(folder, outside):
    folder.mkdir()
    cases = []

    def add(kind, name, content, outcome=USED, pixel=RED, caption=CAPTION, text=None):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        raw = f"{CAPTION}\n".encode() if text is None else text
        if raw:
            Path(os.path.splitext(folder / name)[0] + ".txt").write_bytes(raw)
        cases.append(Case(kind, name, outcome, caption, pixel))

    for kind, name, content, pixel in good_and_odd():
        number = len(cases)
        add(kind, f"{number:03d}/{name}", content, pixel=pixel)
    for kind, name, content, outcome in bad_pictures():
        number = len(cases)
        add(kind, f"{number:03d}/{name}", content, outcome)
    good = encoded(picture())
    texts = {
        "BOM": ("caption with a mark", b"\xef\xbb\xbfa red picture", USED),
        "CRLF": ("caption with CRLF", b"a red picture\r\n", USED),
        "CR": ("caption with CRLF", b"\r\na red picture\r", USED),
        "UTF-16": ("caption with a mark", "a red picture".encode("utf-16"), USED),
        "latin1": ("invalid UTF-8 caption", "caf\xe9".encode("latin-1"), "caption_not_text"),
        "noise": ("invalid UTF-8 caption", b"\xff\xfe\xfd\x00\xd8", "caption_not_text"),
        "cut": ("invalid UTF-8 caption", "a caf\xe9".encode()[:-1], "caption_not_text"),
        "nul": ("invalid UTF-8 caption", b"a\0b", "caption_not_text"),
        "blank": ("empty caption", b" \r\n\t", "empty_caption"),
        "mark": ("empty caption", b"\xef\xbb\xbf", "empty_caption"),
        "long": ("caption of 100 kB", b"very " * 20_000 + b"long", "caption_too_long"),
        "huge": ("caption of 100 kB", b"x" * 5_000_000, "caption_too_long"),
    }
    for name, (kind, text, outcome) in texts.items():
        add(kind, f"{name}.png", good, outcome, text=text)
    for number in range(3):
        add("no caption", f"none{number}.png", good, "no_caption", text=b"")
    Path(folder / "hollow.png").write_bytes(good)
    Path(folder / "hollow.txt").write_bytes(b"")
    cases.append(Case("empty caption", "hollow.png", "empty_caption"))
    links = {
        "secret.png": (outside / "secret.png", "bad_path"),
        "etc.jpg": (Path("/etc/hostname"), "bad_path"),
        "up.png": (Path("../outside/secret.png"), "bad_path"),
        "inside.png": (Path("BOM.png"), USED),
        "broken.png": (Path("nowhere.png"), "missing"),
        "loop.png": (Path("loop.png"), "no_file"),
    }
    for name, (target, outcome) in links.items():
        (folder / name).symlink_to(target)
        (folder / name).with_suffix(".txt").write_text(CAPTION)
        cases.append(Case("link", name, outcome))
    (folder / "stolen.png").write_bytes(good)
    (folder / "stolen.txt").symlink_to(outside / "secret.txt")
    cases.append(Case("link", "stolen.png", "bad_path"))
    for name in ("folder.jpg", "other.png"):
        (folder / name).mkdir()
        cases.append(Case("folder named as a picture", name, "no_file"))
    os.mkfifo(folder / "pipe.jpg")
    (folder / "pipe.txt").write_text(CAPTION)
    cases.append(Case("pipe", "pipe.jpg", "no_file"))
    (folder / "._a.jpg").write_bytes(b"of another system")
    (folder / "notes.md").write_text("no picture")
    return Dataset("images", str(folder), cases, decoding={"min_side": 8})


def metadata(folder, outside):
    folder.mkdir()
    for name in ("a.png", "b.png", "c.png", "d.png", "e.png", "alone.png"):
        (folder / name).write_bytes(encoded(picture()))
    (folder / "link.png").symlink_to(outside / "secret.png")
    lines = [
        ({"file_name": "a.png", "text": CAPTION}, Case("plain", "a.png")),
        ({"file_name": "a.png", "text": "another"}, Case("plain", "a.png#2", caption="another")),
        ({"file_name": "a.png", "text": CAPTION}, Case("row twice", "a.png#3", "duplicate")),
        (b'{"file_name": "b.png", "text": ', Case("broken line of JSON", "metadata.jsonl:4", "bad_metadata")),
        (b'["b.png"]', Case("broken line of JSON", "metadata.jsonl:5", "bad_metadata")),
        (
            b'{"file_name": "b.png", "text": "\xff"}',
            Case("broken line of JSON", "metadata.jsonl:6", "bad_metadata"),
        ),
        (b"[" * 100_000, Case("broken line of JSON", "metadata.jsonl:7", "bad_metadata")),
        ({"text": "of nothing"}, Case("row without a file", "metadata.jsonl:8", "bad_metadata")),
        (
            {"file_name": 7, "text": "of nothing"},
            Case("row without a file", "metadata.jsonl:9", "bad_metadata"),
        ),
        ({"file_name": "gone.png", "text": CAPTION}, Case("row of a missing file", "gone.png", "missing")),
        (
            {"file_name": "../outside/secret.png", "text": CAPTION},
            Case("path out of the folder", "../outside/secret.png", "bad_path"),
        ),
        (
            {"file_name": str(outside / "secret.png"), "text": CAPTION},
            Case("path out of the folder", str(outside / "secret.png"), "bad_path"),
        ),
        ({"file_name": "link.png", "text": CAPTION}, Case("path out of the folder", "link.png", "bad_path")),
        ({"file_name": "c.png", "text": None}, Case("no caption", "c.png", "no_caption")),
        ({"file_name": "d.png", "text": 5}, Case("caption that is a number", "d.png", "caption_not_text")),
        (
            {"file_name": "e.png", "text": "\ud800"},
            Case("invalid UTF-8 caption", "e.png", "caption_not_text"),
        ),
    ]
    content = [line if isinstance(line, bytes) else json.dumps(line).encode() for line, _ in lines]
    (folder / "metadata.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n".join(content) + b"\n\n")
    # b.png is named by broken lines alone
    left = [Case("picture without a row", name, "no_caption") for name in ("alone.png", "b.png")]
    return Dataset("images", str(folder), [case for _, case in lines] + left)


def table(folder):
    folder.mkdir()
    (folder / "a.png").write_bytes(encoded(picture()))
    (folder / "b.png").write_bytes(encoded(picture()))
    content = (
        b'path,caption,label\na.png,"a red, picture",1\n'
        + b"b.png,caf\xe9,0\n"
        + b"a.png,b\n"
        + b"b.png,fine,x,y,z\n"
    )
    (folder / "list.csv").write_bytes(content + b"b.png,,1\n\n" + b"b.png,a red picture,7\nb.png,more,-2\n")
    cases = [
        Case("plain", "a.png", caption="a red, picture"),
        Case("invalid UTF-8 caption", "b.png", "caption_not_text"),
        Case("row of other length", "list.csv:3", "bad_metadata"),
        Case("row of other length", "list.csv:4", "bad_metadata"),
        Case("no caption", "b.png#2", "no_caption"),
        Case("bad label", "b.png#3", "bad_label"),
        Case("bad label", "b.png#4", "bad_label"),
    ]
    return Dataset("images", str(folder / "list.csv"), cases, {"classes": 2})


def write_tar(path, members):
    """Writes members: (name, bytes), or TarInfos."""
    with tarfile.open(path, "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path.read_bytes()


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def tars(folder):
    folder.mkdir()
    good, text = encoded(picture()), CAPTION.encode()
    members = [
        ("000.png", good), ("000.txt", text), ("000.json", b'{"width": 56}'),
        ("001.JPG", encoded(picture(), "JPEG")), ("001.TXT", text),
        ("002.png", good),
        ("003.txt", text),
        ("004.png", good), ("004.txt", b"\xff\xff"),
        ("005.png", good), ("005.txt", b""),
        ("006.jpg", encoded(picture(), "JPEG")[:300]), ("006.txt", text),
        ("007.png", b""), ("007.txt", text),
        ("008.png", good), ("008.txt", text), ("008.json", b"{"),
        ("009.png", good), ("009.txt", b"x" * 100_000),
        ("010.png", good), ("010.txt", text), ("010.png", good),
        ("../up.png", good), ("a/../../up.txt", text), ("/tmp/absolute.png", good), ("C:\\windows.png", good),
        special("link.png", tarfile.SYMTYPE, "/etc/passwd"),
        special("hard.png", tarfile.LNKTYPE, "000.png"),
        special("device.png", tarfile.CHRTYPE),
        special("pipe.png", tarfile.FIFOTYPE),
        special("sub", tarfile.DIRTYPE), ("sub/011.png", good), ("sub/011.txt", text),
        ("README", b"no sample"), ("__meta__.txt", b"no sample"),
    ]  # fmt: skip
    write_tar(folder / "00000.tar", members)
    cases = [
        Case("plain", "00000/000"),
        Case("extension in capitals", "00000/001"),
        Case("no caption", "00000/002", "no_caption"),
        Case("caption without a picture", "00000/003", "no_media"),
        Case("invalid UTF-8 caption", "00000/004", "caption_not_text"),
        Case("empty caption", "00000/005", "empty_caption"),
        Case("truncated JPEG", "00000/006", "damaged"),
        Case("zero bytes", "00000/007", "empty"),
        Case("broken .json", "00000/008"),
        Case("caption of 100 kB", "00000/009", "caption_too_long"),
        Case("file twice in a tar", "00000/010"),
        Case("plain", "00000/sub/011"),
        Case("file twice in a tar", "00000/010#12", "duplicate"),
        Case("tar path with ..", "00000/../up.png#13", "bad_path"),
        Case("tar path with ..", "00000/a/../../up.txt#14", "bad_path"),
        Case("tar path that is absolute", "00000//tmp/absolute.png#15", "bad_path"),
        Case("tar path that is absolute", "00000/C:\\windows.png#16", "bad_path"),
        Case("link in a tar", "00000/link.png#17", "bad_path"),
        Case("link in a tar", "00000/hard.png#18", "bad_path"),
        Case("device in a tar", "00000/device.png#19", "no_file"),
        Case("device in a tar", "00000/pipe.png#20", "no_file"),
    ]
    return Dataset("webdataset", str(folder), cases)


def broken_tars(folder):
    """Each has three samples of which some can be read; what cannot is listed."""
    folder.mkdir()
    text = CAPTION.encode()
    members = [(f"{k}.{s}", c) for k in range(3) for s, c in (("png", encoded(picture(k))), ("txt", text))]
    whole = write_tar(folder / "cut_data.tar", members)
    with tarfile.open(folder / "cut_data.tar") as tar:
        place = {member.name: (member.offset, member.offset_data) for member in tar}
    kinds = {
        "cut_data": whole[: place["2.png"][1] + 1000],
        "cut_end": whole[: place["2.txt"][1] + 512],
        "cut_header": whole[: place["2.png"][0] + 100],
        "empty": b"",
        "html": b"<html>not found</html>" * 100,
        "noise": whole[: place["1.png"][0]] + b"\xaa" * 512 + whole[place["1.png"][0] + 512 :],
        "zip": b"PK\x03\x04" + bytes(2000),
    }
    (folder / "cut_data.tar").unlink()
    cases = []
    for name, content in kinds.items():
        (folder / f"{name}.tar").write_bytes(content)
        used = {"cut_data": 2, "cut_end": 3, "cut_header": 2, "noise": 1}.get(name, 0)
        cases += [Case("plain", f"{name}/{k}") for k in range(used)]
        if name == "cut_data":
            cases.append(Case("tar truncated", "cut_data/2.png#2", "tar_damaged"))
        count = used + (name == "cut_data")
        cases.append(Case("tar truncated", f"{name}/{name}.tar:end#{count}", "tar_damaged"))
    return Dataset("webdataset", str(folder), cases)


def rows(folder, outside):
    folder.mkdir()
    good = encoded(picture())
    (folder / "beside.png").write_bytes(good)

    def row(content=good, path=None, text=CAPTION, label=0):
        return {"image": {"bytes": content, "path": path}, "text": text, "label": label}

    lines = [
        (row(), Case("plain", "")),
        (row() | {"image": None}, Case("Parquet with nulls", "", "no_media")),
        (row(content=None), Case("Parquet with nulls", "", "no_media")),
        (row(text=None), Case("Parquet with nulls", "", "no_caption")),
        (row(label=None), Case("Parquet with nulls", "", "no_label")),
        (row(label=-1), Case("bad label", "", "bad_label")),
        (row(label=9), Case("bad label", "", "bad_label")),
        (row(content=b""), Case("zero bytes", "", "empty")),
        (row(content=good[:200]), Case("truncated PNG", "", "damaged")),
        (row(content=b"<html>"), Case("no picture inside", "", "not_an_image")),
        (row(text=" "), Case("empty caption", "", "empty_caption")),
        (row(text="x" * 100_000), Case("caption of 100 kB", "", "caption_too_long")),
        (row(content=None, path="beside.png"), Case("path in Parquet", "")),
        (row(content=None, path="gone.png"), Case("path in Parquet", "", "missing")),
        (row(content=None, path="../outside/secret.png"), Case("path out of the folder", "", "bad_path")),
        (row(content=None, path=str(outside / "secret.png")), Case("path out of the folder", "", "bad_path")),
    ]
    parquet.write_table(
        pa.Table.from_pylist([line for line, _ in lines]), folder / "a.parquet", row_group_size=5
    )
    cases = [
        dataclasses.replace(case, key=f"a/{number // 5:05d}-{number % 5:06d}")
        for number, (_, case) in enumerate(lines)
    ]
    whole = (folder / "a.parquet").read_bytes()
    kinds = {"cut": whole[:-100], "empty": b"", "html": b"<html>", "noise": whole[:-8] + b"\xff" * 8}
    parquet.write_table(pa.table({"other": [1, 2]}), folder / "strange.parquet")
    for name, content in kinds.items():
        (folder / f"{name}.parquet").write_bytes(content)
    cases += [Case("damaged Parquet", f"{name}/00000-000000", "damaged") for name in (*kinds, "strange")]
    return Dataset("parquet", str(folder), cases, {"classes": 2})


def videos(folder, outside):
    folder.mkdir()
    f = frames(12)
    dark = (20, 20, 20)
    whole, loose = film(f), film(f, movflags="frag_keyframe+empty_moov")
    late = [0, *range(900, 1120, 20)]
    noise = np.random.default_rng(2).integers(0, 256, (12, 64, 64, 3)).astype(np.uint8)
    detailed = bytearray(film(noise))
    detailed[len(detailed) // 4 : len(detailed) // 4 + 400] = b"\xaa" * 400
    wide = np.concatenate([f, np.full_like(f, 200)], axis=2)
    found = [
        ("plain", "plain.mp4", whole, USED, dark),
        ("plain", "plain.webm", film(f, "webm", "libvpx-vp9"), USED, dark),
        ("plain", "plain.avi", film(f, "avi", "mpeg4"), USED, dark),
        ("wrong extension", "mp4.webm", whole, USED, dark),
        ("animated GIF", "moving.gif", film(f, "gif", "gif"), USED, dark),
        ("variable frame rate", "vary1.mp4", film(f, times=[100 * k * k for k in range(12)]), USED, dark),
        ("variable frame rate", "vary2.webm", film(f, "webm", "libvpx-vp9", times=late), USED, dark),
        *(("rotated video", f"turned{a}.mp4", film(wide, rotation=a), USED, None) for a in (90, 180, -90)),
        ("video without pictures", "sound.mp4", sound(), "no_video", None),
        ("video without frames", "hollow.mp4", loose[: loose.index(b"moof") - 4], "no_frames", None),
        *(("truncated MP4", f"cut{p}.mp4", whole[: len(whole) * p // 100], "damaged", None) for p in (20, 50, 80, 97)),
        ("truncated MP4", "cutearly.mp4", loose[: loose.index(b"moof") + 300], "damaged", None),
        ("short video", "short1.mp4", film(f[:1]), "short_video", None),
        ("short video", "short3.mp4", film(f[:3]), "short_video", None),
        ("flipped bits", "flipped.mp4", bytes(detailed), "damaged", None),
        ("zero bytes", "empty.mp4", b"", "empty", None),
        ("no film inside", "page.mp4", b"<html>", "not_a_video", None),
        ("no film inside", "picture.mp4", encoded(picture()), "not_a_video", None),
        ("playlist", "list.mp4", f"#EXTM3U\n#EXTINF:10,\nfile://{outside}/secret.txt\n".encode(), "not_a_video", None),
        ("playlist", "concat.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n", "not_a_video", None),
        ("absurd size", "tiny.mp4", film(f[:, :2, :2]), "too_small", None),
    ]  # fmt: skip
    cases = []
    for kind, name, content, outcome, pixel in found:
        (folder / name).write_bytes(content)
        (folder / name).with_suffix(".txt").write_text(CAPTION)
        cases.append(Case(kind, name, outcome, CAPTION, pixel))
    (folder / "link.mp4").symlink_to(outside / "secret.png")
    (folder / "link.txt").write_text(CAPTION)
    cases.append(Case("link", "link.mp4", "bad_path"))
    return Dataset("videos", str(folder), cases, decoding={"frames": 4, "min_side": 8})


def objects(folder):
    folder.mkdir()
    good = encoded(picture())

    def add(name, count, kind, outcome=USED, caption=CAPTION, other=None):
        (folder / name).mkdir()
        for view in range(count):
            (folder / name / f"{view:03d}.png").write_bytes(good)
        if other:
            (folder / name / other[0]).write_bytes(other[1])
        if caption:
            (folder / name / "caption.txt").write_text(caption)
        cases.append(Case(kind, name, outcome, caption))

    cases = []
    add("good", 4, "plain")
    add("few", 3, "view missing", "views_missing")
    add("many", 5, "view missing", "views_missing")
    add("gap", 3, "view missing", "views_missing", other=("007.png", good))
    add("cover", 3, "view missing", "views_missing", other=("cover.png", good))
    add("sizes", 3, "views of other sizes", "views_differ", other=("003.png", encoded(picture(0, 20, 20))))
    add("cut", 3, "truncated PNG", "damaged", other=("003.png", good[:200]))
    add("silent", 4, "no caption", "no_caption", caption=None)
    return Dataset("multiview", str(folder), cases, {"views": 4})


def cameras(views=24, height=0.5, distance=2.0):
    """Places (V, 3) of cameras around the y axis."""
    angles = 2 * np.pi * np.arange(views) / views
    flat = np.sqrt(distance**2 - height**2)
    return np.stack([flat * np.cos(angles), np.full(views, height), flat * np.sin(angles)], axis=1)


def gobjaverse(folder):
    folder.mkdir()
    good = encoded(picture(0, 16, 16))
    cases, captions, names = [], {}, {}

    def add(name, kind, outcome=USED, origins=None, change=None, level="campos_512_v4/"):
        origins = cameras() if origins is None else origins
        for view, origin in enumerate(origins):
            place = folder / "0" / name / f"{level}{view:05d}"
            place.mkdir(parents=True)
            (place / f"{view:05d}.png").write_bytes(good)
            (place / f"{view:05d}.json").write_text(json.dumps({"origin": origin.tolist(), "x_fov": 0.69}))
        if change:
            change(folder / "0" / name / level)
        names[f"0/{name}"] = f"000-000/{name}.glb"
        if outcome != "no_caption":
            captions[f"000-000/{name}" if name == "good" else name] = CAPTION
        cases.append(Case(kind, f"0/{name}", outcome))

    def bend(view, move):
        origins = cameras()
        origins[view] = move(origins[view])
        return origins

    add("good", "plain")
    add("flat", "plain", level="")
    add("backwards", "plain", origins=cameras()[::-1])
    add("missing", "view missing", "views_missing", change=lambda f: (f / "00007" / "00007.png").unlink())
    add("blind", "view missing", "views_missing", change=lambda f: (f / "00003" / "00003.json").unlink())
    add("json", "broken .json", "bad_metadata", change=lambda f: (f / "00003" / "00003.json").write_text("{"))
    add(
        "nowhere",
        "broken .json",
        "bad_metadata",
        change=lambda f: (f / "00003" / "00003.json").write_text("{}"),
    )
    add("far", "views not around", "views_not_uniform", bend(5, lambda o: 1.2 * o))
    add("tilted", "views not around", "views_not_uniform", bend(5, lambda o: np.array([o[0], -o[1], o[2]])))
    add("uneven", "views not around", "views_not_uniform", cameras(30)[:24])
    add("silent", "no caption", "no_caption")
    (folder / "text_captions_cap3d.json").write_text(json.dumps(captions))
    (folder / "gobjaverse_280k_index_to_objaverse.json").write_text(json.dumps(names))
    return Dataset("gobjaverse", str(folder), cases)
