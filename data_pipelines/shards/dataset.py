"""Encoded records as a source: latents, text states and captions from a folder of shards.

Shapes: N records, B of a batch, C latent channels, F frames, H rows, W columns, l text states, E features of a state.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from data_pipelines.arrays import named
from data_pipelines.records import ArrayRecords
from data_pipelines.shards.index import read_index
from data_pipelines.shards.record import unpack
from data_pipelines.text import TextInfo, read_null

LOGVAR = (-30.0, 20.0)  # of a posterior, clamped as the encoders' peers do

Draw = Callable[[int, np.ndarray], None]
"""(turn in a batch, array) -> fills the array (C, F, H, W) float32 with standard normal numbers."""


@functools.cache
def _deviations() -> np.ndarray:
    """exp(logvar / 2), float32, of every logvar in bfloat16, by its bits."""
    logvar = (np.arange(2**16, dtype=np.uint32) << 16).view(np.float32)
    with np.errstate(invalid="ignore"):  # some bits are of no number
        return np.exp(np.clip(logvar, *LOGVAR) * np.float32(0.5))


class ShardedDataset:
    """The records of a folder that `ShardWriter` and `write_index` made, numbered shape by shape.

    Latents are (mean + noise * exp(logvar / 2) - shift) * scale of the stored moments. A record alone has no noise; the
    loader draws some for those of a batch. Sizes of the files are compared with the index when it is opened;
    `verify` compares the checksums, which reads all.
    """

    def __init__(self, path: str) -> None:
        """Reads the index of the folder `path`; its shards are opened when they are read.

        Raises:
            ValueError: there is no index, or a file is missing or has another size than it says.
        """
        folder = Path(path).expanduser()
        if not path or not folder.is_dir():
            raise ValueError(f"data.path = {path!r}: must be an existing folder of shards with index.json")
        self.index = index = read_index(folder)
        self.buckets: list[tuple[tuple[int, ...], int, int]] = []  # (shape, first record, records)
        start = 0
        for shape, count in index.shapes.items():
            self.buckets.append((shape, start, count))
            start += count
        self.shape = max(self.buckets, key=lambda bucket: bucket[2])[0]
        first = index.shards[0]
        self.classes = None if first.classes is None else max(shard.classes or 0 for shard in index.shards)
        self.captions = first.captions
        self.text = None
        if first.text_dim is not None:
            longest = max(shard.longest_text or 0 for shard in index.shards)
            self.text = TextInfo(first.text_dim, longest, read_null(folder, first.text_dim))
        # One number, or one a channel.
        self._scale, self._shift = (
            np.asarray(index.facts[name], np.float32).reshape(-1, 1, 1, 1) for name in ("scale", "shift")
        )
        files = [SimpleNamespace(filename=str(folder / s.file), skip=0, take=s.records) for s in index.shards]
        self._records = ArrayRecords(files)
        self._path = path

    def __len__(self) -> int:
        """Returns N."""
        return len(self._records)

    def __getitem__(self, record: int) -> dict[str, Any]:
        """Reads record number `record`: x, the mean's latents, and what there is of label, text and caption."""
        batch = self.read([record])
        return {name: values[0] for name, values in batch.items()}

    def read(self, records: Sequence[int], draw: Draw | None = None, *, text: bool = True) -> dict[str, Any]:
        """Reads records of one shape together.

        Args:
            records: numbers of records, of one bucket.
            draw: makes the noise of the posterior; None for its mean.
            text: whether text states are wanted.

        Returns:
            x (B, C, F, H, W) float32 and, where records have them, label (B,) int32, text, a list of states (l, E)
            uint16 (bits of bfloat16), and caption, a list of bytes as uint8.

        Raises:
            ValueError: a shard is lost or damaged; names it.
        """
        stored = []
        for record, content in zip(records, self._records.read(records), strict=True):
            try:
                stored.append(unpack(content))
            except ValueError as error:
                raise ValueError(f"data.path = {self._path!r}: record {record}: {error}") from error
        with named(f"data.path = {self._path!r}", f"records {list(records[:4])} ..."):
            batch: dict[str, Any] = {"x": self._latents([each["moments"] for each in stored], draw)}
            if self.classes is not None:
                batch["label"] = np.stack([each["label"] for each in stored])
            if text and self.text is not None:
                batch["text"] = [each["text"] for each in stored]
            if self.captions:
                batch["caption"] = [each["caption"] for each in stored]
        return batch

    def _latents(self, moments: list[np.ndarray], draw: Draw | None) -> np.ndarray:
        """Stored moments (2C, F, H, W) of each record as latents (B, C, F, H, W) float32."""
        channels = len(moments[0]) // 2
        shape = (len(moments), channels, *moments[0].shape[1:])
        x = np.empty(shape, np.float32)
        bits = x.view(np.uint32)  # a bfloat16 is the upper half of a float32
        for place, each in zip(bits, moments, strict=True):
            np.left_shift(each[:channels], 16, out=place, dtype=np.uint32)
        if draw is not None:
            deviation, noise = np.empty(shape[1:], np.float32), np.empty(shape[1:], np.float32)
            for turn, each in enumerate(moments):
                _deviations().take(each[channels:], out=deviation, mode="clip")
                draw(turn, noise)
                x[turn] += np.multiply(noise, deviation, out=noise)
        if self._shift.any():
            x -= self._shift
        if (self._scale != 1).any():
            x *= self._scale
        return x

    def verify(self) -> None:
        """Compares the checksum of every shard with the index.

        Raises:
            ValueError: a file is damaged; names it.
        """
        for shard in self.index.shards:
            with named(self.index.folder / shard.file), (self.index.folder / shard.file).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
                    raise ValueError("is damaged: its checksum is another than index.json says")
