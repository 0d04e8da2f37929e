"""Proxy tokens: extraction, their global attention, injection into all tokens (GIIM, Eq. 1 of arXiv 2409.04005).

Shapes: B batch, M windows, n tokens a window, P proxies (M of them, or M·sh·sw when a window keeps several),
N = M·n tokens, D width.  m, p: windows and proxies of one device, all of them without context parallelism
(`models.window`).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx

from ptdit_jax.models.attention import CrossAttention, SelfAttention
from ptdit_jax.models.layers import Linear, gated, modulated_norm, zeros
from ptdit_jax.models.variants import Architecture
from ptdit_jax.models.window import Windowing, partition

Modulation = dict[str, tuple[jax.Array | None, jax.Array | None, jax.Array | None]]


def proxy_groups(z, layout: Windowing):
    """The tokens that each proxy stands for: (B, M, n, D) -> (B, P, g, D), g = n / (sh·sw).

    Proxy (j, k) of a window has its tokens with y mod sh = j and x mod sw = k, in order (window, j, k).
    """
    (cf, ch, cw), (_, sh, sw) = layout.window, layout.strides
    pattern = "b m (cf ph sh pw sw) d -> b (m sh sw) (cf ph pw) d"
    return rearrange(z, pattern, cf=cf, ph=ch // sh, sh=sh, pw=cw // sw, sw=sw)


def proxy_valid(valid, layout: Windowing):
    """Which tokens of each proxy exist, from `layout.valid` or a share of it: (m, n) bool -> (p, g) bool.

    A row is all False for a proxy of padding alone.
    """
    return proxy_groups(valid[None, ..., None], layout)[0, ..., 0]


def extract_average(z: jax.Array, layout: Windowing, keys: jax.Array | None = None) -> jax.Array:
    """Averaging(z) of Eq. 1: the mean over each proxy's real tokens, in float32; (B, m, n, D) -> (B, p, D)."""
    del keys
    groups = proxy_groups(z, layout)  # (B, p, g, D)
    if not layout.is_padded:
        return jnp.mean(groups, axis=2, dtype=jnp.float32).astype(z.dtype)
    valid = proxy_valid(layout.own(layout.valid), layout).astype(jnp.float32)
    weights = valid / jnp.maximum(valid.sum(1, keepdims=True), 1)  # (p, g)
    return jnp.sum(groups.astype(jnp.float32) * weights[..., None], 2).astype(z.dtype)


def extract_top_left(z: jax.Array, layout: Windowing, keys: jax.Array | None = None) -> jax.Array:
    """The first token of each proxy (Table 2, "top-left"); (B, m, n, D) -> (B, p, D)."""
    del keys
    return proxy_groups(z, layout)[:, :, 0]


def extract_random(z: jax.Array, layout: Windowing, keys: jax.Array | None = None) -> jax.Array:
    """One uniformly drawn real token of each proxy and sample (Table 2, "random"); (B, m, n, D) -> (B, p, D).

    Every sample draws for all its windows, so that the draws do not depend on which device has them.

    Raises:
      ValueError: without keys.
    """
    if keys is None:
        raise ValueError(
            "extraction='random' draws tokens: call the network with keys=jax.random.split(key, B), one a sample"
        )
    draws = jax.vmap(lambda key: jax.random.uniform(key, (layout.windows, layout.window_tokens)))(keys)
    draws = proxy_groups(draws[:, layout.own(np.arange(layout.windows)), :, None], layout)[
        ..., 0
    ]  # (B, p, g)
    return _pick(
        proxy_groups(z, layout), jnp.where(proxy_valid(layout.own(layout.valid), layout), draws, -1.0)
    )


def extract_similarity(z: jax.Array, layout: Windowing, keys: jax.Array | None = None) -> jax.Array:
    """The real token with the largest sum of cosine similarities to the others (Table 2); (B, m, n, D) -> (B, p, D)."""
    del keys
    groups = proxy_groups(z, layout)
    valid = proxy_valid(layout.own(layout.valid), layout)[..., None]  # (p, g, 1)
    x = groups.astype(jnp.float32)
    unit = x * jax.lax.rsqrt(jnp.sum(x * x, -1, keepdims=True) + 1e-12) * valid
    # A token's similarity to itself adds one to every sum alike, so the sum over all serves as well.
    # Rounded, so that equal sums (those of two tokens always are) go to the first whatever the order of summation.
    total = jnp.round(jnp.sum(unit * jnp.sum(unit, 2, keepdims=True), -1), 4)  # (B, p, g)
    return _pick(groups, jnp.where(valid[..., 0], total, -jnp.inf))


def _pick(groups: jax.Array, score: jax.Array) -> jax.Array:
    index = jnp.argmax(score, axis=2)[:, :, None, None]  # (B, P, 1, 1)
    return jnp.take_along_axis(groups, index, axis=2)[:, :, 0]


EXTRACTIONS: dict[str, Callable[..., jax.Array]] = {
    "average": extract_average,
    "top_left": extract_top_left,
    "random": extract_random,
    "similarity": extract_similarity,
}
INJECTIONS = ("cross_attention", "interpolate", "linear")


