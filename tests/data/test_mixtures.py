"""Weighted mixtures: shares that hold, batches of one source, flips of their own, entries that are wrong."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import common
from data_pipelines import SOURCES, make_loader, open_source
from data_pipelines.mixture import without_paths
from data_pipelines.schedule import Mixing
from data_pipelines.text import TextInfo
from ptdit_jax import config as rules


class Plain:
    """`count` records whose values say their number and source; even columns tell of a flip."""

    classes = 3
    text = TextInfo(2, 4, np.ones((1, 2), np.float32))

    def __init__(self, count, base, shape=(1, 1, 2, 3), **other):
        self.count, self.base, self.shape = count, base, shape
        self.__dict__ |= other

    def __len__(self):
        return self.count

    def __getitem__(self, record):
        x = np.broadcast_to(np.arange(self.shape[-1]) + self.base + 10 * record, self.shape)
        return {"x": x.astype(np.float32), "label": np.int32(0), "text": np.ones((1, 2), np.float32)}


@pytest.fixture(autouse=True)
def _sources(monkeypatch):
    monkeypatch.setitem(SOURCES, "images", lambda data: Plain(30, 0))
    monkeypatch.setitem(SOURCES, "films", lambda data: Plain(8, 1000, (1, 4, 2, 3)))


def config(*entries, **fields):
    data = common.get_config().data
    data.update(
        {"name": "mixture", "mixture": entries, "height": 2, "width": 3, "frames": 1, "batch": 4} | fields
    )
    return data


@given(
    weights=st.lists(st.fractions(min_value=Fraction(1, 100), max_value=10), min_size=1, max_size=6),
    start=st.integers(0, 10**12),
)
def test_shares_hold_at_every_step(weights, start):
    mixing = Mixing(weights)
    total, width = sum(weights), len(weights)
    first = [None] * width
    seen = [0] * width
    for step in range(start, start + 60):
        source, number = mixing.place(step)
        if first[source] is None:  # batches of this source before `start`
            first[source] = number
            assert abs(number - step * weights[source] / total) < width
        assert number == first[source] + seen[source]  # none is left out, none comes twice
        seen[source] += 1
        assert abs(number + 1 - (step + 1) * weights[source] / total) < width


def test_images_and_films_come_in_their_shares():
    loader = make_loader(config("3 images", "1 films"), seed=0)
    batches = [next(loader) for _ in range(200)]
    films = [batch for batch in batches if batch["x"].shape[1:] == (1, 4, 2, 3)]
    assert len(films) == 50
    uses = np.bincount(np.concatenate([b["index"] for b in batches]), minlength=38)
    assert set(uses[:30]) == {20}
    assert set(uses[30:]) == {25}
    for batch in batches:
        base = 1000 - 300 if batch["x"].shape[2] == 4 else 0
        np.testing.assert_array_equal(batch["x"][:, 0, 0, 0, 0], base + 10 * batch["index"])


def test_flips_are_each_source_s_own():
    loader = make_loader(config("1 images", "1 films-flip", flip=True), seed=0)
    flipped = {1: 0, 4: 0}
    for _ in range(60):
        x = next(loader)["x"]
        flipped[x.shape[2]] += (x[..., 0] > x[..., -1]).any()
    assert flipped[4] == 0
    assert flipped[1] > 20


def test_processes_and_resumes_agree():
    data = config("0.7 images+flip", "0.2 films", "0.1 images")
    loader = make_loader(data, seed=4)
    whole = [next(loader) for _ in range(25)]
    parts = [make_loader(data, seed=4, process_index=p, process_count=2) for p in range(2)]
    for part in parts:
        part.set_state({"next_index": 9})
    for batch in whole[9:]:
        pieces = [next(part) for part in parts]
        for name, array in batch.items():
            np.testing.assert_array_equal(np.concatenate([piece[name] for piece in pieces]), array)


def test_records_are_numbered_over_all_sources():
    source = open_source(config("1 images", "2 films"))
    assert len(source) == 38
    assert source[31]["x"].shape == (1, 4, 2, 3)
    assert source[31]["x"][0, 0, 0, 0] == 1010
    assert (source.classes, source.text.dim, source.text.longest) == (3, 2, 4)


def test_embedded_digits_and_moving_digits_mix():
    data = config("1 digits", "1 moving_digits", height=16, width=16, frames=3, batch=2)
    loader = make_loader(data, seed=0, classes=10)
    assert {next(loader)["x"].shape for _ in range(4)} == {(2, 1, 1, 16, 16), (2, 1, 3, 16, 16)}


@pytest.mark.parametrize(
    ("entries", "fields", "message"),
    [
        ((), {}, r"data\.mixture = \(\): must have entries"),
        (("1 images",), {"name": "images"}, r"data\.mixture = .*must be \(\) with data\.name = 'images'"),
        (("images",), {}, r"'images' must be 'WEIGHT NAME PATH'"),
        (("x images",), {}, r"'x images' must begin with a positive number"),
        (("1/0 images",), {}, r"must begin with a positive number"),
        (("nan images",), {}, r"must begin with a positive number"),
        (("0 images",), {}, r"has the weight 0, must be above 0"),
        (("1 picture",), {}, r"names the source 'picture', must be one of .*digits.*images"),
        (("1 mixture",), {}, r"names the source 'mixture'"),
        (("1 images", "1 shards /nowhere"), {}, r"'1 shards /nowhere': data\.path = '/nowhere'"),
        (("1 images", "1 films"), {"max_shapes": 1}, r"data\.max_shapes = 1"),
        (("1 images", "1 films"), {"frames": 2}, r"data\.frames.*\(2, 2, 3\)"),
    ],
)
def test_wrong_entries_are_named(entries, fields, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_loader(config(*entries, **fields), seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"shape": (2, 1, 2, 3)}, "channels of 'images' are 1, of 'other' 2"),
        ({"text": TextInfo(3, 4, None)}, "features of text states of 'images' are 2, of 'other' 3"),
        ({"text": TextInfo(2, 4, None)}, "different text states of the empty caption"),
        (
            {"text": TextInfo(2, 4, np.zeros((1, 2), np.float32))},
            "different text states of the empty caption",
        ),
        ({"count": 0}, "'1 other' has no records"),
    ],
)
def test_sources_that_do_not_go_together_are_named(monkeypatch, other, message):
    monkeypatch.setitem(SOURCES, "other", lambda data: Plain(**{"count": 5, "base": 0} | other))
    with pytest.raises(ValueError, match=message):
        make_loader(config("1 images", "1 other"), seed=0)


@pytest.mark.parametrize("missing", [{"classes": None}, {"text": None}])
def test_what_one_source_lacks_a_mixture_lacks(monkeypatch, missing):
    monkeypatch.setitem(SOURCES, "other", lambda data: Plain(5, 0, **missing))
    source = open_source(config("1 images", "1 other"))
    assert [getattr(source, name) for name in missing] == [None]
    next(make_loader(config("1 images", "1 other"), seed=0))


def test_a_run_goes_on_with_moved_folders_and_no_other_weights():
    saved, moved = common.get_config(), common.get_config()
    saved.data.mixture, moved.data.mixture = ("1 shards /a", "2 arrays /b c"), ("1 shards /x", "2 arrays /y")
    assert rules.conflicts(saved, moved) == []
    assert without_paths(saved.data.mixture) == ("1 shards", "2 arrays")
    moved.data.mixture = ("1 shards /a", "3 arrays /b c")
    (line,) = rules.conflicts(saved, moved)
    assert line.startswith("data.mixture=")
    assert rules.from_json(rules.to_json(saved)).data.mixture == saved.data.mixture
