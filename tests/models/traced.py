"""The multiply-accumulates of a network as it is traced, to hold analytic counts against."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import jaxprs_in_params

from ptdit_jax.models import complexity

TEXT_TOKENS = 5


def inputs(arch, size, text_tokens=TEXT_TOKENS):
    """Abstract arguments (x, t, condition) for one sample of latent `size`."""
    condition = {
        "none": None,
        "class": jax.ShapeDtypeStruct((1,), jnp.int32),
        "text": (
            jax.ShapeDtypeStruct((1, text_tokens, arch.text_dim), jnp.float32),
            jax.ShapeDtypeStruct((1, text_tokens), jnp.bool_),
        ),
    }[arch.condition]
    x = jax.ShapeDtypeStruct((1, arch.channels, *size), jnp.float32)
    return x, jax.ShapeDtypeStruct((1,), jnp.float32), condition


def call(network, window, proxy_ratio=None):
    """The network as a function of arrays, and its abstract parameters."""
    graphdef, params = nnx.split(network)
    random = network.arch.extraction == "random"

    def apply(params, x, t, condition):
        keys = jax.random.split(jax.random.key(0), len(t)) if random else None
        model = nnx.merge(graphdef, params)
        return model(x, t, condition, window=window, proxy_ratio=proxy_ratio, keys=keys)

    return apply, params


def traced(jaxpr):
    """The products in a jaxpr and all it calls, a scan's body once a step; attention's have batch axes."""
    macs = complexity.Macs()
    for equation in jaxpr.eqns:
        assert equation.primitive.name != "conv_general_dilated", "a product that is not counted here"
        if equation.primitive.name == "dot_general":
            (contract, _), (batch, _) = equation.params["dimension_numbers"]
            contracted = math.prod(equation.invars[0].aval.shape[axis] for axis in contract)
            count = math.prod(equation.outvars[0].aval.shape) * contracted
            macs += complexity.Macs(attention=count) if batch else complexity.Macs(linear=count)
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        for inner in jaxprs_in_params(equation.params):
            macs += traced(inner) * times
    return macs


def traced_macs(arch, size, window, proxy_ratio=None, text_tokens=TEXT_TOKENS):
    apply, params = call(complexity.abstract(arch), window, proxy_ratio)
    return traced(jax.make_jaxpr(apply)(params, *inputs(arch, size, text_tokens)).jaxpr)
