"""A small T5 of bytes with drawn weights: a text encoder for demos and tests that needs no file.

It knows nothing of language.  Its states are a fixed, one-to-one enough code of the bytes of a caption and of what
stands around each, from which a denoiser can learn to read the captions of a small set.
"""

import math

import numpy as np

from ptdit_jax.encoders import t5_layout
from ptdit_jax.encoders.t5 import read_architecture
from ptdit_jax.weight_files.reader import Tensor

NAME = "bytes"
FACTS = {
    "model_type": "t5",
    "vocab_size": 384,
    "d_model": 128,
    "num_heads": 4,
    "d_kv": 32,
    "d_ff": 256,
    "num_layers": 2,
    "feed_forward_proj": "gated-gelu",
}
"""What the config.json of `transformers` would say of it."""
ARCHITECTURE = read_architecture(FACTS, NAME)
SEED = 2410
SPREAD = {"shared": 1.0}  # deviation of the embeddings; kernels have 1/sqrt(inputs), q that over sqrt(d)
REACH, SHARP = (-1, 1, -2, 2), 12.0
"""Each head looks at the byte that is so far off, by a bias so high: states then tell groups of letters apart, and a
denoiser finds a word in a few hundred steps; of heads that look everywhere they told little but their own byte."""


def weights() -> dict[str, Tensor]:
    """The tensors by their names in `transformers`, the same on every machine."""
    found = t5_layout.shapes(ARCHITECTURE)
    return {name: Tensor(shape, "F32", lambda n=name, s=shape: _draw(n, s)) for name, shape in found.items()}


def _draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    part = name.split(".")[-2]
    if part.endswith("norm"):
        return np.ones(shape, np.float32)
    if part == "relative_attention_bias":
        # (buckets, heads): the nearest keys have a bucket each, those that come later in the upper half.
        bias = np.zeros(shape, np.float32)
        for head, far in enumerate(REACH):
            bias[abs(far) + (far > 0) * shape[0] // 2, head] = SHARP
        return bias
    deviation = next((value for key, value in SPREAD.items() if key == part), shape[-1] ** -0.5)
    if part == "q":
        deviation *= ARCHITECTURE.head_width**-0.5
    # Uniform numbers are whole numbers times a power of two, which no library rounds in its own way.
    uniform = np.random.Generator(np.random.PCG64([SEED, *name.encode()])).random(shape)
    return ((2 * uniform - 1) * (math.sqrt(3) * deviation)).astype(np.float32)
