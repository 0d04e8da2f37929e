"""Costs of small compiled programs on eight CPU devices, as JSON: python -m tests.plan.compiled (see test_compiled)."""

import json
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from ptdit_jax.parallel import topology
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.plan import hlo, hlo_cost

SIZES = {"data": 2, "fsdp": 1, "tensor": 1, "context": 4}
OUTER, INNER, ROWS, WIDTH = 3, 5, 32, 16


def layers(mesh: Any, x: jax.Array, weights: jax.Array) -> jax.Array:
    """A product and a sum over "context" in each of the layers; rows are split over "data"."""

    @partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(P("data", "context"), P(None, "context")),
        out_specs=P("data", "context"),
    )
    def run(x, weights):
        def layer(x, weight):  # x (ROWS/2, WIDTH/4), weight (WIDTH/4, WIDTH)
            y = jax.lax.psum(x @ weight, "context")
            return jax.lax.dynamic_slice_in_dim(
                y, jax.lax.axis_index("context") * x.shape[1], x.shape[1], 1
            ), None

        return jax.lax.scan(layer, x, weights)[0]

    return run(x, weights)


def nested(mesh: Any, x: jax.Array) -> jax.Array:
    """INNER passes to the neighbour along "context", OUTER times."""

    @partial(jax.shard_map, mesh=mesh, in_specs=P("data", "context"), out_specs=P("data", "context"))
    def run(x):
        def outer(x, _):
            def inner(x, _):
                moved = jax.lax.ppermute(x, "context", [(i, (i + 1) % 4) for i in range(4)])
                return jnp.sin(moved) + x, None

            return jnp.cos(jax.lax.scan(inner, x, length=INNER)[0]), None

        return jax.lax.scan(outer, x, length=OUTER)[0]

    return run(x)


def main() -> None:
    """Compile and print."""
    mesh = make_mesh(SIZES, topology.devices(topology.parse("cpu:8")))
    on_mesh = lambda *shape, spec: jax.ShapeDtypeStruct(  # noqa: E731
        shape, jnp.float32, sharding=NamedSharding(mesh, spec)
    )
    x = on_mesh(ROWS, WIDTH, spec=P("data", "context"))
    weights = on_mesh(OUTER * INNER, WIDTH, WIDTH, spec=P(None, "context"))
    costs = {}
    for name, function, arguments in (("layers", layers, (x, weights)), ("nested", nested, (x,))):
        compiled = jax.jit(partial(function, mesh)).lower(*arguments).compile()
        cost = hlo_cost.program_cost(hlo.parse(compiled.as_text()), mesh.shape)
        costs[name] = {
            "flops": cost.flops,
            "unknown_loops": sorted(cost.unknown_loops),
            "collectives": [
                [c.kind, list(c.axes), c.received, n] for c, n in sorted(cost.collectives.items(), key=str)
            ],
        }
    print(json.dumps(costs))


if __name__ == "__main__":
    main()
