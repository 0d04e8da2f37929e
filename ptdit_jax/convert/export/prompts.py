"""Prompts to what the network is conditioned on: the states of a T5 of transformers, from a folder.

Nothing is fetched from anywhere.  Shapes: K prompts, L text tokens, E text features.
"""

import argparse
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# An export has a copy of encoders/clean.py beside this.
import clean  # pyright: ignore[reportMissingImports]
import numpy as np
import torch
from decoding import read_json
from inputs import floats, read_arrays, require
from settings import Settings

CLASSES = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
TOKENIZER = ("tokenizer.json", "spiece.model", "tokenizer_config.json")
NULL_FILE = "null_text.npz"  # the empty caption that the network was trained with
OWN = "text_encoder"  # the folder in an export of a network whose text encoder needs no file
TOGETHER = 16  # prompts that are encoded at once
Text = tuple[torch.Tensor, torch.Tensor]
"""States (K, L, E) float32 and mask (K, L), 1 = keep."""


def read_prompts(args: argparse.Namespace) -> list[str] | None:
    """Those of --prompt and --prompts, a line each; None without.

    Raises:
      ValueError: the file has none, or is no text.
      OSError: it cannot be read.
    """
    if args.prompts is None:
        return args.prompt
    what = f"--prompts {args.prompts}"
    try:
        lines = args.prompts.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} must be text in UTF-8, a prompt a line") from error
    except OSError as error:
        raise type(error)(f"{what} cannot be read: {error.strerror}") from error
    found = [line.strip() for line in lines if line.strip()]
    require(bool(found), f"{what} has no prompt; it must have one a line")
    return [*(args.prompt or []), *found]


def find_encoder(args: argparse.Namespace, settings: Settings) -> tuple[Path, Path]:
    """The folder of the text encoder and that of its tokenizer, held against the model by their small files.

    Raises:
      ValueError: there is none, it does not go with the model, or a package is missing.
      OSError: there is no such folder.
    """
    own = args.folder / OWN
    folder: Path | None = args.text_encoder or (own if own.is_dir() else None)
    if folder is None:
        raise ValueError(
            "--prompt needs --text-encoder DIR, the folder of the T5 that the model was trained with (in its config: "
            f"text_encoder.path={settings.text_encoder['path']!r}); or give states with --text"
        )
    what = f"--text-encoder {folder}"
    if not folder.is_dir():
        raise FileNotFoundError(f"{what}: there is no such folder")
    if not (folder / "config.json").is_file() and (folder / OWN).is_dir():
        folder = folder / OWN
    facts = read_json(folder / "config.json", what)
    kind, features = facts.get("model_type"), facts.get("d_model")
    require(kind in CLASSES, f"{what} is of {kind!r}; it must be of {', '.join(CLASSES)}")
    require(
        features == settings.arch.text_dim,
        f"{what} has {features} features; the model takes {settings.arch.text_dim}",
    )
    places = (folder, folder / "tokenizer", folder.parent / folder.name.replace(OWN, "tokenizer"))
    words = next((p for p in places if any((p / name).is_file() for name in TOKENIZER)), None)
    require(words is not None, f"{what} has no tokenizer ({' or '.join(TOKENIZER[:2])})")
    needed = [
        "transformers",
        *(("bs4", "ftfy") if settings.text_encoder["clean"] in ("release", "pixart") else ()),
    ]
    for package in needed:
        require(
            importlib.util.find_spec(package) is not None,
            f"{what}: {package} is not installed, which prompts need: pip install -r requirements.txt",
        )
    assert words is not None
    return folder, words


def encode(
    prompts: Sequence[str],
    negative: str | None,
    settings: Settings,
    args: argparse.Namespace,
    *,
    device: str,
    dtype: torch.dtype,
    guided: bool,
) -> tuple[Text, Text | None]:
    """The text of each prompt (K, L, E), and (1, L, E) that guidance leads away from; the encoder is freed after.

    Args:
      prompts: K of them.
      negative: the text that guidance leads away from; None is the empty caption, of null_text.npz where the folder
        has one.
      settings: of the model.
      args: the command line.
      device: that the encoder runs on.
      dtype: of the encoder; the empty caption and `negative` are encoded in float32 in any case.
      guided: whether there is guidance.

    Raises:
      ValueError: the encoder cannot be read.
    """
    folder, words = find_encoder(args, settings)
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the package is first imported
    import transformers

    length = settings.model["text_length"]
    tidy = clean.cleaning(settings.text_encoder["clean"])
    try:
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(str(words), local_files_only=True)
        kind = read_json(folder / "config.json", str(folder))["model_type"]
        options = {"dtype": torch.float32, "local_files_only": True}
        module: Any = getattr(transformers, CLASSES[kind]).from_pretrained(str(folder), **options).eval()
    except Exception as error:  # of many kinds: of its packages, of JSON, of files that lack
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"--text-encoder {folder} cannot be read: {reason}") from error
    module.to(device)

    def states(captions: Sequence[str]) -> Text:
        options = {"padding": "max_length", "truncation": True, "max_length": length}
        found = tokenizer([tidy(caption) for caption in captions], return_tensors="pt", **options)
        mask = found["attention_mask"]
        most = int(mask.sum(1).max())  # what is padding for all is not computed
        ids = found["input_ids"][:, :most]
        with torch.no_grad():
            given = mask[:, :most].to(device)
            output = module(ids.to(device), attention_mask=given).last_hidden_state.float().cpu()
        text = torch.zeros((len(captions), length, output.shape[-1]))
        text[:, :most] = output * mask[:, :most, None]
        return text, mask.float()

    null: Text | None = None
    stored = args.folder / NULL_FILE
    if guided:
        null = (
            _stored_null(stored, settings)
            if negative is None and stored.is_file()
            else states([negative or ""])
        )
    module.to(dtype)
    parts = [states(prompts[first : first + TOGETHER]) for first in range(0, len(prompts), TOGETHER)]
    text, mask = (torch.cat(arrays) for arrays in zip(*parts, strict=True))
    if settings.data.get("text") != "live":  # it was trained with stored states, which are rounded
        text = text.to(torch.bfloat16).float()
    return (text, mask), null


def _stored_null(file: Path, settings: Settings) -> Text:
    """The empty caption that the network was trained with."""
    what, length, features = str(file), settings.model["text_length"], settings.arch.text_dim
    found = read_arrays(file, what, ("null_text", "null_mask"))
    states, kept = floats(found["null_text"], what), found["null_mask"].astype(bool)
    fits = states.ndim == 2 and states.shape[1] == features and kept.shape == states.shape[:1]
    count = int(kept.sum()) if fits else 0
    require(
        0 < count <= length, f"{what} must have 1 to {length} states of {features} features, and their mask"
    )
    text, mask = np.zeros((1, length, features), np.float32), np.zeros((1, length), np.float32)
    text[0, :count], mask[0, :count] = states[kept], 1
    return torch.from_numpy(text), torch.from_numpy(mask)
