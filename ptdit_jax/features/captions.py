"""Captions to CLIP's token ids, by the tokenizer of the network's folder; nothing is ever fetched.

Shapes: K captions, L tokens.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
"""Files that a folder must have, one set or the other; `transformers` makes up an empty vocabulary where none is."""


class Tokenizer:
    """Captions to ids between the tokens of start and end, cut and padded to one length.

    Attributes:
      end: id of the token of the end.
    """

    def __init__(self, folder: Path, *, length: int, vocabulary: int):
        """Open the tokenizer of a folder.

        Args:
          folder: the network's.
          length: L, of start and end too.
          vocabulary: tokens that the network knows.

        Raises:
          ValueError: it cannot be read, or has no token of the end.
          OSError: the folder has none.
        """
        if not any(all((folder / name).is_file() for name in names) for names in VOCABULARIES):
            wanted = " or ".join(" and ".join(names) for names in VOCABULARIES)
            raise FileNotFoundError(f"{folder} has no tokenizer ({wanted})")
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the package is first imported
        import transformers  # takes seconds, and PyTorch with it where that is installed

        try:
            self._run: Any = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        except Exception as error:  # of many kinds: of its packages, of JSON, of files that lack
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ValueError(f"{folder}: the tokenizer cannot be read: {reason}") from error
        if self._run.eos_token_id is None or self._run.pad_token_id is None:
            raise ValueError(f"{folder}: the tokenizer must have an eos_token and a pad_token")
        self._run.padding_side = self._run.truncation_side = "right"  # positions count from the left
        self._where, self._length, self._vocabulary = str(folder), length, vocabulary
        self.end = int(self._run.eos_token_id)

    def __call__(self, captions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids (K, L) int32 and mask (K, L) bool, True for tokens that are no padding.

        A longer caption loses what is before its end token, as CLIP's own `tokenize(..., truncate=True)` does.

        Raises:
          ValueError: the tokenizer has tokens that the network does not know.
        """
        if not captions:
            return np.zeros((0, self._length), np.int32), np.zeros((0, self._length), bool)
        options = {"padding": "max_length", "truncation": True, "max_length": self._length}
        found = self._run(list(captions), return_attention_mask=True, verbose=False, **options)
        ids = np.asarray(found["input_ids"], np.int32)
        if ids.max() >= self._vocabulary:
            raise ValueError(
                f"{self._where}: the tokenizer gives token {ids.max()}; the network knows {self._vocabulary}, "
                "so it has another"
            )
        return ids, np.asarray(found["attention_mask"]).astype(bool)
