"""The command line: what is asked for, checked before anything starts.  Needs the standard library alone."""

import argparse
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

FORMATS = ("auto", "webdataset", "parquet", "folder")
LEVELS = ("none", "bytes", "pixels", "perceptual")
SHARD_SIZE = 10_000  # samples, four digits of a key
DISTANCE = 4  # bits
MAX_DISTANCE = 16  # bits: a quarter of a hash; half is what two pictures without relation differ by
MAX_PIXELS = 178_956_970  # where Pillow, too, takes a picture for a decompression bomb
MAX_BYTES = 2**30

ABOUT = (
    "Filters pictures and films, leaves out duplicates, writes webdataset shards with a Parquet beside each."
)
MORE = """
Sources: webdataset tars (as img2dataset and video2dataset write them, with the Parquet beside), Parquet with embedded
bytes (as Hugging Face has them), folders of pictures (captions in a .txt beside each, or in metadata.jsonl, .csv or
.parquet).  A path, also gs:// and the like where Apache Beam's extras for it are installed.

Every other flag is Apache Beam's own.  Two workers on this machine:
    --direct_num_workers 2 --direct_running_mode multi_processing
Flags that a runner knows and Beam's Python does not come after a '--'.
"""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides about the result; a number that is 0 or None does not limit.

    Attributes:
        sources: paths or URLs, each a file or a folder.
        format: one of `FORMATS`.
        image_column: of Parquet sources, the column with the bytes; "" to look for it.
        caption_column: of Parquet sources and metadata files; "" to look for it.
        min_side: pixels of the shorter side, as shown.
        min_pixels: width times height.
        max_aspect: longer side over shorter.
        min_score: pairs of column and bound.
        max_score: pairs of column and bound.
        score: further columns of numbers that the Parquet beside a shard is to have.
        min_caption_chars: Unicode characters.
        max_caption_chars: Unicode characters.
        min_caption_words: as white space divides them.
        max_caption_words: as white space divides them.
        max_pixels: more are not decoded.
        max_bytes: of a file; more are not read.
        dedupe: one of `LEVELS`; each includes those before it.
        distance: bits in which two perceptual hashes of 64 differ at most, where they count as the same picture.
        shard_size: samples of a shard.
    """

    sources: tuple[str, ...]
    format: str = "auto"
    image_column: str = ""
    caption_column: str = ""
    min_side: int = 0
    min_pixels: int = 0
    max_aspect: float = 0.0
    min_score: tuple[tuple[str, float], ...] = ()
    max_score: tuple[tuple[str, float], ...] = ()
    score: tuple[str, ...] = ()
    min_caption_chars: int = 0
    max_caption_chars: int = 0
    min_caption_words: int = 0
    max_caption_words: int = 0
    max_pixels: int = MAX_PIXELS
    max_bytes: int = MAX_BYTES
    dedupe: str = "pixels"
    distance: int = DISTANCE
    shard_size: int = SHARD_SIZE

    @property
    def asks_for_captions(self) -> bool:
        """Whether a sample without a caption is left out."""
        return self.min_caption_chars > 0 or self.min_caption_words > 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The score columns that the Parquet beside a shard has."""
        names = [name for name, _ in (*self.min_score, *self.max_score)]
        return tuple(dict.fromkeys([*names, *self.score]))


RESERVED = (  # columns of the Parquet beside a shard that are not scores
    *("url", "caption", "key", "status", "error_message", "width", "height", "original_width"),
    *("original_height", "exif", "sha256", "pixels_sha256", "phash", "bytes", "source", "source_key"),
)


