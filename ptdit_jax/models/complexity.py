"""What a forward pass costs: multiply-accumulates (MACs) by part, parameters, the estimate of Eq. 3 and 4.

Counted are the matrix products of one sample as the network runs them, padded tokens included; not norms,
softmax, activations, means, gathers and additions.  A multiply and its addition are one MAC, two FLOPs.

Shapes: N tokens of the grid, T = M·n tokens of M whole windows of n (T = N without padding), P proxies, L
tokens of text, D width.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import jax
from flax import nnx

from ptdit_jax import models
from ptdit_jax.models import Architecture
from ptdit_jax.models.conditioning import PARTS as MODULATION_ROWS
from ptdit_jax.models.conditioning import TIME_FEATURES
from ptdit_jax.models.proxy import check_injection
from ptdit_jax.models.window import Windowing

PARTS: tuple[str, ...] = (
    "patches",  # patch embedding
    "embeddings",  # of time, class and text
    "modulation",  # adaLN
    "proxies",  # self-attention of the proxies (Eq. 1)
    "injection",  # of the proxies into all tokens (Eq. 1)
    "windows",  # window attention (Eq. 2)
    "shifted",  # shifted-window attention (Eq. 2)
    "full",  # global self-attention of a baseline
    "mediators",  # attention through mediators (DAM)
    "spatial",  # attention within each frame
    "temporal",  # attention along the frames
    "text",  # cross-attention to the text
    "mlp",
    "output",  # final layer
)


@dataclasses.dataclass(frozen=True)
class Macs:
    """Multiply-accumulates under both usual counters.

    Attributes:
      linear: products of activations with weights.
      attention: the two products of activations of each attention, q·kᵀ and softmax(·)·v.
    """

    linear: int = 0
    attention: int = 0

    @property
    def total(self) -> int:
        """Both."""
        return self.linear + self.attention

    def __add__(self, other: "Macs") -> "Macs":
        return Macs(self.linear + other.linear, self.attention + other.attention)

    def __mul__(self, times: int) -> "Macs":
        return Macs(self.linear * times, self.attention * times)


def forward(arch: Architecture, layout: Windowing, text_tokens: int = 0) -> dict[str, Macs]:
    """MACs of one forward pass of one sample.

    Args:
      arch: the network.
      layout: how the network cuts the size (its `layout` method).
      text_tokens: L; read with condition "text" only.

    Returns:
      A `Macs` for each of `PARTS`; their sum is the whole pass.

    Raises:
      ValueError: the network's injection cannot run this layout.
    """
    width, patch = arch.width, arch.patch_pixels
    grid, tokens = math.prod(layout.grid), layout.windows * layout.window_tokens
    parts = dict.fromkeys(PARTS, Macs())

    parts["patches"] = linear(grid, patch * arch.channels, width)
    parts["embeddings"] = linear(1, TIME_FEATURES, width) + linear(1, width, width)
    if arch.size_condition:
        third = width // 3
        parts["embeddings"] += linear(3, TIME_FEATURES, third) + linear(3, third, third)
    if arch.condition == "text":
        parts["embeddings"] += linear(text_tokens, arch.text_dim, width) + linear(text_tokens, width, width)
    if arch.adaln == "single":
        parts["modulation"] = linear(1, width, 6 * width)
    else:
        parts["output"] = linear(1, width, 2 * width)
    parts["output"] += linear(tokens, width, patch * arch.out_channels)

    for part, macs in BLOCKS[arch.family](arch, layout, text_tokens).items():
        parts[part] += macs
    return parts


def total(parts: dict[str, Macs]) -> Macs:
    """The sum over parts."""
    return sum(parts.values(), Macs())


def linear(tokens: int, inputs: int, outputs: int) -> Macs:
    """A Linear on every token."""
    return Macs(linear=tokens * inputs * outputs)


def self_attention(tokens: int, width: int) -> Macs:
    """q, k, v and out Linears, and both products, of one sequence."""
    return cross_attention(tokens, tokens, width)


def cross_attention(queries: int, keys: int, width: int) -> Macs:
    """q and out Linears on the queries, k and v Linears on the keys, and both products."""
    return Macs(linear=2 * (queries + keys) * width**2, attention=2 * queries * keys * width)


def ptdit_blocks(arch: Architecture, layout: Windowing, text_tokens: int) -> dict[str, Macs]:
    """All blocks of `models.block.PTBlock`, step by step."""
    check_injection(arch.injection, layout, arch.linear_tokens)
    width, depth = arch.width, arch.depth
    shifts = depth // arch.shift_every if arch.shift_every else 0  # blocks with the shifted windows
    tokens = layout.windows * layout.window_tokens
    zero_linear = linear(tokens, width, width) if arch.zero_linears else Macs()
    window = self_attention(layout.window_tokens, width) * layout.windows

    blocks = {"mlp": linear(tokens, width, 2 * arch.mlp_ratio * width) * depth}
    if arch.giim:
        blocks["proxies"] = self_attention(layout.proxies, width) * depth
        blocks["injection"] = (injection(arch, layout) + zero_linear) * depth
    if arch.tcm:
        blocks["windows"] = window * depth
        blocks["shifted"] = (window + zero_linear) * shifts
    if arch.condition == "text":
        blocks["text"] = cross_attention(tokens, text_tokens, width) * depth
    if arch.adaln == "zero":
        count = {"proxy": depth, "injection": depth, "injection_kv": depth} if arch.giim else {}
        count |= {"window": depth, "shift": shifts} if arch.tcm else {}
        count["mlp"] = depth
        rows = sum(MODULATION_ROWS[part] * count[part] for part in count if part in arch.modulated)
        blocks["modulation"] = linear(1, width, rows * width)
    return blocks


def injection(arch: Architecture, layout: Windowing) -> Macs:
    """One injection of P proxies into T tokens, without linear_1."""
    if arch.injection == "cross_attention":
        return cross_attention(layout.windows * layout.window_tokens, layout.proxies, arch.width)
    if arch.injection == "linear":
        return linear(layout.proxies, arch.width, layout.window_tokens * arch.width)
    return interpolation(layout, arch.width)


def interpolation(layout: Windowing, width: int) -> Macs:
    """The proxies' grid upsampled to the tokens', one dense product an axis, in the cheapest order of axes.

    That is how `jax.image.resize` does it; a kernel that reads only the 2, 4 or 8 neighbours needs less.
    """

    def cost(order: Sequence[int]) -> int:
        sides, macs = list(layout.counts), 0
        for axis in order:
            contracted, sides[axis] = sides[axis], layout.padded[axis]
            macs += math.prod(sides) * contracted * width
        return macs

    resized = [axis for axis in range(3) if layout.counts[axis] != layout.padded[axis]]
    return Macs(linear=min(map(cost, itertools.permutations(resized))))


def baseline_blocks(arch: Architecture, layout: Windowing, text_tokens: int) -> dict[str, Macs]:
    """All blocks of `models.baselines.block.BaselineBlock`."""
    width, tokens = arch.width, layout.windows * layout.window_tokens
    block = MIXERS[arch.family](layout, width)
    parts = len(block) + 1  # with a shift, scale and gate each
    block["mlp"] = linear(tokens, width, 2 * arch.mlp_ratio * width)
    if arch.adaln == "zero":
        block["modulation"] = linear(1, width, 3 * parts * width)
    if arch.condition == "text":
        block["text"] = cross_attention(tokens, text_tokens, width)
    return {part: macs * arch.depth for part, macs in block.items()}


def full_mixer(layout: Windowing, width: int) -> dict[str, Macs]:
    """`models.baselines.dit.FullAttention`."""
    return {"full": self_attention(layout.windows * layout.window_tokens, width)}


def mediator_mixer(layout: Windowing, width: int) -> dict[str, Macs]:
    """`models.baselines.dam.MediatorAttention`: q, k, v and out of T tokens, 4 products of them with P mediators."""
    tokens, mediators = layout.windows * layout.window_tokens, layout.windows
    return {"mediators": linear(tokens, width, 4 * width) + Macs(attention=4 * mediators * tokens * width)}


def factorized_mixers(layout: Windowing, width: int) -> dict[str, Macs]:
    """`models.baselines.factorized`: frames are windows."""
    frames, tokens = layout.windows, layout.window_tokens
    return {
        "spatial": self_attention(tokens, width) * frames,
        "temporal": self_attention(frames, width) * tokens,
    }


MIXERS = {
    "dit": full_mixer,
    "pixart": full_mixer,
    "full3d": full_mixer,
    "dam": mediator_mixer,
    "factorized": factorized_mixers,
}
BLOCKS = {"ptdit": ptdit_blocks, **dict.fromkeys(MIXERS, baseline_blocks)}


def abstract(arch: Architecture) -> models.PTDiT:
    """The network with shapes for parameters: nothing is allocated, its `layout` works."""
    return nnx.eval_shape(lambda: models.build(arch, nnx.Rngs(0)))


def parameters(network: nnx.Module) -> int:
    """Number of parameters; position tables are no parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))


def full_attention(tokens: int, width: int) -> int:
    """MACs of the two products of global self-attention in one block, 2·N²·D (Eq. 3 of arXiv 2409.04005)."""
    return 2 * tokens**2 * width


def proxy_attention(tokens: int, width: int, ratio: Sequence[int]) -> Fraction:
    """MACs of all attention products of GIIM and TCM in one block (Eq. 4 of arXiv 2409.04005).

    2·(N/p)²·D among the proxies, 2·N·(N/p)·D in the injection, 4·(N/p)·p²·D in windows and shifted windows.

    Args:
      tokens: N.
      width: D.
      ratio: compression ratio (p_f, p_h, p_w), p = p_f·p_h·p_w.
    """
    per_proxy = math.prod(ratio)
    proxies = Fraction(tokens, per_proxy)
    return 2 * proxies**2 * width + 2 * tokens * proxies * width + 4 * proxies * per_proxy**2 * width


def attention_share(tokens: int, ratio: Sequence[int]) -> Fraction:
    """Eq. 4 over Eq. 3, 1/p² + 1/p + 2p/N: what proxies leave of the attention products (Sec. 3.3)."""
    return proxy_attention(tokens, 1, ratio) / full_attention(tokens, 1)