def interpolate_proxies(proxies: jax.Array, layout: Windowing) -> jax.Array:
    """Bilinear (trilinear in video) upsampling of one proxy a window to the grid: (B, m, D) -> (B, m, n, D)."""
    order = np.argsort(layout.gathered(np.arange(layout.windows)))
    proxies = layout.gather(proxies, axis=1)[:, order] if layout.parts > 1 else proxies  # (B, M, D)
    grid = rearrange(proxies, "b (f h w) d -> b f h w d", f=layout.counts[0], h=layout.counts[1])
    f, h, w = layout.real_counts  # proxies of padding alone are no neighbours
    whole = [m * c for m, c in zip(layout.real_counts, layout.window, strict=True)]
    grid = jax.image.resize(grid[:, :f, :h, :w], (grid.shape[0], *whole, grid.shape[-1]), "linear")
    pads = [(0, p - s) for s, p in zip(whole, layout.padded, strict=True)]
    tokens = partition(jnp.pad(grid, [(0, 0), *pads, (0, 0)]), layout.window)  # (B, M, n, D)
    return tokens if layout.parts == 1 else tokens[:, layout.own(np.arange(layout.windows))]


def check_injection(injection: str, layout: Windowing, linear_tokens: int = 0) -> None:
    """What an injection cannot do at a size.

    Raises:
      ValueError: for several proxies a window without cross-attention, or `linear` at another window than its own.
    """
    if injection != "cross_attention" and layout.strides != (1, 1, 1):
        raise ValueError(
            f"injection={injection!r} takes one proxy a window: leave proxy_ratio={layout.proxy} unset"
        )
    if injection == "linear" and layout.window_tokens != linear_tokens:
        raise ValueError(
            f"injection='linear' has parameters for windows of {linear_tokens} tokens, not {layout.window} "
            f"({layout.window_tokens} tokens): use the window that the model was made with"
        )


class GIIM(nnx.Module):
    """Global Information Interaction Module, Eq. 1: z + CS(z, SA(Averaging(z))).

    Proxies are taken fresh from z, attend to each other, and reach every token by cross-attention (or, as
    ablations of Table 2, by interpolation or a Linear that gives each token of a window its own projection).
    """

    def __init__(self, arch: Architecture, *, dtype, rngs: nnx.Rngs):
        width, heads = arch.width, arch.heads
        self.extraction = arch.extraction
        self.injection = arch.injection
        self.linear_tokens = arch.linear_tokens
        self.dtype = dtype
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs, **arch.attention_options}
        self.self_attention = SelfAttention(width, heads, **options)
        if arch.injection == "cross_attention":
            self.cross_attention = CrossAttention(width, heads, **options)
        elif arch.injection == "linear":
            shape = (arch.linear_tokens, width)
            self.expand = Linear(width, shape, ("embed", None), dtype=dtype, rngs=rngs)
        self.linear_1 = (
            Linear(width, width, ("embed", None), dtype=dtype, rngs=rngs, init=zeros)
            if arch.zero_linears
            else None
        )

    def __call__(
        self, z: jax.Array, modulation: Modulation, layout: Windowing, keys: jax.Array | None
    ) -> jax.Array:
        """(B, m, n, D) -> (B, m, n, D); `modulation` has (shift, scale, gate) for proxy, injection, injection_kv."""
        return z + self.update(z, modulation, layout, keys)

    def update(
        self, z: jax.Array, modulation: Modulation, layout: Windowing, keys: jax.Array | None
    ) -> jax.Array:
        """What a call adds to z, (B, m, n, D)."""
        check_injection(self.injection, layout, self.linear_tokens)
        proxies = EXTRACTIONS[self.extraction](z, layout, keys)  # (B, p, D)
        exists = proxy_valid(layout.gathered(layout.valid), layout).any(1)
        keys_of = None if exists.all() else exists  # (P,): proxies whose sub-grid is all padding are no keys
        gather = functools.partial(layout.gather, axis=-3)  # keys, values: (B, p, H, d) -> (B, P, H, d)

        shift, scale, gate = modulation["proxy"]
        normed = modulated_norm(proxies, shift, scale, self.dtype)
        proxies = proxies + gated(self.self_attention(normed, keys=keys_of, gather=gather), gate)  # (B, p, D)

        shift, scale, _ = modulation["injection_kv"]
        context = modulated_norm(proxies, shift, scale, self.dtype)  # (B, p, D)
        shift, scale, gate = modulation["injection"]
        if self.injection == "cross_attention":
            query = modulated_norm(z, shift, scale, self.dtype)  # (B, m, n, D)
            flat = query.reshape(z.shape[0], -1, z.shape[-1])  # (B, m·n, D)
            update = self.cross_attention(flat, context, keys=keys_of, gather=gather).reshape(z.shape)
        elif self.injection == "interpolate":
            update = interpolate_proxies(context, layout)
        else:
            update = self.expand(context)  # (B, m, n, D)
        if self.linear_1 is not None:
            update = self.linear_1(update)
        return gated(update, gate)
