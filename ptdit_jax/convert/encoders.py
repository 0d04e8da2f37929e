"""Encoders of others through our networks and back: read, written as their peers have them, and compared.

A kind of encoder is an entry of `KINDS`; all kinds go the same way and have the same report.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ptdit_jax.convert import autoencoders, conversion, parity, text_encoders
from ptdit_jax.encoders import seeded
from ptdit_jax.weight_files import json_files


class Kind(NamedTuple):
    """A kind of encoder; FOLDER is what a user named.

    Attributes:
      name: for people.
      matches: facts of a config.json -> whether they are of this kind.
      rewrite: (FOLDER, new folder, dtype) -> number of parameters; reads the first into our parameters, and writes
        those into the second as the peer has them, in "float32" or "bfloat16".
      compare: FOLDER -> rows of `parity.row`: our outputs beside those of the peer's module, both in float32.
      remarks: FOLDER -> what else the report has, {what: number}.
    """

    name: str
    matches: Callable[[Mapping[str, Any]], bool]
    rewrite: Callable[[str, Path, str], int]
    compare: Callable[[str], list[dict[str, Any]]]
    remarks: Callable[[str], dict[str, float]]


KINDS = (
    Kind(
        "T5, mT5, ByT5 and UMT5 of transformers",
        text_encoders.matches,
        text_encoders.rewrite,
        text_encoders.compare,
        text_encoders.remarks,
    ),
    Kind(
        "AutoencoderKL of diffusers",
        autoencoders.matches_kl,
        autoencoders.rewrite,
        autoencoders.compare,
        autoencoders.remarks,
    ),
    Kind(
        "CausalVAE of the released models",
        autoencoders.matches_causal,
        autoencoders.rewrite,
        autoencoders.compare,
        autoencoders.remarks,
    ),
)


def kind_of(folder: str) -> Kind:
    """The kind of encoder that a folder holds.

    Raises:
      ValueError: none that is known.
      OSError: there is no such folder.
    """
    if folder == seeded.NAME:
        return KINDS[0]
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(f"FOLDER={folder}: there is no such folder")
    places = [path, *sorted(path.glob("text_encoder*")), *sorted(path.glob("vae*"))]
    files = [place / "config.json" for place in places if (place / "config.json").is_file()]
    if not files:
        raise ValueError(f"FOLDER={folder} has no config.json; name the folder of an encoder")
    facts = json_files.read(files[0], "config of an encoder")
    for kind in KINDS:
        if kind.matches(facts):
            return kind
    what = facts.get("model_type") or facts.get("_class_name")
    known = "; ".join(kind.name for kind in KINDS)
    raise ValueError(f"{files[0]} is of {what!r}, which is no encoder that is known: {known}")


def convert(folder: str, out: Path, *, dtype: str = "float32", verify: bool = True) -> None:
    """Write an encoder anew, and see that both folders are the same function here and in the peer's module.

    Args:
      folder: of the encoder, or "bytes".
      out: folder to make.
      dtype: of the weights in it.
      verify: compare them.

    Raises:
      ValueError: the encoder cannot be read, or parity fails.
      OSError: a file cannot be read or written.
    """
    kind = kind_of(folder)
    with conversion.staged(out) as new:
        count = kind.rewrite(folder, new, dtype)
        report: dict[str, Any] = parity.UNCHECKED
        if verify:
            rows = [row | {"folder": "read"} for row in kind.compare(folder)] if folder != seeded.NAME else []
            rows += [row | {"folder": "written"} for row in kind.compare(str(new))]
            report = parity.summary(rows) | {"remarks": kind.remarks(str(new))}
        parity.conclude(
            report,
            new / "parity.json",
            what="encoder",
            describe=lambda row: f"{row['folder']}, {row['input']}",
        )
    print(f"{count:,} parameters ({dtype}): {out}/")
