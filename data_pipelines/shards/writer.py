"""Writing a shard: an ArrayRecord file of records of one shape, whole or absent.

Shapes: C latent channels, F frames, H rows, W columns.
"""

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from data_pipelines.shards.record import pack

OPTIONS = "group_size:1,uncompressed"  # latents hardly compress, and each record is read alone
SUFFIX = ".array_record"


class ShardWriter:
    """Writes the records of a shard beside its place, and moves them there when it is closed.

    As a context it closes at the end, and leaves nothing behind after an error; `entry` is then what `write_index`
    takes. A process that is killed leaves `unfinished-NAME`, which the next writer of that shard begins anew.
    """

    def __init__(self, path: str | os.PathLike[str], *, shape: tuple[int, int, int, int]) -> None:
        """Starts a shard.

        Args:
            path: where it is to be, in an existing folder, named `NAME.array_record`.
            shape: (C, F, H, W) of the latents of every record.

        Raises:
            ValueError: the name ends otherwise.
            OSError: the file cannot be made.
        """
        self.path = Path(path)
        if self.path.suffix != SUFFIX:
            raise ValueError(f"{self.path}: the name of a shard must end in {SUFFIX}")
        self.shape = tuple(int(side) for side in shape)
        self.records = 0
        self.entry: dict[str, Any] | None = None
        self._draft = self.path.with_name(f"unfinished-{self.path.name}")
        self._draft.open("wb").close()  # says what is wrong in the words of the system
        self._writer = ArrayRecordWriter(str(self._draft), OPTIONS)
        self._has: dict[str, bool] = {}
        self._longest, self._classes, self._dim = 0, 0, None

    def write(self, record: Mapping[str, Any]) -> None:
        """Writes a record, see `record.pack`; all records of a shard have the same names.

        Raises:
            ValueError: it is not one of this shard; nothing of it is written.
            OSError: the disk is full.
        """
        given = {name: value for name, value in record.items() if value is not None}
        content = pack(given)
        channels, *size = given["moments"].shape
        if (channels // 2, *size) != self.shape:
            raise ValueError(
                f"'moments' has shape {given['moments'].shape}, must be 2C and those of {self.shape}"
            )
        has = {name: name in given for name in ("text", "label", "caption")}
        if self.records and has != self._has:
            raise ValueError(f"a record has {_names(has)}, those before have {_names(self._has)}")
        if has["text"]:
            states, dim = given["text"].shape
            if self._dim not in (None, dim):
                raise ValueError(f"'text' has {dim} features, that of the records before {self._dim}")
            self._dim, self._longest = dim, max(self._longest, states)
        if has["label"]:
            self._classes = max(self._classes, int(given["label"]) + 1)
        self._writer.write(content)
        if not self._writer.ok():
            raise OSError(f"{self.path}: cannot be written (is the disk full?)")
        self._has = has
        self.records += 1

    def close(self) -> dict[str, Any]:
        """Ends the shard and moves it into place; returns its entry of the index.

        Raises:
            OSError: the disk is full.
            ValueError: it has no records.
        """
        if self.entry is not None:
            return self.entry
        if not self.records:
            self.discard()
            raise ValueError(f"{self.path}: a shard must have a record")
        try:
            self._writer.close()
            with self._draft.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = os.fstat(file.fileno()).st_size
                os.fsync(file.fileno())
            self._draft.replace(self.path)
        except Exception as error:
            self.discard()
            raise error if isinstance(error, OSError) else OSError(f"{self.path}: {error}") from error
        self.entry = {
            "file": self.path.name,
            "records": self.records,
            "shape": list(self.shape),
            "bytes": size,
            "sha256": digest,
            "classes": self._classes if self._has["label"] else None,
            "captions": self._has["caption"],
            "text_dim": self._dim,
            "longest_text": self._longest if self._has["text"] else None,
        }
        return self.entry

    def discard(self) -> None:
        """Ends the shard and removes what was written."""
        with contextlib.suppress(Exception):
            self._writer.close()
        self._draft.unlink(missing_ok=True)

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        elif self.entry is None:
            self.discard()


def _names(has: Mapping[str, bool]) -> str:
    return ", ".join(name for name, there in has.items() if there) or "no text, label or caption"
