"""Training times in spans of [0, 1]: their mass, and that drawing spans and then times changes no distribution."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from ptdit_jax import diffusion
from ptdit_jax.diffusion import spans

SPANS = [((0.0, 0.12), (0.7, 0.95)), ((0.12, 0.7),), ((0.95, 1.0),)]
"""Three sets that cover [0, 1], one of them in two pieces."""

COUNT = 20_000


def objective(times, shift_scale=None, path="flow"):
    shift = {"shift": "none", "shift_scale": 1.0}
    if shift_scale:
        shift = {"shift": "latent_frames", "shift_scale": shift_scale}
    return diffusion.make(
        path=path,
        prediction="velocity" if path == "flow" else "eps",
        learn_variance=False,
        times=times,
        weighting="uniform",
        min_snr_gamma=5.0,
        height_px=512,
        width_px=512,
        latent_frames=1,
        pixel_frames=1,
        **shift,
    )


def cdf(times, ratio):
    """P(t < x) of training times, from its definition."""

    def below(x):
        u = np.asarray(x) / (ratio - (ratio - 1) * np.asarray(x))
        return u if times == "uniform" else stats.norm.cdf(np.log(u) - np.log1p(-u))

    return below


@pytest.mark.parametrize(
    ("times", "scale"),
    [("uniform", None), ("uniform", 0.25), ("logit_normal", None), ("logit_normal", 3.0)],
)
def test_times_of_spans_together_are_distributed_as_all_times(times, scale):
    whole, count = objective(times, scale), COUNT
    drawn = []
    for number, own in enumerate(SPANS):
        part = dataclasses.replace(whole, spans=own)
        t = np.asarray(part.draw_times(jax.random.key(number), count))
        inside = np.array([(low <= t) & ((t < high) | (high == 1)) for low, high in own])
        assert inside.any(axis=0).all()
        assert inside.any(axis=1).all()
        drawn.append(t[: round(count * part.mass)])
    assert sum(dataclasses.replace(whole, spans=own).mass for own in SPANS) == pytest.approx(1, abs=1e-12)
    assert stats.kstest(np.concatenate(drawn), cdf(times, scale or 1.0)).pvalue > 0.01
    assert (
        stats.ks_2samp(np.concatenate(drawn), np.asarray(whole.draw_times(jax.random.key(9), count))).pvalue
        > 0.01
    )


def test_mass_is_the_integral_of_the_density():
    for scale in (None, 3.0):
        whole, ratio = objective("logit_normal", scale), scale or 1.0

        def density(t, ratio=ratio):
            u = t / (ratio - (ratio - 1) * t)
            slope = ratio / (ratio - (ratio - 1) * t) ** 2
            return stats.norm.pdf(np.log(u / (1 - u))) / (u * (1 - u)) * slope

        for own in SPANS:
            wanted = sum(integrate.quad(density, max(low, 1e-9), min(high, 1 - 1e-9))[0] for low, high in own)
            assert dataclasses.replace(whole, spans=own).mass == pytest.approx(wanted, abs=1e-6)


def test_times_far_out_in_a_tail_are_as_fine_as_the_distribution():
    part = dataclasses.replace(objective("logit_normal"), spans=((0.999, 1.0),))
    t = np.asarray(part.draw_times(jax.random.key(0), COUNT), np.float64)
    low = stats.norm.sf(np.log(0.999 / 0.001))
    assert part.mass == pytest.approx(low, rel=1e-9)
    assert len(np.unique(t)) > 1000  # floats near 1 are 6e-8 apart
    assert stats.kstest(t, lambda x: 1 - stats.norm.sf(np.log(x / (1 - x))) / low).pvalue > 0.01


def test_steps_of_the_chain_are_drawn_evenly_and_each_in_one_span():
    whole = objective("uniform", path="vp")
    steps = [spans.steps_in(own) for own in SPANS]
    assert sorted(np.concatenate(steps).tolist()) == list(range(1000))
    assert 120 in steps[1]
    assert 119 in steps[0]
    assert 950 in steps[2]
    part = dataclasses.replace(whole, spans=SPANS[0])
    assert part.mass == len(steps[0]) / 1000 == 0.37
    t = part.draw_times(jax.random.key(0), COUNT)
    drawn, counts = np.unique(np.round(np.asarray(t) * 1000).astype(int), return_counts=True)
    assert drawn.tolist() == steps[0].tolist()
    assert stats.chisquare(counts).pvalue > 0.01
    assert np.isin(np.asarray(t), (jnp.arange(1000).astype(jnp.float32) / 1000)).all()  # as the whole path's


def test_without_spans_times_are_the_same_bits():
    for times in ("uniform", "logit_normal"):
        whole = objective(times)
        t = whole.draw_times(jax.random.key(3), 8)
        plain = {"uniform": diffusion._times.uniform, "logit_normal": diffusion._times.logit_normal}[times]
        assert np.array_equal(t, plain(jax.random.key(3), 8, jnp.float32))
        assert whole.mass == 1
