"""Captions to token ids, by the tokenizers of `transformers`; nothing is ever fetched.

Shapes: K captions, L tokens.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARIES = ("tokenizer.json", "spiece.model", "added_tokens.json")
"""What decides the ids of a folder's tokenizer."""
SETTINGS = "tokenizer_config.json"


def folder_of(encoder: Path) -> Path | None:
    """The folder of the tokenizer that belongs to an encoder's: itself or, in a pipeline of diffusers, that beside it.

    None if neither has one.
    """
    beside = encoder.parent / encoder.name.replace("text_encoder", "tokenizer")
    for folder in dict.fromkeys((encoder, encoder / "tokenizer", beside)):
        if any((folder / name).is_file() for name in (*VOCABULARIES[:2], SETTINGS)):
            return folder
    return None


def files_of(folder: Path) -> list[Path]:
    """The files that a copy of the tokenizer needs."""
    known = (*VOCABULARIES, SETTINGS, "special_tokens_map.json")
    return [folder / name for name in known if (folder / name).is_file()]


def checksum(folder: Path | None) -> str:
    """Of what decides the ids: sha256, hex; None is the tokenizer of bytes."""
    found = hashlib.sha256()
    for file in [] if folder is None else [folder / name for name in VOCABULARIES]:
        if file.is_file():
            found.update(f"{file.name}\n".encode() + hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


class Tokenizer:
    """Captions to ids, with the token of the end at theirs, cut and padded to one length."""

    def __init__(self, folder: Path | None, vocabulary: int):
        """Open the tokenizer of a folder, see `folder_of`, or that of bytes (None), which needs no file.

        Args:
          folder: see above.
          vocabulary: tokens that the encoder knows.

        Raises:
          ValueError: the folder's cannot be read.
        """
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the package is first imported
        import transformers  # takes seconds, and PyTorch with it where that is installed

        self._where, self._vocabulary = str(folder or "the tokenizer of bytes"), vocabulary
        if folder is None:
            self._run: Any = transformers.ByT5Tokenizer()
            return
        try:
            self._run = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        except Exception as error:  # of many kinds: of its packages, of JSON, of files that lack
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ValueError(f"{folder}: the tokenizer cannot be read: {reason}") from error

    def __call__(
        self, captions: Sequence[str], length: int, *, names: Sequence[str] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids (K, L) int32 and mask (K, L) bool, True for tokens that are no padding.

        Args:
          captions: K of them.
          length: L.
          names: of the captions, for the error that more tokens are then; None keeps the first of them, and the end.

        Raises:
          ValueError: a caption is too long, or the tokenizer has tokens that the encoder does not know.
        """
        if not captions:
            return np.zeros((0, length), np.int32), np.zeros((0, length), bool)
        options = {"padding": "max_length", "truncation": names is None, "max_length": length}
        found = self._run(list(captions), return_attention_mask=True, verbose=False, **options)
        for name, tokens in zip(names or (), found["input_ids"], strict=False):
            if len(tokens) > length:
                raise ValueError(
                    f"{name} has a caption of {len(tokens)} tokens; model.text_length = {length} takes 1 to {length} "
                    "(data.truncate_text = True keeps the first of more)"
                )
        ids = np.asarray(found["input_ids"], np.int32)
        if ids.max() >= self._vocabulary:
            raise ValueError(
                f"{self._where} gives token {ids.max()}; the encoder knows {self._vocabulary}, so it has another"
            )
        return ids, np.asarray(found["attention_mask"]).astype(bool)
