"""Which batch a step takes: of which source of a mixture, of which bucket, the how many-th of that bucket.

All is a function of the seed and the number of the step, so every process takes the same without talking, and a run
goes on from a number.

- A source of weight w has had k w of the first k steps, to less than one step for each source before it.
- In one source epochs follow each other: before epoch e, a bucket of n records has had floor(e n / B) batches of B, so
  buckets smaller than a batch come too, in their share. In an epoch the buckets are spread as sources are.
- The records of a bucket are an endless stream of epochs of its own, each a permutation, from which its batches are cut
  one after the other: none is lost, and none comes again before all others have come.
"""

import bisect
import dataclasses
import functools
from collections.abc import Sequence
from fractions import Fraction

import grain
import numpy as np

ROUNDS = 4  # of the shuffle's cipher, as in grain's own `shuffle`
FEW = 4096  # records that are permuted at once


def shuffled(place: int, count: int, seed: int) -> int:
    """Returns the number at `place` of a permutation of 0 to `count` - 1; the seed is taken modulo 2**32."""
    return grain.experimental.index_shuffle(place, count - 1, seed % 2**32, ROUNDS)


@functools.lru_cache(maxsize=256)
def _permutation(count: int, seed: int) -> np.ndarray:
    """A permutation of few numbers, for which grain's takes milliseconds a number."""
    return np.random.default_rng(seed).permutation(count)


@dataclasses.dataclass(frozen=True)
class Stream:
    """The endless stream of the records of one bucket.

    Attributes:
        first: number of its first record in the source.
        count: records, which are numbered one after the other.
        order: seed of the permutations.
        flip: seed of mirroring.
        noise: seed of posteriors.
        alone: whether the source has no other bucket, and is alone; its order is that of grain's `shuffle`.
    """

    first: int
    count: int
    order: int
    flip: int
    noise: int
    alone: bool = True

    def slot(self, number: int) -> tuple[int, int]:
        """Returns (record, turn) of place `number`; the turn is another for every record and epoch."""
        epoch, place = divmod(number, self.count)
        seed = self.order + epoch
        if self.alone or self.count >= FEW:
            record = shuffled(place, self.count, seed)
        else:
            record = int(_permutation(self.count, seed)[place])
        return self.first + record, record + epoch * self.count


def make_stream(seed: int, member: int, bucket: int, first: int, count: int, *, alone: bool = True) -> Stream:
    """Returns the stream of a bucket of a source; those of others have other seeds, see `Stream`."""
    entropy = seed if (member, bucket) == (0, 0) else [seed, member, bucket]
    order, flip, noise = (int(word) for word in np.random.SeedSequence(entropy).generate_state(3))
    return Stream(first, count, order, flip, noise, alone)


class Mixing:
    """Which source each step takes."""

    def __init__(self, weights: Sequence[Fraction]) -> None:
        """Takes the weight of each source, 0 or more; their sum is of no account."""
        rests = [sum(weights[source:], Fraction(0)) for source in range(len(weights))]
        # Of what those before leave; the last takes all that is left.
        self._shares = [
            weight / rest if rest else Fraction(0) for weight, rest in zip(weights, rests, strict=True)
        ]

    def place(self, step: int) -> tuple[int, int]:
        """Returns (source, which of its batches) of a step."""
        for source, share in enumerate(self._shares):
            number = self._floor(step, share)
            if self._floor(step + 1, share) > number:
                return source, number
            step -= number
        raise AssertionError(step)

    @staticmethod
    def _floor(step: int, share: Fraction) -> int:
        """How many of the first `step` steps a source of this share takes; half a step off, so that none is first."""
        return (2 * step * share.numerator + share.denominator) // (2 * share.denominator)


class Buckets:
    """The batches of one source, numbered from 0 on without end."""

    def __init__(self, counts: Sequence[int], batch: int) -> None:
        """Takes the records of each bucket, 1 or more, and the samples of a batch."""
        self._counts, self._batch = tuple(counts), batch
        self._mixing = functools.lru_cache(maxsize=8)(
            lambda sizes: Mixing([Fraction(size) for size in sizes])
        )

    def before(self, epoch: int) -> list[int]:
        """Returns the batches that each bucket has had before an epoch."""
        return [epoch * count // self._batch for count in self._counts]

    def place(self, number: int) -> tuple[int, int]:
        """Returns (bucket, which of its batches) of batch `number`."""
        if len(self._counts) == 1:
            return 0, number
        records = sum(self._counts)
        low, high = number * self._batch // records, (number + len(self._counts)) * self._batch // records + 1
        # The last epoch before which at most `number` batches were; in some no batch begins.
        epoch = low + bisect.bisect_right(range(low, high + 1), number, key=lambda e: sum(self.before(e))) - 1
        begin, end = self.before(epoch), self.before(epoch + 1)
        shares = self._mixing(tuple(after - before for before, after in zip(begin, end, strict=True)))
        bucket, turn = shares.place(number - sum(begin))
        return bucket, begin[bucket] + turn
