"""The encoder of T5, and of what has its blocks: T5 v1.1, mT5, ByT5, and UMT5, whose bias is each block's own.

T5 is arXiv 1910.10683; v1.1 has a gated MLP (arXiv 2002.05202), mT5 (arXiv 2010.11934) and ByT5 (arXiv 2105.13626)
are v1.1 with other tokens, and UMT5 (arXiv 2304.09151) has a relative bias in every block.

Shapes: K captions, L tokens, E width (features of a state), H heads, d head width, M hidden width of the MLP, N blocks,
V tokens of the vocabulary, R buckets of relative positions.

The network runs under plain `jax.jit`.  Its parameters name their axes as those of every network do, so that
`parallel.rules` splits q, k, v and the first layers of the MLP by columns and what follows them by rows; the
partitioner adds the sums.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ptdit_jax.encoders.compiling import stored
from ptdit_jax.models.layers import parameter, zeros

KINDS = ("t5", "mt5", "umt5")
"""What `model_type` may be; that of ByT5 is "t5"."""
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "silu": jax.nn.silu,
}
ones = nnx.initializers.ones_init()


@dataclasses.dataclass(frozen=True)
class T5Architecture:
    """What a folder's config.json says of its encoder.

    Attributes:
      vocabulary: V.
      width: E.
      heads: H.
      head_width: d; H·d need not be E.
      hidden: M.
      depth: N.
      gated: the MLP is W3·(act(W1·x) ⊙ W2·x), not W2·act(W1·x).
      activation: a name of `ACTIVATIONS`.
      own_bias: every block has a relative bias of its own (UMT5); else all have that of the first.
      buckets: R, half of them for keys after the query.
      max_distance: tokens from which on all pairs share the last bucket.
      eps: of the norms.
    """

    vocabulary: int
    width: int
    heads: int
    head_width: int
    hidden: int
    depth: int
    gated: bool
    activation: str
    own_bias: bool
    buckets: int = 32
    max_distance: int = 128
    eps: float = 1e-6

    @property
    def inner(self) -> int:
        """H·d, the columns of q, k and v."""
        return self.heads * self.head_width


def read_architecture(facts: Mapping[str, Any], where: str) -> T5Architecture:
    """The architecture that a config.json of `transformers` describes.

    Args:
      facts: its content.
      where: its name, for messages.

    Raises:
      ValueError: it is of another network, or a number is none that an encoder can have.
    """
    kind = facts.get("model_type")
    if kind not in KINDS:
        raise ValueError(
            f"{where}: model_type is {kind!r}; it must be one of {', '.join(map(repr, KINDS))} (T5, ByT5, mT5, UMT5)"
        )

    def number(name: str, default: int | None = None) -> int:
        value = facts.get(name, default)
        if type(value) is not int or value < 1:
            raise ValueError(f"{where}: {name} is {value!r}; it must be a whole number of at least 1")
        return value

    form = facts.get("feed_forward_proj", "relu" if kind == "t5" else "gated-gelu")
    gate, _, activation = str(form).rpartition("-")
    if form == "gated-gelu":
        activation = "gelu_new"  # the tanh form, by the name that v1.1's files have for it
    if gate not in ("", "gated") or activation not in ACTIVATIONS:
        raise ValueError(
            f"{where}: feed_forward_proj is {form!r}; it must be one of {', '.join(ACTIVATIONS)}, alone or after "
            "'gated-'"
        )
    eps = facts.get("layer_norm_epsilon", 1e-6)
    if not isinstance(eps, float) or not 0 < eps < 1:
        raise ValueError(f"{where}: layer_norm_epsilon is {eps!r}; it must be a number in (0, 1)")
    buckets, furthest = (
        number(f"relative_attention_{name}", value)
        for name, value in (("num_buckets", 32), ("max_distance", 128))
    )
    if buckets % 4 or furthest <= buckets // 4:
        raise ValueError(
            f"{where}: relative_attention_num_buckets is {buckets} and relative_attention_max_distance {furthest}; the "
            "first must be a multiple of 4, the second above a quarter of it"
        )
    return T5Architecture(
        vocabulary=number("vocab_size"),
        width=number("d_model"),
        heads=number("num_heads"),
        head_width=number("d_kv"),
        hidden=number("d_ff"),
        depth=number("num_layers"),
        gated=gate == "gated",
        activation=activation,
        own_bias=kind == "umt5",
        buckets=buckets,
        max_distance=furthest,
        eps=eps,
    )


def relative_buckets(length: int, buckets: int, max_distance: int) -> np.ndarray:
    """The bucket (L, L) int32 of every pair (query, key).

    Half of the buckets are for keys after the query.  Half of each half are for one distance each, and the others
    grow by equal factors up to `max_distance` tokens.
    """
    distance = np.arange(length)[None, :] - np.arange(length)[:, None]
    half, exact = buckets // 2, buckets // 4
    # In float32 and this order, because some distances lie on an edge of two buckets.
    ratio = np.maximum(np.abs(distance), 1).astype(np.float32) / np.float32(exact)
    steps = np.log(ratio) / np.float32(math.log(max_distance / exact)) * np.float32(half - exact)
    grown = np.minimum(exact + steps.astype(np.int32), half - 1)
    bucket = np.where(np.abs(distance) < exact, np.abs(distance), grown)
    return (bucket + np.where(distance > 0, half, 0)).astype(np.int32)


def rms_norm(x: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
    """x / sqrt(mean(x²) + eps)·scale over the last axis, (..., E) -> (..., E) float32."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps) * scale.astype(jnp.float32)


