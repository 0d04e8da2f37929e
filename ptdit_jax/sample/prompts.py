"""Prompts from the command line and from files, each with what it is kept away from and its own seed."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

FIELDS = {"prompt": str, "negative": str, "seed": int, "number": int}
"""Of a line of a .jsonl, and what each is; all but the first may be left out."""
LARGEST = 2**32  # seeds and numbers are below


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A sentence to draw.

    Attributes:
      text: the sentence.
      negative: what guidance leads away from; "" is the empty caption.
      number: its place, from 0: with the seed it says what the noise is.
      seed: of its noise; None for that of the command.
    """

    text: str
    negative: str = ""
    number: int = 0
    seed: int | None = None


def given(texts: Sequence[str], negative: str) -> list[Prompt]:
    """The prompts of `--prompt`.

    Raises:
      ValueError: one is empty, or not text.
    """
    for text in (*texts, negative):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            flag = "--negative" if text is negative else "--prompt"
            raise ValueError(f"{flag}={text!a} must be UTF-8") from error
    if any(not text.strip() for text in texts):
        raise ValueError("--prompt='' must not be empty; samples of no prompt are made by --guidance 0")
    return [Prompt(text, negative, number) for number, text in enumerate(texts)]


def read(path: Path, negative: str) -> list[Prompt]:
    """The prompts of a file: `stream`, all at once.

    Raises:
      ValueError: see `stream`; or the file has none.
    """
    found = list(stream(path, negative))
    if not found:
        raise ValueError(f"--prompts={path} holds no prompt")
    return found


def stream(path: Path, negative: str) -> Iterator[Prompt]:
    """The prompts of a file, one a line: of .jsonl an object with `FIELDS`, of others the prompt itself.

    Args:
      path: the file.
      negative: of prompts that have none of their own.

    Raises:
      ValueError: a line is empty, no UTF-8, or, of .jsonl, no such object.
      OSError: the file cannot be read.
    """
    is_json = path.suffix.lower() == ".jsonl"
    try:
        with path.open("rb") as file:
            for place, raw in enumerate(file):
                where = f"--prompts={path}, line {place + 1}"
                try:
                    line = raw.decode("utf-8-sig" if place == 0 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise ValueError(f"{where}: byte {error.start + 1} is no UTF-8") from error
                if not line.strip():
                    raise ValueError(f"{where} is empty; every line must hold a prompt")
                yield _of_json(line, negative, place, where) if is_json else Prompt(line, negative, place)
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(f"--prompts={path} cannot be read: {error.strerror}") from error


def _of_json(line: str, negative: str, place: int, where: str) -> Prompt:
    try:
        fields: Any = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where} is no JSON: {error}") from error
    if not isinstance(fields, dict) or "prompt" not in fields:
        raise ValueError(f'{where} must be an object with a "prompt", such as {{"prompt": "a red seven"}}')
    for name, value in fields.items():
        if name not in FIELDS:
            raise ValueError(f"{where}: {name!r} is unknown; a line has {', '.join(FIELDS)}")
        if not isinstance(value, FIELDS[name]) or isinstance(value, bool):
            raise ValueError(
                f"{where}: {name}={value!r} must be {'text' if FIELDS[name] is str else 'a whole number'}"
            )
        if FIELDS[name] is int and not 0 <= value < LARGEST:
            raise ValueError(f"{where}: {name}={value} must be in [0, 2**32)")
    if not fields["prompt"].strip():
        raise ValueError(f"{where}: its prompt is empty")
    return Prompt(
        fields["prompt"], fields.get("negative", negative), fields.get("number", place), fields.get("seed")
    )
