"""Looks at a dataset before anything is trained on it: counts, sizes, captions, what cannot be used, and pictures.

    python -m data_pipelines.inspect DATASET [--out SHEET.png]

DATASET is a path, or "digits" or "moving_digits". It is a raw dataset (docs/raw_data.md) or a stored one
(docs/data.md); which, is told by what is in it, or said as NAME:PATH. Options of a raw one follow a "?", as for
launch/encode.sh: 'webdataset:/data/tars?captions=required&max_caption=500'. Nothing is written but the sheet.
"""

import argparse
import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from data_pipelines.inspect import figures, guess, raw_report, stored_report
from data_pipelines.raw import RAW, open_raw
from data_pipelines.raw.naming import SourceName, parse_name, split_options
from data_pipelines.sources import SOURCES

USER_ERROR, FAILURE = 2, 1
ENCODERS = "ptdit_jax.encoders"  # called by name: data_pipelines imports no network
AUTOENCODER = "autoencoder", "open_autoencoder"  # a module of that package, and its function


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    options = _parser().parse_args(argv)
    try:
        if options.count < 1 or options.frames < 1:
            raise ValueError(f"--count={options.count}, --frames={options.frames}: must be 1 or more")
        if options.out and options.out.suffix.lower() not in (".png", ".jpg", ".webp"):
            raise ValueError(f"--out={options.out} must end in .png, .jpg or .webp")
        if options.out and not options.out.absolute().parent.is_dir():
            raise ValueError(
                f"--out={options.out}: the folder {options.out.absolute().parent} does not exist"
            )
        lines, tiles = _looked(options)
        print("\n".join(lines))
        if options.out and tiles:
            figures.sheet(tiles).save(options.out)
            print(f"{options.out}: {len(tiles)} pictures")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILURE
    return 0


def _looked(options: argparse.Namespace) -> tuple[list[str], stored_report.Tiles]:
    named = _named(options.dataset)
    if named.name in guess.STORED:
        if named.options:
            raise ValueError(f"{options.dataset}: a stored dataset ({named.name}) has no options")
        data = named.name.removeprefix("stored ")
        if data not in SOURCES:
            raise ValueError(f"{options.dataset}: {data} cannot be read here; there are {', '.join(SOURCES)}")
        source = SOURCES[data](SimpleNamespace(path=named.path, name=data))
        decoder = _decoder(options.autoencoder) if options.autoencoder else None
        lines, tiles = stored_report.report(source, data, options.count, decoder)
    else:
        decoding = {"frames": options.frames, "fps": options.fps, "min_side": options.min_side}
        opened = open_raw(named.name, named.path, **named.options)
        lines, tiles = raw_report.report(opened, options.count, decoding)
    return [f"{named.path or named.name}: {named.name}", *lines], tiles


def _named(text: str) -> SourceName:
    """What a DATASET says; a path that is there is a path, whatever is in it."""
    known = [*RAW, *guess.STORED]
    if not Path(text).expanduser().exists():
        if text.partition("?")[0].partition(":")[0] in known:
            return parse_name(text, known)
        text, options = split_options(text)
        return SourceName(guess.guess(text), text, options)
    return SourceName(guess.guess(text), text, {})


def _decoder(path: str) -> stored_report.Decoder:
    module, function = AUTOENCODER
    opener: Any = getattr(importlib.import_module(f"{ENCODERS}.{module}"), function)
    return opener(SimpleNamespace(path=path, dtype="float32", posterior="mode")).decode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "data_pipelines.inspect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [*RAW, *guess.STORED]
    parser.add_argument("dataset", help=f"a path, or NAME:PATH, with NAME one of {', '.join(known)}")
    parser.add_argument("--count", type=int, default=256, help="records that are looked at, evenly spread")
    parser.add_argument("--frames", type=int, default=1, help="of a film that must be there")
    parser.add_argument("--fps", type=float, default=0.0, help="frames a second of a film; 0 for its own")
    parser.add_argument("--min-side", type=int, default=0, help="pixels that a picture must have")
    parser.add_argument("--autoencoder", default="", help="its folder, to decode stored latents with")
    parser.add_argument("--out", type=Path, help="the contact sheet, a PNG")
    return parser


if __name__ == "__main__":
    sys.exit(main())