def attend(
    q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array, mask: jax.Array, heads: int
) -> jax.Array:
    """Attention of logits q·k + bias, which are not scaled, with a softmax in float32.

    Args:
      q: (K, L, H·d).
      k: (K, L, H·d).
      v: (K, L, H·d).
      bias: (H, L, L) float32, of (query, key).
      mask: (K, L) bool, the keys that count.
      heads: H.

    Returns:
      (K, L, H·d) in the dtype of v.
    """
    shape = v.shape
    q, k, v = (
        stored(part.reshape(*shape[:2], heads, -1).swapaxes(1, 2)) for part in (q, k, v)
    )  # (K, H, L, d)
    logits = jnp.einsum("khqd,khld->khql", q, k, preferred_element_type=jnp.float32) + bias  # (K, H, L, L)
    logits = stored(
        jnp.where(mask[:, None, None], logits, jnp.finfo(jnp.float32).min)
    )  # finite without any key too
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    return jnp.einsum("khql,khld->khqd", weights, v).swapaxes(1, 2).reshape(shape)


class T5Block(nnx.Module):
    """Self-attention and MLP, each of a norm of the residual stream, which stays float32."""

    def __init__(self, arch: T5Architecture, *, rngs: nnx.Rngs):
        self.arch = arch
        width, inner, hidden = arch.width, arch.inner, arch.hidden
        self.attention_norm = parameter(ones, rngs, (width,), (None,))
        self.q = parameter(zeros, rngs, (width, inner), ("embed", "heads"))
        self.k = parameter(zeros, rngs, (width, inner), ("embed", "heads"))
        self.v = parameter(zeros, rngs, (width, inner), ("embed", "heads"))
        self.o = parameter(zeros, rngs, (inner, width), ("heads", "embed"))
        if arch.own_bias:
            self.bias = parameter(zeros, rngs, (arch.buckets, arch.heads), (None, "heads"))
        self.mlp_norm = parameter(ones, rngs, (width,), (None,))
        self.wi = parameter(zeros, rngs, (width, hidden), ("embed", "mlp"))
        if arch.gated:
            self.wi_gated = parameter(zeros, rngs, (width, hidden), ("embed", "mlp"))
        self.wo = parameter(zeros, rngs, (hidden, width), ("mlp", "embed"))

    def __call__(self, x: jax.Array, mask: jax.Array, bias: jax.Array, dtype: Any) -> jax.Array:
        """x (K, L, E) float32 -> the same; mask (K, L) bool, bias (H, L, L), products in `dtype`."""

        def product(y: jax.Array, kernel: nnx.Param) -> jax.Array:
            return y @ kernel[...].astype(dtype)

        arch = self.arch
        y = rms_norm(x, self.attention_norm[...], arch.eps).astype(dtype)
        q, k, v = (product(y, kernel) for kernel in (self.q, self.k, self.v))  # (K, L, H·d)
        x = x + product(attend(q, k, v, bias, mask, arch.heads), self.o)  # (K, L, E)

        y = rms_norm(x, self.mlp_norm[...], arch.eps).astype(dtype)
        hidden = ACTIVATIONS[arch.activation](product(y, self.wi))  # (K, L, M)
        if arch.gated:
            hidden = hidden * product(y, self.wi_gated)
        return x + product(hidden, self.wo)


