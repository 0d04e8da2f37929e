"""Time tables against the released ones; distributions of training times; the shift."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptdit_jax.diffusion import times
from ptdit_jax.diffusion.grids import flow_times, shift

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "rectified_flow.npz")
BATCH = 200_000


@pytest.mark.parametrize(
    ("name", "side", "pixel_frames"),
    [
        ("px256", 256, 1),
        ("px512", 512, 1),
        ("px1024", 1024, 1),
        ("px512_F17", 512, 17),
        ("px512_F29", 512, 29),
        ("px512_F51", 512, 51),
    ],
)
def test_sampling_table_matches_the_release(name, side, pixel_frames):
    size = {"height_px": side, "width_px": side, "latent_frames": 99, "pixel_frames": pixel_frames}
    ratio = times.shift_ratio("released", **size, scale=1.0)
    table = flow_times("even", 30, ratio)
    # The release rounds to float32 on the way.
    np.testing.assert_allclose(table[:-1] * 1000, GOLDEN[f"timesteps30_{name}"], rtol=3e-7)
    assert table[0] == 1
    assert table[-1] == 0


def ratio(rule, height=512, width=512, latent=1, pixel=1, scale=1.0):
    size = {"height_px": height, "width_px": width, "latent_frames": latent, "pixel_frames": pixel}
    return times.shift_ratio(rule, **size, scale=scale)


def test_shift_ratio():
    assert ratio("none", 2048, 2048, 16, 61, scale=3.0) == 1
    assert ratio("latent_frames", 256, 1024) == pytest.approx(1)
    assert ratio("latent_frames", 1024, 1024, scale=0.5) == pytest.approx(1)
    assert ratio("latent_frames", latent=4, pixel=13) == pytest.approx(2)
    # The release counts 5 for every 17 frames, which fits its autoencoder alone and forgets short videos.
    assert ratio("released", latent=4, pixel=16) == 0
    assert ratio("released", latent=5, pixel=17) == pytest.approx(5**0.5)
    assert ratio("released", latent=9, pixel=33) == pytest.approx(5**0.5)
    assert ratio("released", latent=1, pixel=1) == ratio("latent_frames")


@given(st.floats(0.05, 20), st.floats(0.05, 20), st.floats(0, 1))
def test_shift_is_a_group_that_keeps_the_ends(first, second, u):
    assert shift(0.0, first) == 0
    assert shift(1.0, first) == pytest.approx(1)
    assert shift(shift(u, first), second) == pytest.approx(shift(u, first * second))
    assert shift(shift(u, first), 1 / first) == pytest.approx(u, abs=1e-12)
    if first > 1:
        assert shift(u, first) >= u - 1e-12


@given(st.floats(0.05, 20), st.floats(0.01, 0.99))
def test_shift_adds_its_log_to_the_logit(factor, u):
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    assert logit(shift(u, factor)) == pytest.approx(logit(u) + np.log(factor), abs=1e-9)


def test_logit_normal_times():
    t = times.logit_normal(jax.random.key(0), BATCH, jnp.float32)
    assert t.dtype == jnp.float32
    logit = np.log(t / (1 - t))
    # Four standard errors of each estimate; the release's own sample has the same moments.
    assert logit.mean() == pytest.approx(0, abs=4 / BATCH**0.5)
    assert logit.std() == pytest.approx(1, abs=4 / (2 * BATCH) ** 0.5)
    np.testing.assert_allclose(
        [logit.mean(), logit.std()], GOLDEN["logit_normal_mean_std_of_logit"], atol=0.02
    )


def test_uniform_times():
    t = np.sort(times.uniform(jax.random.key(0), BATCH, jnp.float32))
    # Kolmogorov-Smirnov distance; 2 / sqrt(n) is passed by chance once in 1500 seeds.
    assert np.abs(t - (np.arange(BATCH) + 0.5) / BATCH).max() < 2 / BATCH**0.5


def test_uniform_steps_are_all_steps_equally():
    t = times.uniform_steps(jax.random.key(0), BATCH, jnp.float32)
    counts = np.bincount(np.round(np.asarray(t) * 1000).astype(int), minlength=1000)
    assert len(counts) == 1000
    assert counts.min() > 200 - 6 * 200**0.5
    assert counts.max() < 200 + 6 * 200**0.5
