"""`benchmarks.cpu_share` and the yardstick that both benchmarks of shares have."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import cpu_share, light_build, timing
from benchmarks.products import products_of
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


@pytest.mark.parametrize("side", [32, 128])
def test_its_products_are_those_that_are_counted(side):
    """All of the forward pass, by shapes traced from the network; three times as many with the backward pass."""
    built = light_build.build(cpu_share.config_of(side, "none", 1, small=False), "cpu")
    params = jax.eval_shape(lambda: light_build.random_params(built, jax.random.key(0)))
    given = jax.eval_shape(lambda: light_build.random_batch(built, jax.random.key(0), 2))

    def forward(params, given):
        t, keys = jnp.full(2, 0.5), jax.random.split(jax.random.key(1), 2)
        return built.network(params, given["x"], t, (given["text"], given["text_mask"]), keys)

    def flops(function):
        return sum(product.flops * times for product, times in products_of(function, params, given).items())

    once = flops(forward)
    assert once == 2 * 2 * built.macs
    # Nothing is differentiated in the latents, so their own product has one in the backward pass, not two.
    assert 2.96 * once < flops(jax.grad(lambda *given: jnp.sum(forward(*given)))) < 3 * once


def test_products_in_loops_count_as_often_as_they_run():
    def function(x, w):
        inner = jax.jit(lambda x: jnp.einsum("bij,jk->bik", x, w))
        return jax.lax.scan(lambda x, _: (inner(inner(x)), None), x, length=3)[0] @ w

    arrays = jax.ShapeDtypeStruct((2, 5, 4), jnp.float32), jax.ShapeDtypeStruct((4, 4), jnp.float32)
    ((product, times),) = products_of(function, *arrays).items()
    assert times == 3 * 2 + 1
    assert product.flops == 2 * 2 * 5 * 4 * 4
    assert product.seconds(1e-6) > 0


def test_products_of_an_unknown_number_of_runs_are_refused():
    def function(x):
        return jax.lax.while_loop(lambda x: x[0, 0] < 1, lambda x: x @ x, x)

    with pytest.raises(ValueError, match="'while' is in the function"):
        products_of(function, jax.ShapeDtypeStruct((2, 2), jnp.float32))


@pytest.mark.full
def test_the_command_prints_both_passes(capsys):
    assert cpu_share.main(["--latents", "32", "--seconds", "0.01", "--small", "--remat", "none"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith("| 32x32")]
    assert [row.split("|")[5].strip() for row in rows] == ["forward", "forward+backward"]
    shares = [[float(cell.strip().rstrip("%")) for cell in row.split("|")[-3:-1]] for row in rows]
    assert all(0 < share < 100 and alone > 0 for share, alone in shares)
    assert any(line.startswith("peak of float32 products: ") for line in lines)


def test_unknown_latents_are_one_line():
    with pytest.raises(ValueError, match="--latents 48: must be of 32, 64, 128"):
        cpu_share.main(["--latents", "32,48"])
