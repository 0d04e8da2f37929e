"""Which of many 64-bit hashes lie near each other, without comparing all with all.

Two hashes that differ in at most N bits agree in at least one of N + 1 bands of their bits.  So a band's value is a key
under which candidates meet; the same is done again within a large group, with the bits that are left.
"""

import functools
from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_matrix, csgraph

BITS = 64
SMALL = 2048  # hashes that are compared all with all: fewer than a band is worth
BLOCK = 1024  # hashes that are compared with all of a group at a time


def bands(distance: int, bits: tuple[int, ...] = tuple(range(BITS))) -> list[tuple[int, ...]]:
    """Divides bits into one band more than may differ, of lengths that differ by one at most.

    Args:
        distance: bits in which two hashes may differ.
        bits: places of bits, 0 the lowest; at least distance + 1.
    """
    return [tuple(bits[band :: distance + 1]) for band in range(distance + 1)]


@functools.cache
def _mask(band: tuple[int, ...]) -> np.uint64:
    return np.uint64(sum(1 << bit for bit in band))


def band_keys(value: int, distance: int) -> list[bytes]:
    """Returns the keys under which a hash meets all that lie near: the number of the band, and its bits.

    Args:
        value: a hash, in [0, 2**64).
        distance: bits in which two hashes may differ.
    """
    masks = [int(_mask(band)) for band in bands(distance)]
    return [bytes([number]) + (value & mask).to_bytes(8, "big") for number, mask in enumerate(masks)]


def near_pairs(
    hashes: np.ndarray, distance: int, bits: tuple[int, ...] = tuple(range(BITS))
) -> Iterator[np.ndarray]:
    """Finds all pairs that differ in at most `distance` bits, some of them several times.

    Args:
        hashes: (n,) uint64, each once.
        distance: bits.
        bits: places in which the hashes may differ at all.

    Yields:
        (m, 2) uint64, pairs.
    """
    if len(hashes) <= SMALL or len(bits) < 2 * (distance + 1):
        for start in range(0, len(hashes), BLOCK):
            rows = hashes[start : start + BLOCK, None]
            close = np.bitwise_count(rows ^ hashes[None, start:]) <= distance
            first, second = np.nonzero(np.triu(close, 1))
            if len(first):
                yield np.stack([hashes[start + first], hashes[start + second]], 1)
        return
    for band in bands(distance, bits):
        values = hashes & _mask(band)
        order = np.argsort(values, kind="stable")
        edges = np.flatnonzero(np.diff(values[order])) + 1
        rest = tuple(bit for bit in bits if bit not in band)
        for group in np.split(hashes[order], edges):
            if len(group) > 1:
                yield from near_pairs(group, distance, rest)


def components(pairs: np.ndarray) -> np.ndarray:
    """Labels what pairs connect, directly or by way of others.

    Args:
        pairs: (m, 2) uint64.

    Returns:
        (k, 2) uint64: each hash of the pairs once, in order, and the smallest of its component.  They are pairs of the
        same components themselves.
    """
    names, numbers = np.unique(pairs, return_inverse=True)
    numbers = numbers.reshape(-1, 2)
    graph = coo_matrix((np.ones(len(numbers), np.int8), numbers.T), shape=(len(names), len(names)))
    _, labels = csgraph.connected_components(graph, directed=False)
    smallest = np.full(labels.max(initial=-1) + 1, len(names))
    np.minimum.at(smallest, labels, np.arange(len(names)))
    return np.stack([names, names[smallest[labels]]], 1).reshape(-1, 2)


def near_components(hashes: np.ndarray, distance: int) -> np.ndarray:
    """Returns `components` of all pairs among hashes that differ in at most `distance` bits; memory is bounded."""
    found = np.empty((0, 2), np.uint64)
    for pairs in near_pairs(np.unique(hashes), distance):
        found = np.concatenate([found, pairs])
        if len(found) > 2**20:
            found = components(found)
    return components(found)
