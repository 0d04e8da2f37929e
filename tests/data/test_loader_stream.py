"""The batch stream against its definition: the order that runs had so far, and a loop over epochs, buckets, sources."""

import collections

import grain
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import common
from data_pipelines import SOURCES, make_loader
from data_pipelines.schedule import Buckets, make_stream
from data_pipelines.text import TextInfo, pad


class Images:
    """`count` records x (1, 1, 2, 3) and text, which say their number."""

    classes = 4
    text = TextInfo(dim=2, longest=3, null=None)
    shape = (1, 1, 2, 3)

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, record):
        x = np.arange(6, dtype=np.float32).reshape(self.shape) + 10 * record
        text = np.full((1 + record % 3, 2), record, np.float16)
        return {"x": x, "label": np.int32(record % 4), "text": text}


def config(**fields):
    data = common.get_config().data
    data.update({"height": 2, "width": 3, "frames": 1, "batch": 4, "prefetch": 1} | fields)
    return data


class Mirror(grain.transforms.RandomMap):
    """Mirrors half of the records."""

    def random_map(self, element, rng):
        """Returns the record, perhaps mirrored."""
        return element if rng.random() < 0.5 else element | {"x": element["x"][..., ::-1]}


def loader_until_now(source, data, seed, part, parts, text):
    """The loader as it was when an element of its pipeline was one record, restated and frozen."""
    order, flip = (int(word) for word in np.random.SeedSequence(seed).generate_state(2))

    def read(record):
        sample = dict(source[record]) | {"index": np.asarray(record, np.int64)}
        padded, mask = pad(sample["text"], text[0])
        return sample | {"text": padded, "text_mask": mask}

    samples = grain.MapDataset.range(len(source)).map(read)
    if data.flip:
        samples = samples.random_map(Mirror(), seed=flip)
    batches = samples.shuffle(seed=order).repeat().batch(data.batch // parts, drop_remainder=True)
    return iter(batches[part::parts].to_iter_dataset())


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(("count", "seed"), [(23, 0), (1797, 2**32 - 2)])
def test_one_source_of_one_shape_has_the_order_it_always_had(monkeypatch, flip, parts, count, seed):
    monkeypatch.setitem(SOURCES, "images", lambda data: Images(count))
    data = config(name="images", flip=flip)
    for part in range(parts):
        options = {"process_index": part, "process_count": parts, "text": (5, 2)}
        ours = make_loader(data, seed=seed, **options)
        before = loader_until_now(Images(count), data, seed, part, parts, (5, 2))
        for _ in range(12):
            one, other = next(ours), next(before)
            assert set(one) == set(other)
            for name, array in other.items():
                np.testing.assert_array_equal(one[name], array)
                assert one[name].dtype == array.dtype


@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=5), batch=st.integers(1, 17))
def test_batches_of_buckets_are_those_of_a_loop_over_epochs(counts, batch):
    buckets = Buckets(counts, batch)
    number, had = 0, [0] * len(counts)
    for epoch in range(1, 25):
        quota = [epoch * count // batch for count in counts]  # batches that are full at the end of the epoch
        want = collections.Counter({b: quota[b] - had[b] for b in range(len(counts)) if quota[b] > had[b]})
        places = [buckets.place(number + i) for i in range(want.total())]
        assert collections.Counter(bucket for bucket, _ in places) == want
        for bucket in want:  # in turn
            assert [n for b, n in places if b == bucket] == list(range(had[bucket], quota[bucket]))
        number, had = number + want.total(), quota


@given(count=st.integers(1, 50), seed=st.integers(0, 2**32 - 1))
def test_every_epoch_of_a_bucket_has_each_record_once(count, seed):
    stream = make_stream(seed, 1, 2, 100, count, alone=False)
    slots = [stream.slot(number) for number in range(4 * count)]
    for epoch in range(4):
        records = sorted(record for record, _ in slots[epoch * count : (epoch + 1) * count])
        assert records == list(range(100, 100 + count))
    assert len({turn for _, turn in slots}) == len(slots)


class Mixed(Images):
    """Three buckets, one of them smaller than a batch; records that say their number."""

    buckets = (((1, 1, 2, 3), 0, 11), ((1, 1, 3, 2), 11, 2), ((1, 2, 2, 3), 13, 20))
    captions = True

    def __init__(self):
        super().__init__(33)

    def __getitem__(self, record):
        shape = next(shape for shape, first, count in self.buckets if first <= record < first + count)
        x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 100 * record
        return super().__getitem__(record) | {
            "x": x,
            "caption": np.frombuffer(f"no. {record}".encode(), np.uint8),
        }


@pytest.fixture
def mixed(monkeypatch):
    monkeypatch.setitem(SOURCES, "mixed", lambda data: Mixed())
    return config(name="mixed", batch=6, flip=True)


def take(loader, count):
    return [next(loader) for _ in range(count)]


def same(one, other):
    assert set(one) == set(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_a_batch_has_one_shape_and_epochs_use_every_record_once(mixed):
    batches = take(make_loader(mixed, seed=3), 33 * 4)  # 6 * 4 epochs of 33 records
    uses = np.zeros(33, int)
    shapes = {}
    for batch in batches:
        shapes.setdefault(batch["x"].shape[1:], []).append(batch["index"])
        np.add.at(uses, batch["index"], 1)
        np.testing.assert_array_equal(batch["x"].min((1, 2, 3, 4)) // 100, batch["index"])
    assert (uses == 24).all()
    for shape, first, count in Mixed.buckets:
        order = np.concatenate(shapes[shape])
        epochs = np.sort(order.reshape(24, count), axis=1)
        np.testing.assert_array_equal(epochs, np.tile(np.arange(first, first + count), (24, 1)))


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_take_the_same_bucket_and_their_parts_make_the_batch(mixed, processes):
    whole = take(make_loader(mixed, seed=1, text=(5, 2)), 40)
    parts = [
        make_loader(mixed, seed=1, text=(5, 2), process_index=p, process_count=processes)
        for p in range(processes)
    ]
    for part in parts:  # begins where a run of one process was
        part.set_state({"next_index": 11})
    for batch in whole[11:]:
        pieces = [next(part) for part in parts]
        same(batch, {name: np.concatenate([piece[name] for piece in pieces]) for name in batch})


def test_a_batch_is_a_function_of_its_number(mixed):
    batches = take(make_loader(mixed, seed=5), 30)
    for number in (29, 0, 17):
        loader = make_loader(mixed, seed=5)
        loader.set_state({"next_index": number})
        same(next(loader), batches[number])
        assert loader.get_state() == {"next_index": number + 1}


def test_captions_come_as_tokens_in_the_place_of_states(mixed):
    def tokens(captions, names):
        assert names == [
            f"data.name = 'mixed': record {caption.removeprefix('no. ')}" for caption in captions
        ]
        ids = np.array([[int(caption.removeprefix("no. ")), 0] for caption in captions], np.int32)
        return ids, ids > 0

    batch = next(make_loader(mixed, seed=0, text=(5, 2), tokens=tokens))
    np.testing.assert_array_equal(batch["ids"][:, 0], batch["index"])
    assert set(batch) == {"x", "label", "index", "ids", "text_mask"}
    assert set(next(make_loader(mixed, seed=0))) == {"x", "label", "index"}


def test_too_many_shapes_and_none_that_fits_are_refused(mixed):
    with pytest.raises(ValueError, match=r"data\.max_shapes = 2: .* have 3 shapes"):
        make_loader(config(name="mixed", max_shapes=2), seed=0)
    with pytest.raises(
        ValueError, match=r"data\.frames.*\(3, 2, 3\).*one of \(1, 2, 3\), \(1, 3, 2\), \(2, 2, 3\)"
    ):
        make_loader(config(name="mixed", frames=3), seed=0)


def test_a_source_without_records_trains_nothing(monkeypatch):
    monkeypatch.setitem(SOURCES, "images", lambda data: Images(0))
    with pytest.raises(ValueError, match=r"data\.name = 'images': has no records"):
        make_loader(config(name="images"), seed=0)


def test_live_text_needs_captions(monkeypatch):
    monkeypatch.setitem(SOURCES, "images", lambda data: Images(5))
    with pytest.raises(ValueError, match=r"needs captions; the records of data\.name='images' have none"):
        make_loader(config(name="images"), seed=0, tokens=lambda captions, names: (None, None))