def parse(argv: Sequence[str]) -> tuple[Settings, str, list[str]]:
    """Reads a command line.

    Returns:
        The settings, the folder of --out, and the flags left for Beam.

    Raises:
        ValueError: naming the flag, what it is and what it must be.
        SystemExit: after --help.
    """
    parser = _parser()
    argv, after = list(argv), []
    if "--" in argv:
        place = argv.index("--")
        argv, after = argv[:place], argv[place:]
    options, rest = parser.parse_known_args(argv)
    for name in ("source", "out"):
        if not getattr(options, name):
            raise ValueError(f"--{name} is missing; see --help")
        for text in [options.out] if name == "out" else options.source:
            _check_path(text, f"--{name}")
    names = {field.name for field in dataclasses.fields(Settings)} - {"sources"}
    values: dict[str, Any] = {name: value for name, value in vars(options).items() if name in names}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    settings = Settings(sources=tuple(dict.fromkeys(options.source)), **values)
    _check(settings)
    return settings, options.out.rstrip("/") or "/", rest + after


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m data_pipelines.ingest",
        description=ABOUT,
        epilog=MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    number, scores = {"type": _whole, "default": 0, "metavar": "N"}, {"action": "append", "default": []}

    def add(name: str, about: str, **options: Any) -> None:
        parser.add_argument(f"--{name}", help=about, **options)

    add("source", "what to read; may be repeated", action="append", metavar="PATH")
    add("out", "a folder for the shards and the report", metavar="DIR")
    add("format", f"one of {', '.join(FORMATS)}", default="auto")
    add("image-column", "of Parquet: the column with the bytes", default="", metavar="NAME")
    add("caption-column", "of Parquet and metadata files", default="", metavar="NAME")
    add("min-side", "pixels of the shorter side", **number)
    add("min-pixels", "width times height", **number)
    add("max-aspect", "longer side over shorter", type=_real, default=0.0, metavar="X")
    add("min-score", "as aesthetic=5.0: the column must be so much; may be repeated", type=_bound, **scores)
    add("max-score", "as watermark=0.5; may be repeated", type=_bound, **scores)
    add("score", "a further column of numbers for the Parquet beside a shard", metavar="NAME", **scores)
    add("min-caption-chars", "characters; asks for a caption", **number)
    add("max-caption-chars", "characters", **number)
    add("min-caption-words", "words; asks for a caption", **number)
    add("max-caption-words", "words", **number)
    add("max-pixels", f"more are not decoded; default {MAX_PIXELS:,}", **{**number, "default": MAX_PIXELS})
    add("max-bytes", f"larger files are not read; default {MAX_BYTES:,}", **{**number, "default": MAX_BYTES})
    add("dedupe", f"{', '.join(LEVELS)}: each with those before; default pixels", default="pixels")
    add("distance", f"bits for perceptual; default {DISTANCE}", **{**number, "default": DISTANCE})
    add("shard-size", f"samples of a shard; default {SHARD_SIZE:,}", **{**number, "default": SHARD_SIZE})
    return parser


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong by an exception."""

    def error(self, message: str) -> Any:
        raise ValueError(message.removeprefix("argument "))


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, 0 or more")
    return int(text)


def _real(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number") from None


def _bound(text: str) -> tuple[str, float]:
    name, equals, value = text.rpartition("=")
    try:
        if not (equals and name) or math.isnan(bound := float(value)):
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be COLUMN=NUMBER, such as aesthetic=5.0") from None
    return name, bound


def _check_path(text: str, name: str) -> None:
    if not text or "\0" in text:
        raise ValueError(f"{name}={text!r} must be a path")
    if text.startswith(("http://", "https://")):
        raise ValueError(
            f"{name}={text} must be a path or a bucket; download it (img2dataset does), and name that"
        )


def _check(settings: Settings) -> None:
    """Compares values with what they may be.

    Raises:
        ValueError: naming the first that is wrong.
    """
    if settings.format not in FORMATS:
        raise ValueError(f"--format {settings.format}: must be one of {', '.join(FORMATS)}")
    if settings.dedupe not in LEVELS:
        raise ValueError(f"--dedupe {settings.dedupe}: must be one of {', '.join(LEVELS)}")
    if not 0 <= settings.distance <= MAX_DISTANCE:
        raise ValueError(f"--distance {settings.distance}: must be at most {MAX_DISTANCE} of 64 bits")
    if settings.max_aspect and not 1 <= settings.max_aspect < math.inf:
        raise ValueError(f"--max-aspect {settings.max_aspect:g}: must be 1 or more, or 0 for any")
    if not 1 <= settings.shard_size <= SHARD_SIZE:
        raise ValueError(f"--shard-size {settings.shard_size}: must be from 1 to {SHARD_SIZE:,}")
    for name in ("max_pixels", "max_bytes"):
        if getattr(settings, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(settings, name)}: must be 1 or more")
    if settings.min_pixels > settings.max_pixels:
        raise ValueError(
            f"--min-pixels {settings.min_pixels}: must be at most --max-pixels {settings.max_pixels}"
        )
    for what in ("chars", "words"):
        low, high = (getattr(settings, f"{end}_caption_{what}") for end in ("min", "max"))
        if high and low > high:
            raise ValueError(f"--min-caption-{what} {low}: must be at most --max-caption-{what} {high}")
    high = dict(settings.max_score)
    for name, low in settings.min_score:
        if low > high.get(name, math.inf):
            raise ValueError(f"--min-score {name}={low:g}: must be at most --max-score {name}={high[name]:g}")
    for name in settings.columns:
        if name in RESERVED:
            raise ValueError(f"--score {name}: must not be {name}, which is a column of the shards' own")