class T5Encoder(nnx.Module):
    """Token ids to states; the blocks are one module, its parameters stacked on a first axis "layers", and scanned.

    All it starts with is to be replaced by weights that are read (`ptdit_jax.encoders.t5_weights`).
    """

    def __init__(self, arch: T5Architecture, *, rngs: nnx.Rngs):
        self.arch = arch
        self.embedding = parameter(zeros, rngs, (arch.vocabulary, arch.width), (None, "embed"))
        if not arch.own_bias:
            self.bias = parameter(zeros, rngs, (arch.buckets, arch.heads), (None, "heads"))

        @nnx.split_rngs(splits=arch.depth)
        @nnx.vmap(in_axes=0, out_axes=0, transform_metadata={nnx.PARTITION_NAME: "layers"})
        def build(rngs: nnx.Rngs) -> T5Block:
            return T5Block(arch, rngs=rngs)

        self.blocks = build(rngs)
        self.final_norm = parameter(ones, rngs, (arch.width,), (None,))

    def __call__(self, ids: jax.Array, mask: jax.Array, *, dtype: Any = jnp.float32) -> jax.Array:
        """The states of tokens.

        Args:
          ids: (K, L) int32.
          mask: (K, L) bool, the tokens that count; states of the others are of no use.
          dtype: of the products, and of the states.

        Returns:
          (K, L, E).
        """
        arch = self.arch
        buckets = relative_buckets(ids.shape[1], arch.buckets, arch.max_distance)
        shared = None if arch.own_bias else position_bias(self.bias[...], buckets)

        def run(x: jax.Array, block: T5Block) -> tuple[jax.Array, None]:
            bias = position_bias(block.bias[...], buckets) if shared is None else shared
            return block(x, mask, bias, dtype), None

        # The products of float32 are of float32: a TPU's and a GPU's default is less, and harms "" most.
        with jax.default_matmul_precision("float32" if dtype == jnp.float32 else "default"):
            x = self.embedding[...][ids].astype(jnp.float32)  # (K, L, E)
            x, _ = jax.lax.scan(run, x, self.blocks)
        return rms_norm(x, self.final_norm[...], arch.eps).astype(dtype)


def position_bias(table: jax.Array, buckets: np.ndarray) -> jax.Array:
    """(H, L, L) float32 of a table (R, H)."""
    return jnp.moveaxis(table.astype(jnp.float32)[buckets], -1, 0)


def abstract(arch: T5Architecture) -> tuple[nnx.GraphDef, nnx.State]:
    """The network without values: what `nnx.merge` takes, and its parameters with the names of their axes."""
    module = nnx.eval_shape(lambda: T5Encoder(arch, rngs=nnx.Rngs(0)))
    return nnx.split(module, nnx.Param)
