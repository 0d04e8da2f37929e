"""`benchmarks.cpu_share` and the yardstick that both benchmarks of shares have."""

import jax.numpy as jnp
import pytest

from benchmarks import cpu_share, timing
from ptdit_jax import config as rules
from ptdit_jax.cost.count import measure


@pytest.fixture
def clock(monkeypatch):
    """Seconds that only calls spend."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


def test_times_are_medians_of_enough_calls(clock):
    def spend(times):
        def call():
            clock[0] += next(times)
            return jnp.zeros(())

        return call

    assert timing.median_seconds(spend(iter([5.0, 1.0, 2.0])), 1.0) == (2.0, 3)
    assert timing.median_seconds(spend(iter([0.25] * 9)), 2.0) == (0.25, 8)


def test_a_peak_counts_two_flops_a_product(monkeypatch):
    monkeypatch.setattr(timing, "median_seconds", lambda call, seconds: (call().shape[0] * 1e-3, 3))
    assert timing.matrix_peak("float32", (4, 8), 1.0) == pytest.approx(
        {4: 2 * 4**3 / 4e-3, 8: 2 * 8**3 / 8e-3}
    )


@pytest.mark.parametrize(("side", "window"), [(32, (1, 2, 2)), (64, (1, 4, 4)), (128, (1, 8, 8))])
def test_the_network_is_the_text_one_of_size_s(side, window):
    """By `ptdit_jax.cost`, which builds the config by itself."""
    config = cpu_share.config_of(side, "dots", 1, small=False)
    rules.validate(config, check_data=False)
    found = measure("S", config, None)
    built = cpu_share.light_build.build(config, "cpu")
    assert (found.arch.depth, found.arch.width, found.arch.condition) == (10, 288, "text")
    assert built.arch == found.arch
    assert built.layout.window == window
    assert built.macs == sum(part.total for part in found.sizes[0].parts.values())


@pytest.mark.full
def test_the_command_prints_both_passes(capsys):
    assert cpu_share.main(["--latents", "32", "--seconds", "0.01", "--small", "--remat", "none"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith("| 32x32")]
    assert [row.split("|")[5].strip() for row in rows] == ["forward", "forward+backward"]
    assert all(0 < float(row.split("|")[-2].strip().rstrip("%")) < 100 for row in rows)
    assert any(line.startswith("peak of float32 products: ") for line in lines)


def test_unknown_latents_are_one_line():
    with pytest.raises(ValueError, match="--latents 48: must be of 32, 64, 128"):
        cpu_share.main(["--latents", "32,48"])
