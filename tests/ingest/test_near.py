"""Near hashes, against a comparison of all with all; and which shard a sample goes to."""

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy.sparse import csgraph

from data_pipelines.ingest import near, shards

HASHES = st.integers(0, 2**64 - 1)


def brute_force(hashes, distance):
    """The components, by a loop over all pairs: {hash: smallest of its component}, alone ones left out."""
    hashes = sorted(set(hashes))
    close = np.array([[(a ^ b).bit_count() <= distance for b in hashes] for a in hashes])
    _, labels = csgraph.connected_components(close, directed=False)
    groups = [
        [value for value, label in zip(hashes, labels) if label == one] for one in range(labels.max() + 1)
    ]
    return {value: group[0] for group in groups if len(group) > 1 for value in group}


@st.composite
def crowds(draw):
    """Hashes many of which are near each other, in chains too."""
    hashes = draw(st.lists(HASHES, min_size=1, max_size=6))
    for _ in range(draw(st.integers(0, 12))):
        value = draw(st.sampled_from(hashes))
        for bit in draw(st.lists(st.integers(0, 63), max_size=6)):
            value ^= 1 << bit
        hashes.append(value)
    return hashes


@given(HASHES, st.integers(0, 16), st.data())
def test_near_hashes_share_a_band(value, distance, data):
    bits = data.draw(st.lists(st.integers(0, 63), max_size=distance, unique=True))
    other = value
    for bit in bits:
        other ^= 1 << bit
    assert set(near.band_keys(value, distance)) & set(near.band_keys(other, distance))


@given(st.integers(0, 16))
def test_bands_hold_every_bit_once(distance):
    bands = near.bands(distance)
    assert len(bands) == distance + 1
    assert sorted(itertools.chain(*bands)) == list(range(64))
    assert max(map(len, bands)) - min(map(len, bands)) <= 1


@given(crowds(), st.integers(0, 8))
def test_components_are_those_of_all_pairs(hashes, distance):
    found = near.near_components(np.array(hashes, np.uint64), distance)
    assert dict(found.tolist()) == brute_force(hashes, distance)


@given(crowds(), st.integers(0, 8), st.randoms(use_true_random=False))
def test_components_of_bands_joined_are_the_whole(hashes, distance, random):
    """As the pipeline does it: within each band, then joined in any order."""
    groups = {}
    for value in hashes:
        for key in near.band_keys(value, distance):
            groups.setdefault(key, set()).add(value)
    parts = [near.near_components(np.array(sorted(group), np.uint64), distance) for group in groups.values()]
    random.shuffle(parts)
    half = near.components(np.concatenate(parts[: len(parts) // 2] or [np.empty((0, 2), np.uint64)]))
    found = near.components(np.concatenate([half, *parts[len(parts) // 2 :]]))
    assert dict(found.tolist()) == brute_force(hashes, distance)


@pytest.mark.parametrize("distance", [0, 3, 6])
def test_a_large_group_is_divided_again(monkeypatch, distance):
    monkeypatch.setattr(near, "SMALL", 16)
    monkeypatch.setattr(near, "BLOCK", 7)
    random = np.random.default_rng(distance)
    hashes = random.integers(0, 2**64, 150, np.uint64)
    flips = np.uint64(1) << random.integers(0, 64, (150, 4)).astype(np.uint64)
    hashes = np.concatenate([hashes, hashes ^ np.bitwise_xor.reduce(flips[:, : distance or 1], 1)])
    found = near.near_components(hashes, distance)
    assert dict(found.tolist()) == brute_force(hashes.tolist(), distance)
    assert bool(len(found)) == (distance > 0)


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(1, 12), st.randoms(use_true_random=False))
def test_shards_are_the_samples_cut_in_order(lengths, size, random):
    """Whatever the order in which units are counted and placed."""
    units = {unit: [(unit, item) for item in range(length)] for unit, length in enumerate(lengths)}
    order = list(units)
    random.shuffle(order)
    first = shards.starts((unit, len(units[unit])) for unit in order)
    found = {}
    for unit in order:
        for shard, part in shards.place(unit, units[unit], first, size):
            found.setdefault(shard, []).append(part)
    in_order = [item for unit in sorted(units) for item in units[unit]]
    assert first[-1] == len(in_order)
    expected = [in_order[start : start + size] for start in range(0, len(in_order), size)]
    assert [
        [item for _, items in sorted(found[shard]) for item in items] for shard in sorted(found)
    ] == expected
    names = [shards.shard_name(shard, first[-1], size) for shard in sorted(found)]
    assert names == sorted(set(names))


def test_a_million_shards_have_names_of_one_length():
    assert shards.shard_name(3, 10**9, 1000) == "000003"
    assert shards.shard_name(3, 10**9, 10_000) == "00003"
