"""The network over a mesh: each device runs it on its samples, its heads and its slab of the latents.

Nothing is left to the partitioner: parameters are gathered where they are used (`axes.whole`), heads and hidden
features are summed over `tensor` (`axes.reduce_tensor`), and along `context` a device exchanges half a window with
its neighbours for shifted windows and gathers the proxies' keys and values (`models.window`, `models.proxy`).

Shapes: B samples, C channels, F frames, H height, W width.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, PartitionSpec

from ptdit_jax.models.ptdit import Condition, Kept, Slabs
from ptdit_jax.models.window import Triple, Windowing
from ptdit_jax.parallel.rules import param_specs, spec
from ptdit_jax.training.denoising import KeepingNetwork, Network


def make_sharded_network(
    graphdef: nnx.GraphDef,
    abstract: nnx.State,
    mesh: Mesh,
    *,
    layout: Windowing,
    patches: tuple[int, int],
    window: Triple,
    proxy_ratio: tuple[int, ...] = (),
) -> Network:
    """`denoising.make_network`, over a mesh; arguments as of `make_sharded_keeping_network`."""
    how: dict[str, Any] = {"layout": layout, "patches": patches, "window": window, "proxy_ratio": proxy_ratio}
    keeping = make_sharded_keeping_network(graphdef, abstract, mesh, "nothing", **how)

    def network(params: Any, x: jax.Array, t: jax.Array, condition: Condition, keys: jax.Array) -> jax.Array:
        return keeping(params, x, t, condition, keys, None)[0]

    return network


def make_sharded_keeping_network(
    graphdef: nnx.GraphDef,
    abstract: nnx.State,
    mesh: Mesh,
    keep: str,
    *,
    layout: Windowing,
    patches: tuple[int, int],
    window: Triple,
    proxy_ratio: tuple[int, ...] = (),
) -> KeepingNetwork:
    """`denoising.make_keeping_network`, over a mesh: each device keeps what is of its samples and its slab.

    Args:
      graphdef: of the network.
      abstract: its parameters, with the names of their axes.
      mesh: the devices.
      keep: what, one of `models.ptdit.KEEPS`.
      layout: of the tokens, with `parts` = the size of the mesh axis "context".
      patches: latent pixels a token covers along height and width.
      window: (p_f, p_h, p_w) tokens.
      proxy_ratio: as the network's call takes it; () = one proxy a window.
    """
    axis = layout.axis + 2  # of (B, C, F, H, W)
    latents = spec(("batch", None, *("slab" if i == axis else None for i in (2, 3, 4))), mesh)
    samples = spec(("batch",), mesh)
    pixels = (1, *patches)[layout.axis]
    padding = (layout.padded[layout.axis] - layout.grid[layout.axis]) * pixels if layout.parts > 1 else 0

    tokens = ("batch", "slab" if layout.parts > 1 else None, None, None)  # (B, m, n, D)
    keeps = spec((None, *tokens) if keep == "global" else tokens, mesh)

    def network(
        params: Any, x: jax.Array, t: jax.Array, condition: Condition, keys: jax.Array, kept: Kept
    ) -> tuple[jax.Array, Kept]:
        slabs = Slabs(x.shape[2:], layout.parts) if layout.parts > 1 else None

        def share(
            params: Any, x: jax.Array, t: jax.Array, condition: Condition, keys: jax.Array, kept: Kept
        ) -> tuple[jax.Array, Kept]:
            how: dict[str, Any] = {"window": window, "proxy_ratio": proxy_ratio or None, "keys": keys}
            module = nnx.merge(graphdef, params)
            return module.with_kept(x, t, condition, kept, keep=keep, slabs=slabs, **how)

        run = jax.shard_map(
            share,
            mesh=mesh,
            in_specs=(param_specs(abstract, mesh), latents, samples, samples, samples, keeps),
            out_specs=(latents, keeps),
        )
        if padding:
            x = jnp.pad(x, [(0, padding if i == axis else 0) for i in range(5)])
        y, kept = run(params, x, t, condition, keys, kept)
        return jax.lax.slice_in_dim(y, 0, y.shape[axis] - padding, axis=axis) if padding else y, kept

    return network


def latent_spec(layout: Windowing, mesh: Mesh) -> PartitionSpec:
    """Where arrays (B, C, F, H, W) lie that the network is called with; see `make_sharded_network`."""
    return spec(
        ("batch", None, *("slab" if i == layout.axis and layout.parts > 1 else None for i in range(3))), mesh
    )
