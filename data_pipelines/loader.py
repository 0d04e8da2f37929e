"""The endless, deterministic stream of batches a run trains on.

What batch number k holds is a pure function of `(sources, seed, data.batch, flips, posterior, text)`:

- A batch is of one source and one shape; `schedule` says which.
- Every epoch of a bucket is a new permutation of its records, drawn from the seed. The epochs are laid end to end and
  global batches are cut from that endless concatenation, so an epoch loses and doubles no record; a batch
  may hold the end of one epoch and the start of the next.
- A global batch of B samples is cut into `process_count` consecutive parts of B / process_count, one a
  process. Joined in the order of the processes they are the same batch whatever the number of processes.
- What is random in a sample, its flip and its draw from an encoder's posterior, is seeded by (seed, record, epoch).
- The text states of a caption are padded to the length of the model.

Hence all that an iterator has to remember is the number of batches it has handed out, `{"next_index": k}`:
what its threads have read ahead is not part of the state, and a checkpoint can be resumed with other numbers
of processes, threads or prefetched batches. With another batch size the same k is another place in the data.
"""

from collections.abc import Callable, Sequence
from typing import Any

import grain
import numpy as np

from data_pipelines import schedule
from data_pipelines.members import Member, members_of
from data_pipelines.sources import Source, open_source
from data_pipelines.text import caption_of, check_length, fill
from data_pipelines.transforms import is_mirrored

ENDLESS = 2**62  # batches
Tokens = Callable[[Sequence[str], Sequence[str]], tuple[np.ndarray, np.ndarray]]
"""Captions and the names of their records, for messages -> ids (K, L) int32 and mask (K, L) bool."""


def make_loader(
    data: Any,
    *,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    classes: int | None = None,
    text: tuple[int, int] | None = None,
    tokens: Tokens | None = None,
    posterior: str = "sample",
) -> grain.DatasetIterator:
    """Opens the source `data.name` and returns its endless iterator of this process's part of every batch.

    Args:
        data: the `data` part of a config (fields and units in `configs/common.py`).
        seed: non-negative, below 2**32; decides the order and the random transformations.
        process_index: which part of each global batch this process reads.
        process_count: number of processes; must divide `data.batch`.
        classes: number of classes of the model, checked against the source's labels; None = labels unused.
        text: (L, E) of a model with text, checked against the source's; None = text unused, and not read.
        tokens: what makes ids (K, L) int32 and a mask (K, L) of K captions, for a model whose text is encoded while it
            trains: the batches then have `ids` in the place of `text`. It is given names of the records for messages.
        posterior: latents of stored moments are drawn ("sample") or their mean ("mode").

    Returns:
        A `grain.DatasetIterator` with `get_state() -> dict` (JSON-serialisable) and `set_state(dict)`. It
        yields `x` (B, C, F, H, W) float32, `index` (B,) int64 (record numbers in the source), when the source has
        labels `label` (B,) int32, and with `text` the arrays `text` (B, L, E) float32 and `text_mask` (B, L) bool,
        with B = `data.batch / process_count`. C to W are those of one
        of the source's shapes. A record whose text is not finite, or longer than a source could tell beforehand,
        raises a ValueError that names it.

    Raises:
        ValueError: a field of `data` is wrong, or the source does not have what the fields say.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed = {seed}: must be in [0, 2**32)")
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index = {process_index}: must be in [0, process_count = {process_count})")
    if data.batch < 1 or data.batch % process_count:
        raise ValueError(
            f"data.batch = {data.batch}: must be a positive multiple of the {process_count} processes"
        )
    source = open_source(data)
    if classes is not None:
        _check_labels(data.name, source, classes)
    if tokens is not None:
        check_captions(data, source)
    elif text is not None:
        check_text(data, source, *text)
    if posterior not in ("sample", "mode"):
        raise ValueError(f"autoencoder.posterior = {posterior!r}: must be 'sample' or 'mode'")
    local_batch = data.batch // process_count
    members = members_of(source, flip=data.flip)
    mixing = schedule.Mixing([member.weight for member in members])
    readers = [
        _MemberReader(data, member, number, seed, text=text, tokens=tokens, drawn=posterior == "sample")
        for number, member in enumerate(members)
    ]

    def read(step: int) -> dict[str, Any]:
        member, number = mixing.place(step)
        return readers[member].read(number, process_index * local_batch, local_batch)

    batches = grain.MapDataset.range(ENDLESS).map(read)
    return iter(batches.to_iter_dataset(grain.ReadOptions(data.read_threads, data.prefetch)))


class _MemberReader:
    """Batches of one source of a mixture."""

    def __init__(
        self,
        data: Any,
        member: Member,
        number: int,
        seed: int,
        *,
        text: tuple[int, int] | None,
        tokens: Tokens | None,
        drawn: bool,
    ) -> None:
        self._data, self._member, self._tokens = data, member, tokens
        self._text = text if tokens is None else None
        self._buckets = schedule.Buckets([b.count for b in member.buckets], data.batch)
        alone = len(member.buckets) == 1 and data.name != "mixture"
        self._streams = [
            schedule.make_stream(seed, number, bucket, b.first, b.count, alone=alone)
            for bucket, b in enumerate(member.buckets)
        ]
        pool = grain.experimental.RngPool
        self._flips = [pool(stream.flip) for stream in self._streams] if member.flip else None
        self._noises = [pool(stream.noise) for stream in self._streams] if drawn else None

    def read(self, number: int, begin: int, size: int) -> dict[str, Any]:
        """Reads samples `begin` to `begin + size` of batch `number`."""
        bucket, number = self._buckets.place(number)
        stream, first = self._streams[bucket], number * self._data.batch + begin
        slots = [stream.slot(slot) for slot in range(first, first + size)]
        records, turns = [record for record, _ in slots], [turn for _, turn in slots]

        def draw(turn: int, noise: np.ndarray) -> None:
            assert self._noises is not None
            rng = self._noises[bucket].acquire_rng(turns[turn])
            rng.standard_normal(out=noise, dtype=np.float32)
            self._noises[bucket].release_rng(rng)

        source = self._member.source
        if hasattr(source, "read"):
            batch = source.read(records, draw if self._noises else None, text=self._text is not None)
        else:
            batch = _read_singly(source, records)
        if self._flips is not None:
            self._mirror(batch["x"], turns, self._flips[bucket])
        states, captions = batch.pop("text", None), batch.pop("caption", None)
        index = np.asarray(records, np.int64) + self._member.first
        batch["index"] = index
        if self._text is not None:
            batch["text"], batch["text_mask"] = self._padded(states, index.tolist())
        if self._tokens is not None:
            texts = [caption_of({"caption": caption}) for caption in captions]
            names = [record_name(self._data, record) for record in index.tolist()]
            batch["ids"], batch["text_mask"] = self._tokens(texts, names)
        return batch

    @staticmethod
    def _mirror(x: np.ndarray, turns: Sequence[int], pool: Any) -> None:
        for sample, turn in zip(x, turns, strict=True):
            rng = pool.acquire_rng(turn)
            if is_mirrored(rng):
                sample[:] = sample[..., ::-1]
            pool.release_rng(rng)

    def _padded(self, states: Any, index: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Stored states (l, E) of each record as text (B, L, E) float32 and its mask (B, L) bool."""
        assert self._text is not None
        length, dim = self._text
        text = np.zeros((len(states), length, dim), np.float32)  # padding costs no memory until it is touched
        counts = np.empty((len(states), 1), np.int64)
        for turn, (each, record) in enumerate(zip(states, index, strict=True)):
            name = record_name(self._data, record)
            check_length(each, length, truncate=self._data.truncate_text, name=name)
            counts[turn] = fill(text[turn], each, name=name)
        return text, np.arange(length) < counts


