"""The endless, deterministic stream of batches a run trains on.

What batch number k holds is a pure function of `(source, seed, data.batch, data.flip, text)`:

- Every epoch is a new permutation of all N records, drawn from the seed. The epochs are laid end to end and
  global batches are cut from that endless concatenation, so an epoch loses and doubles no record; a batch
  may hold the end of one epoch and the start of the next.
- A global batch of B samples is cut into `process_count` consecutive parts of B / process_count, one a
  process. Joined in the order of the processes they are the same batch whatever the number of processes.
- A random transformation is seeded by (seed, record, epoch).
- The text states of a caption are padded to the length of the model.

Hence all that an iterator has to remember is the number of batches it has handed out, `{"next_index": k}`:
what its threads have read ahead is not part of the state, and a checkpoint can be resumed with other numbers
of processes, threads or prefetched batches. With another batch size the same k is another place in the data.
"""

from collections.abc import Callable, Sequence
from typing import Any

import grain
import numpy as np

from data_pipelines.sources import Source, open_source
from data_pipelines.text import caption_of, pad
from data_pipelines.transforms import RandomFlip


def make_loader(
    data: Any,
    *,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    classes: int | None = None,
    text: tuple[int, int] | None = None,
    tokens: Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]] | None = None,
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
            trains: the batches then have `ids` in the place of `text`.

    Returns:
        A `grain.DatasetIterator` with `get_state() -> dict` (JSON-serialisable) and `set_state(dict)`. It
        yields `x` (B, C, F, H, W) float32, `index` (B,) int64 (record numbers in the source), when the source has
        labels `label` (B,) int32, and with `text` the arrays `text` (B, L, E) float32 and `text_mask` (B, L) bool,
        with B = `data.batch / process_count`. A record whose text is not finite, or longer than a source could
        tell beforehand, raises a ValueError that names it.

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
    local_batch = data.batch // process_count
    order_seed, flip_seed = (int(word) for word in np.random.SeedSequence(seed).generate_state(2))

    def read(record: int) -> dict[str, np.ndarray]:
        sample = dict(source[record]) | {"index": np.asarray(record, np.int64)}
        caption = caption_of(sample)
        sample.pop("caption", None)
        if tokens is not None:
            sample.pop("text", None)
            ids, mask = tokens([caption])
            return sample | {"ids": ids[0], "text_mask": mask[0]}
        if text is None:
            sample.pop("text", None)
            return sample
        name = f"data.name = {data.name!r}: record {record}"
        padded, mask = pad(sample["text"], text[0], truncate=data.truncate_text, name=name)
        return sample | {"text": padded, "text_mask": mask}

    samples = grain.MapDataset.range(len(source)).map(read)
    if data.flip:  # before the shuffle, so that its random stream belongs to the record and not to its place
        samples = samples.random_map(RandomFlip(), seed=flip_seed)
    batches = samples.shuffle(seed=order_seed).repeat().batch(local_batch, drop_remainder=True)
    threads = grain.ReadOptions(num_threads=data.read_threads, prefetch_buffer_size=data.prefetch)
    return iter(batches[process_index::process_count].to_iter_dataset(threads))


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
