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

from ptdit_jax.models.ptdit import Condition, Slabs
from ptdit_jax.models.window import Triple, Windowing
from ptdit_jax.parallel.rules import param_specs, spec
from ptdit_jax.training.denoising import Network


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
    """`denoising.make_network`, over a mesh.

    Args:
      graphdef: of the network.
      abstract: its parameters, with the names of their axes.
      mesh: the devices.
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

    def network(params: Any, x: jax.Array, t: jax.Array, condition: Condition, keys: jax.Array) -> jax.Array:
        slabs = Slabs(x.shape[2:], layout.parts) if layout.parts > 1 else None

        def share(
            params: Any, x: jax.Array, t: jax.Array, condition: Condition, keys: jax.Array
        ) -> jax.Array:
            return nnx.merge(graphdef, params)(
                x, t, condition, window=window, proxy_ratio=proxy_ratio or None, keys=keys, slabs=slabs
            )

        run = jax.shard_map(
            share,
            mesh=mesh,
            in_specs=(param_specs(abstract, mesh), latents, samples, samples, samples),
            out_specs=latents,
        )
        if padding:
            x = jnp.pad(x, [(0, padding if i == axis else 0) for i in range(5)])
        y = run(params, x, t, condition, keys)
        return jax.lax.slice_in_dim(y, 0, y.shape[axis] - padding, axis=axis) if padding else y

    return network


def latent_spec(layout: Windowing, mesh: Mesh) -> PartitionSpec:
    """Where arrays (B, C, F, H, W) lie that the network is called with; see `make_sharded_network`."""
    return spec(
        ("batch", None, *("slab" if i == layout.axis and layout.parts > 1 else None for i in range(3))), mesh
    )
