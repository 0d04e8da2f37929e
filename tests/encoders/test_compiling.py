"""How encoders are compiled on a CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ptdit_jax.encoders import compiling


@pytest.fixture
def asked_anew():
    compiling._known.cache_clear()
    yield
    compiling._known.cache_clear()


def test_products_of_float32_alone_are_compiled_otherwise_and_only_where_xla_can(asked_anew, monkeypatch):
    assert compiling.options(jnp.bfloat16) is None
    given = compiling.options(jnp.float32)
    x, w = (jnp.asarray(np.random.default_rng(i).standard_normal((64, 64)), jnp.float32) for i in (0, 1))
    run = jax.jit(jnp.matmul, compiler_options=given)
    np.testing.assert_allclose(run(x, w), np.asarray(x) @ np.asarray(w), rtol=1e-4, atol=1e-4)
    if given is not None:
        assert (
            "fusion" not in run.lower(x, w).compile().as_text()
        )  # the product itself, in no library's hands

    compiling._known.cache_clear()
    monkeypatch.setattr(compiling, "PLAIN_PRODUCTS", {"xla_cpu_no_such_option": ""})
    assert compiling.options(jnp.float32) is None


def test_what_is_stored_is_the_same():
    x = jnp.arange(6.0).reshape(2, 3)
    assert (jax.jit(lambda x: compiling.stored(x.T))(x) == x.T).all()
