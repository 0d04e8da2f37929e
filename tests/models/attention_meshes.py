"""Run by `test_attention_seam.py` with 4 virtual devices: attention inside `jax.shard_map` against none.

python -m tests.models.attention_meshes    prints a JSON object {case: largest difference}
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from ptdit_jax.models.attention import attend
from ptdit_jax.models.attention.cudnn import cudnn_attention
from ptdit_jax.models.attention.splash import splash_attention
from ptdit_jax.models.attention.tokens import token_attention
from ptdit_jax.models.attention.windows import window_attention
from ptdit_jax.parallel.mesh import make_mesh
from tests.models.tiny import FAST

KEYS = np.arange(6) < np.array([[6], [2], [5], [1]])
REGIONS = np.array([[0, 1, 0, 1], [2, 2, 2, 5]])


def total(kernel, masks, sharded, q, k, v):
    """A number whose gradient tells outputs of all devices apart; `sharded`: a mesh, places of q, of k, of masks."""
    attention = functools.partial(kernel, **masks)
    if sharded is not None:
        mesh, of_q, of_k, of_masks = sharded
        run = jax.shard_map(
            lambda q, k, v, masks: kernel(q, k, v, **masks),
            mesh=mesh,
            in_specs=(of_q, of_k, of_k, of_masks),
            out_specs=of_q,
        )
        attention = lambda q, k, v: run(q, k, v, masks)  # noqa: E731
    return jnp.sum(jnp.sin(3 * attention(q, k, v)))


def main() -> None:
    """Compare and print."""
    mesh = make_mesh({"data": 2, "fsdp": 1, "tensor": 2})
    rng = np.random.default_rng(0)
    samples, shared = P("data", None, "tensor"), P(None, None, "tensor")
    of_windows = P("data", None, None, "tensor")
    # Shapes of q and k, masks, their places, those of q and of k.
    to_own_keys = ((4, 8, 2, 8), (4, 6, 2, 8), {"keys": KEYS}, {"keys": P("data")}, samples, samples)
    to_shared_keys = ((4, 8, 2, 8), (1, 6, 2, 8), {}, {}, samples, shared)
    cases = {
        "splash": (splash_attention, *to_own_keys),
        "splash, shared keys": (splash_attention, *to_shared_keys),
        "tokens": (token_attention, *to_own_keys),
        "tokens, shared keys": (token_attention, *to_shared_keys),
        "cudnn": (cudnn_attention, *to_own_keys),
        "windows": (
            window_attention,
            (4, 2, 4, 2, 8),
            (4, 2, 4, 2, 8),
            {"regions": REGIONS},
            {"regions": P()},
            of_windows,
            of_windows,
        ),
    }
    found = {}
    for name, (kernel, of_q, of_k, masks, places, spec_q, spec_k) in cases.items():
        how = {"implementation": "xla"} if kernel is cudnn_attention else {"interpret": True}

        def ours(q, k, v, kernel=kernel, how=how, **masks):
            k, v = (jnp.broadcast_to(x, (q.shape[0], *x.shape[1:])) for x in (k, v))
            return kernel(q, k, v, **masks, **how)

        def plain(q, k, v, **masks):
            k, v = (jnp.broadcast_to(x, (q.shape[0], *x.shape[1:])) for x in (k, v))
            return attend(q, k, v, **masks)

        arrays = [rng.standard_normal(shape).astype(np.float32) for shape in (of_q, of_k, of_k)]
        sums = [
            functools.partial(total, ours, masks, (mesh, spec_q, spec_k, places)),
            functools.partial(total, plain, masks, None),
        ]
        each = [
            jax.jit(jax.value_and_grad(one, argnums=(0, 1, 2)), compiler_options=FAST)(*arrays)
            for one in sums
        ]
        pairs = zip(*map(jax.tree.leaves, each), strict=True)
        found[name] = max(float(np.abs(np.asarray(one) - np.asarray(other)).max()) for one, other in pairs)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
