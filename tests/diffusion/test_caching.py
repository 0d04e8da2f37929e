"""Schedules of reuse against computations by hand."""

import numpy as np

from ptdit_jax.diffusion import caching


def test_every_kth_evaluation_is_computed():
    assert caching.every(7, 3).tolist() == [False, True, True, False, True, True, False]
    assert not caching.every(7, 1).any()


def test_magcache_by_hand():
    # Errors since the last computed evaluation: 0.02; 0.02 + 0.0396; + 0.060 ... of products 0.98, 0.9604, 0.9412.
    ratios = np.array([1.0, 0.5, 0.98, 0.98, 0.98, 0.98, 1.02, 0.9, 0.99, 0.99])
    # ceil(0.2 * 10) = 2 are computed; 2: 0.02; 3: 0.0596; 4: 0.1184 is too much, computed; 5: 0.02; 6: 0.98 * 1.02 =
    # 0.9996, 0.0204; 7: product 0.89964, 0.12076, computed; 8: 0.01; 9: 0.0299.
    expected = [0, 0, 1, 1, 0, 1, 1, 0, 1, 1]
    options = {"threshold": 0.1, "first": 0.2}
    assert caching.magcache(ratios, skips=9, **options).tolist() == list(map(bool, expected))
    # No more than one in a row: after a skipped one comes a computed one, which starts the sum again.
    # 2 skipped, 3 computed, 4 skipped, 5 computed, 6 skipped (0.02), 7 computed, 8 skipped, 9 computed.
    assert caching.magcache(ratios, skips=1, **options).tolist() == [False, False] + [True, False] * 4


def test_magcache_computes_all_with_threshold_0_and_the_first_share_always():
    ratios = np.ones(10)  # no error at all
    assert not caching.magcache(ratios, threshold=0.0, skips=3, first=0.2).any()
    assert caching.magcache(ratios, threshold=0.1, skips=99, first=0.35).tolist() == [False] * 4 + [True] * 6
    assert not caching.magcache(ratios, threshold=0.1, skips=99, first=1.0).any()
    assert not caching.magcache(ratios, threshold=0.1, skips=99, first=0.0)[0]


def test_ratios_of_another_number_of_steps_are_the_nearest():
    ratios = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert caching.resampled(ratios, 5).tolist() == ratios.tolist()
    assert caching.resampled(ratios, 3).tolist() == [1.0, 3.0, 5.0]
    assert caching.resampled(ratios, 9)[[0, 2, 4, 6, 8]].tolist() == ratios.tolist()
