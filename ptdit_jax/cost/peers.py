"""Networks that the paper compares with and that this package does not build, counted from their public architectures.

Each is its matrices: how many tokens of a sample each is applied to, its shape, and in how many blocks.  From that come
multiply-accumulates by the rules of `ptdit_jax.models.complexity`, and the parameters of those matrices, which say
whether the facts are right: tests hold them near the published size.  Biases, norms and tables are no matrices and are
left out.  Latents are pixels/8 in both directions, patches 2x2 latents, and time is not patched.
"""

import dataclasses
from collections.abc import Callable, Mapping

from ptdit_jax.models.complexity import Macs

PATCH = 16  # pixels a token covers along height and width, in every one of these networks
TIME_FEATURES = 256


@dataclasses.dataclass(frozen=True)
class Product:
    """A matrix product of a forward pass.

    Attributes:
      part: one of `complexity.PARTS`.
      rows: vectors of one sample that go through it.
      inputs: features of each.
      outputs: features of the result.
      times: blocks that have it.
      kind: "weights", a matrix of parameters; "activations", one of the two products of an attention.
    """

    part: str
    rows: int
    inputs: int
    outputs: int
    times: int = 1
    kind: str = "weights"

    @property
    def macs(self) -> Macs:
        """Multiply-accumulates of all blocks."""
        count = self.rows * self.inputs * self.outputs * self.times
        return Macs(attention=count) if self.kind == "activations" else Macs(linear=count)


@dataclasses.dataclass(frozen=True)
class Peer:
    """A network to compare with.

    Attributes:
      name: what to call it.
      source: where its facts are from, and what was assumed.
      parameters: millions, as published (or as the paper says it measured).
      products: tokens of the sample -> all its matrix products.
    """

    name: str
    source: str
    parameters: float
    products: Callable[[int], list[Product]]

    def forward(self, side: int, frames: int = 1) -> dict[str, Macs]:
        """MACs by part for one sample of `frames` latent frames, `side` pixels high and wide.

        Raises:
          ValueError: the side is no whole number of patches.
        """
        if side % PATCH:
            raise ValueError(f"side {side} must be a multiple of {PATCH} pixels, one token")
        parts: dict[str, Macs] = {}
        for product in self.products(frames * (side // PATCH) ** 2):
            parts[product.part] = parts.get(product.part, Macs()) + product.macs
        return parts

    @property
    def matrices(self) -> int:
        """Parameters of its matrices."""
        return sum(p.inputs * p.outputs * p.times for p in self.products(1) if p.kind == "weights")


def attention(
    part: str, queries: int, keys: int, width: int, times: int, *, source: int = 0, kv: int = 0
) -> list[Product]:
    """q, k, v and out, and both products.

    Args:
      part: of the cost.
      queries: vectors that attend.
      keys: vectors attended to.
      width: features of q and out.
      times: blocks.
      source: features of what k and v are made from; 0 = `width`.
      kv: features of k and of v, fewer with grouped queries; 0 = `width`.
    """
    source, kv = source or width, kv or width
    return [
        Product(part, queries, width, width, 2 * times),
        Product(part, keys, source, kv, 2 * times),
        Product(part, queries, width, keys, 2 * times, "activations"),
    ]


def lumina_next(tokens: int) -> list[Product]:
    """24 blocks of 2304, 32 heads of queries and 8 of keys, gated MLP of 6144, 256 tokens of Gemma-2B (2048)."""
    width, blocks, kv, text, text_width, conditioning = 2304, 24, 2304 // 4, 256, 2048, 1024
    return [
        Product("patches", tokens, 4 * 4, width),
        Product("embeddings", 1, TIME_FEATURES, conditioning),
        Product("embeddings", 1, conditioning, conditioning),
        Product("embeddings", 1, text_width, conditioning),  # the mean of the text
        Product("modulation", 1, conditioning, 6 * width, blocks),
        *attention("full", tokens, tokens, width, blocks, kv=kv),
        Product(
            "text", text, text_width, kv, 2 * blocks
        ),  # the text shares queries and output with the image
        Product("text", tokens, width, text, 2 * blocks, "activations"),
        Product("mlp", tokens, width, 6144, 3 * blocks),
        Product("output", 1, conditioning, 2 * width),
        Product("output", tokens, width, 4 * 8),
    ]


def cogvideox_2b(tokens: int) -> list[Product]:
    """30 blocks of 1920 over 226 tokens of T5-XXL and all tokens of the video together, a modulation for each kind."""
    width, blocks, text, conditioning = 1920, 30, 226, 512
    both = tokens + text
    return [
        Product("patches", tokens, 4 * 16, width),
        Product("embeddings", text, 4096, width),
        Product("embeddings", 1, width, conditioning),
        Product("embeddings", 1, conditioning, conditioning),
        Product("modulation", 1, conditioning, 2 * 6 * width, blocks),
        *attention("full", both, both, width, blocks),
        Product("mlp", both, width, 4 * width, 2 * blocks),
        Product("output", 1, conditioning, 2 * width),
        Product("output", tokens, width, 4 * 16),
    ]


def easyanimate_v4(tokens: int) -> list[Product]:
    """Hunyuan-DiT: 40 blocks of 1408 with full 3-D attention, 19 of them with a long skip; 77 + 256 tokens of text."""
    width, blocks, skips, text, text_width, t5, hidden = 1408, 40, 19, 77 + 256, 1024, 2048, 6144
    return [
        Product("patches", tokens, 4 * 4, width),
        Product("embeddings", 256, t5, 4 * t5),
        Product("embeddings", 256, 4 * t5, text_width),
        *attention("embeddings", 1, 257, t5, 1),  # pooling of the T5 states
        Product("embeddings", 1, t5, 1024),
        Product("embeddings", 1, TIME_FEATURES, width),
        Product("embeddings", 1, width, width),
        Product("embeddings", 1, 1024 + 6 * 256 + width, 4 * width),  # pooled text, image size, style
        Product("embeddings", 1, 4 * width, width),
        Product("modulation", 1, width, width, blocks),
        *attention("full", tokens, tokens, width, blocks),
        *attention("text", tokens, text, width, blocks, source=text_width),
        Product("mlp", tokens, width, hidden, 2 * blocks),
        Product("mlp", tokens, 2 * width, width, skips),
        Product("output", 1, width, 2 * width),
        Product("output", tokens, width, 4 * 8),
    ]


PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(
            "Lumina-Next",
            "arXiv 2406.18583 and its repository Alpha-VLLM/Lumina-T2X (NextDiT_2B_GQA_patch2, the one with the 1.7 "
            "billion parameters of the comparison); 256 tokens of text",
            1700,
            lumina_next,
        ),
        Peer(
            "CogVideoX-2B",
            "arXiv 2408.06072 and its repository THUDM/CogVideo (sat/configs/cogvideox_2b.yaml); 226 tokens of text",
            1700,
            cogvideox_2b,
        ),
        Peer(
            "EasyAnimateV4",
            "arXiv 2405.18991 and its repository aigc-apps/EasyAnimate (HunyuanTransformer3DModel, basic blocks), with "
            "the sizes of Tencent/HunyuanDiT's DiT-g/2; without the branch for reference images",
            1500,
            easyanimate_v4,
        ),
    )
}