def record_name(data: Any, record: int) -> str:
    """A record's name in messages; `data` is that part of a config."""
    return f"data.name = {data.name!r}: record {record}"


def _read_singly(source: Any, records: Sequence[int]) -> dict[str, Any]:
    """A batch of a source that reads its records one by one: arrays, but lists of text states and captions."""
    samples = [source[record] for record in records]
    return {
        name: [sample[name] for sample in samples]
        if name in ("text", "caption")
        else np.stack([sample[name] for sample in samples])
        for name in samples[0]
    }


def _check_labels(name: str, source: Source, classes: int) -> None:
    """Raises when the model's `classes` classes cannot hold the labels of the source."""
    if source.classes is None:
        raise ValueError(
            f"data.name = {name!r}: these records have no labels, but the model is conditioned on them"
        )
    if source.classes > classes:
        raise ValueError(
            f"model.classes = {classes}: the labels of data.name = {name!r} go up to {source.classes - 1}, "
            f"so at least {source.classes} classes are needed"
        )


def check_captions(data: Any, source: Source) -> None:
    """Raises when the source has no captions to encode."""
    if not getattr(source, "captions", False):
        raise ValueError(
            f"data.text='live' needs captions; the records of data.name={data.name!r} have none, see docs/data.md"
        )


def check_text(data: Any, source: Source, length: int, dim: int) -> None:
    """Raises when the text of the source does not go into a model that takes `length` states of `dim` features."""
    if source.text is None:
        raise ValueError(
            f"model.condition='text' needs text states; the records of data.name={data.name!r} have none"
        )
    if source.text.dim != dim:
        raise ValueError(
            f"model.text_dim={dim} must be {source.text.dim}, the features of the text states of "
            f"data.name={data.name!r}"
        )
    if source.text.longest is not None and source.text.longest > length and not data.truncate_text:
        raise ValueError(
            f"model.text_length={length} must be at least {source.text.longest}, the text states of the longest "
            f"caption of data.name={data.name!r}, or data.truncate_text True"
        )
