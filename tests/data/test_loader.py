"""Properties of the batch stream: order, epochs, sharding, resuming, flips, errors."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import common
from data_pipelines import SOURCES, make_loader
from data_pipelines.text import TextInfo

RECORDS = 23


class Ramp:
    """`RECORDS` records of one row of four pixels, (4 i, .., 4 i + 3), in three classes."""

    classes = 3
    shape = (1, 1, 1, 4)
    text = None

    def __len__(self):
        return RECORDS

    def __getitem__(self, record):
        x = np.arange(4 * record, 4 * record + 4, dtype=np.float32).reshape(self.shape)
        return {"x": x, "label": np.asarray(record % 3, np.int32)}


class Story(Ramp):
    """`Ramp` with 1 to 5 text states a record, which are not finite in record 13 if so wished."""

    text = TextInfo(dim=2, longest=5, null=None)

    def __init__(self, bad=False):
        self.bad = bad

    def __getitem__(self, record):
        states = np.full((1 + record % 5, 2), record, np.float16)
        if self.bad and record == 13:
            states[0, 0] = np.nan
        return super().__getitem__(record) | {"text": states}


@pytest.fixture(autouse=True)
def _sources(monkeypatch):
    monkeypatch.setitem(SOURCES, "ramp", lambda data: Ramp())
    monkeypatch.setitem(SOURCES, "story", lambda data: Story())
    monkeypatch.setitem(SOURCES, "bad story", lambda data: Story(bad=True))


def data_config(**fields):
    """The `data` part of a config that reads `Ramp` in batches of 6."""
    config = common.get_config()
    config.data.update(dict(name="ramp", height=1, width=4, frames=1, batch=6) | fields)
    return config.data


def take(loader, count):
    return [next(loader) for _ in range(count)]


def assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


def test_batch_holds_what_the_records_hold():
    batch = next(make_loader(data_config(), seed=0))
    assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {
        "x": ((6, 1, 1, 1, 4), np.float32),
        "label": ((6,), np.int32),
        "index": ((6,), np.int64),
    }
    np.testing.assert_array_equal(batch["x"][:, 0, 0, 0, 0], 4 * batch["index"])
    np.testing.assert_array_equal(batch["label"], batch["index"] % 3)


@pytest.mark.parametrize(("length", "truncate"), [(5, False), (8, False), (3, True)])
def test_text_of_a_batch_is_padded_to_the_model(length, truncate):
    loader = make_loader(data_config(name="story", truncate_text=truncate), seed=0, text=(length, 2))
    for batch in take(loader, 5):
        assert (batch["text"].shape, batch["text"].dtype) == ((6, length, 2), np.float32)
        assert (batch["text_mask"].shape, batch["text_mask"].dtype) == ((6, length), bool)
        np.testing.assert_array_equal(batch["text_mask"].sum(1), np.minimum(1 + batch["index"] % 5, length))
        wanted = batch["index"][:, None, None] * batch["text_mask"][:, :, None]
        np.testing.assert_array_equal(batch["text"], np.broadcast_to(wanted, batch["text"].shape))


def test_text_that_no_model_asks_for_is_left_out():
    assert_same(
        take(make_loader(data_config(name="story"), seed=0), 3), take(make_loader(data_config(), seed=0), 3)
    )


def test_joined_parts_are_the_batch_of_one_process_with_text():
    data = data_config(name="story")
    (whole,) = take(make_loader(data, seed=5, text=(5, 2)), 1)
    parts = [next(make_loader(data, seed=5, text=(5, 2), process_index=p, process_count=2)) for p in range(2)]
    assert_same([whole], [{key: np.concatenate([part[key] for part in parts]) for key in whole}])


@pytest.mark.parametrize("threads", [0, 2])
def test_a_record_with_text_that_is_not_finite_is_named(threads):
    loader = make_loader(data_config(name="bad story", read_threads=threads), seed=0, text=(5, 2))
    with pytest.raises(
        ValueError, match="'bad story': record 13 has text states with 1 values that are not finite"
    ):
        take(loader, RECORDS)


@given(batch=st.integers(1, 60), seed=st.integers(0, 2**32 - 1))
def test_every_epoch_is_a_permutation_and_they_differ(batch, seed):
    loader = make_loader(data_config(batch=batch, prefetch=0), seed=seed)
    order = np.concatenate([b["index"] for b in take(loader, -(-4 * RECORDS // batch))])
    epochs = order[: 4 * RECORDS].reshape(4, RECORDS)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(RECORDS), (4, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_order_is_decided_by_the_seed_alone():
    first, again, other = (take(make_loader(data_config(), seed=seed), 8) for seed in (3, 3, 4))
    assert_same(first, again)
    assert any((a["index"] != b["index"]).any() for a, b in zip(first, other, strict=True))


def test_threads_and_prefetch_do_not_change_the_stream():
    plain = take(make_loader(data_config(flip=True, prefetch=0), seed=1), 20)
    threaded = take(make_loader(data_config(flip=True, read_threads=4, prefetch=7), seed=1), 20)
    assert_same(plain, threaded)


@pytest.mark.parametrize("processes", [2, 3, 6])
def test_joined_parts_are_the_batch_of_one_process(processes):
    whole = take(make_loader(data_config(flip=True), seed=5), 10)
    parts = [
        take(make_loader(data_config(flip=True), seed=5, process_index=p, process_count=processes), 10)
        for p in range(processes)
    ]
    joined = [
        {key: np.concatenate([b[key] for b in batches]) for key in batches[0]} for batches in zip(*parts)
    ]
    assert_same(whole, joined)


@pytest.mark.parametrize("handed_out", [0, 1, 3, 4, 17])  # an epoch ends inside batch 3; 17 is in epoch 4
@pytest.mark.parametrize("prefetch", [0, 5])
def test_resumed_stream_continues_where_the_state_was_taken(handed_out, prefetch):
    data = data_config(flip=True, read_threads=2, prefetch=prefetch)
    loader = make_loader(data, seed=2)
    take(loader, handed_out)
    state = json.dumps(loader.get_state())
    assert len(state) < 100
    rest = take(loader, 9)  # the loader has read ahead of the state meanwhile

    fresh = make_loader(data, seed=2)
    fresh.set_state(json.loads(state))
    assert_same(take(fresh, 9), rest)

    loader.set_state(json.loads(state))  # also back in time, with batches of the future in the buffer
    assert_same(take(loader, 9), rest)


def test_state_is_that_of_the_last_batch_handed_out():
    loader = make_loader(data_config(prefetch=8, read_threads=2), seed=2)
    for count in range(1, 6):
        next(loader)
        assert loader.get_state() == {"next_index": count}


def test_state_moves_between_numbers_of_processes():
    one = make_loader(data_config(), seed=9)
    take(one, 5)
    parts = [make_loader(data_config(), seed=9, process_index=p, process_count=2) for p in range(2)]
    for part in parts:
        part.set_state(one.get_state())
    joined = np.concatenate([next(part)["index"] for part in parts])
    np.testing.assert_array_equal(joined, next(one)["index"])


def test_flips_are_a_new_coin_for_every_record_and_epoch_and_leave_the_order_alone():
    epochs, batch = 40, RECORDS
    flipped = take(make_loader(data_config(flip=True, batch=batch), seed=0), epochs)
    plain = take(make_loader(data_config(batch=batch), seed=0), epochs)
    coins = np.zeros((epochs, RECORDS), bool)
    for epoch, (a, b) in enumerate(zip(flipped, plain, strict=True)):
        np.testing.assert_array_equal(a["index"], b["index"])
        mirrored = (a["x"] != b["x"]).any(axis=(1, 2, 3, 4))
        np.testing.assert_array_equal(
            a["x"], np.where(mirrored[:, None, None, None, None], b["x"][..., ::-1], b["x"])
        )
        coins[epoch, a["index"]] = mirrored
    deviation = 0.5 / np.sqrt(epochs)
    assert abs(coins.mean() - 0.5) < 4 * deviation / np.sqrt(RECORDS)
    assert (abs(coins.mean(axis=0) - 0.5) < 4 * deviation).all()  # no record is always or never mirrored


@pytest.mark.parametrize(
    ("fields", "arguments", "message"),
    [
        ({"name": "nonsense"}, {}, r"data\.name = 'nonsense': must be one of .*digits.*ramp"),
        ({"batch": 7}, {"process_count": 2}, r"data\.batch = 7.*2 processes"),
        ({"batch": 0}, {}, r"data\.batch = 0"),
        ({"height": 2}, {}, r"data\.height.*\(1, 2, 4\).*\(1, 1, 4\)"),
        ({}, {"classes": 2}, r"model\.classes = 2.*at least 3"),
        ({}, {"text": (5, 2)}, r"model\.condition='text' needs text states.*'ramp' have none"),
        ({"name": "story"}, {"text": (5, 3)}, r"model\.text_dim=3 must be 2.*'story'"),
        (
            {"name": "story"},
            {"text": (4, 2)},
            r"model\.text_length=4 must be at least 5.*data\.truncate_text",
        ),
        ({}, {"process_index": 2, "process_count": 2}, "process_index = 2"),
        ({}, {"seed": -1}, "seed = -1"),
    ],
)
def test_wrong_fields_are_named(fields, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_loader(data_config(**fields), **({"seed": 0} | arguments))
