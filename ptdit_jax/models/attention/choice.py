"""Which implementation computes the attentions of a network: names, and what each of them can do."""

from collections.abc import Iterator

EINSUM, CUDNN, SPLASH, PALLAS = IMPLEMENTATIONS = ("einsum", "cudnn", "splash", "pallas")
"""Values of `model.attention` beside "auto", which stands for one of them by platform."""

SMALL = 128  # tokens: a window below has less than one tile of queries in cuDNN and in splash attention
CUDNN_WIDTH = 128  # of a head at most, on every GPU that cuDNN's attention runs on

WHERE = {
    EINSUM: "einsum",
    CUDNN: f"cudnn, einsum within shifted windows and windows below {SMALL} tokens",
    SPLASH: f"splash, einsum within windows below {SMALL} tokens",
    PALLAS: "pallas within windows and to few keys, splash elsewhere, einsum within small windows that pallas does not "
    "take",
}
"""What `attend` computes with, in a few words; all of it is in docs/attention.md."""

_PLATFORMS = {CUDNN: ("gpu", "cuda"), SPLASH: ("tpu",), PALLAS: ("tpu",)}
_AUTO = {"gpu": CUDNN, "cuda": CUDNN, "tpu": SPLASH}


def resolve(name: str, *, head_width: int, dtype: str, platform: str | None = None) -> str:
    """`model.attention` without "auto".

    Args:
      name: "auto" or one of `IMPLEMENTATIONS`.
      head_width: d.
      dtype: `model.compute_dtype`.
      platform: of the devices, as `jax.Device.platform`; None where nothing is run, which allows any and makes "auto"
        "einsum".

    Raises:
      ValueError: the name is unknown, or the platform or the network does not go with it.
    """
    if name == "auto":
        chosen = _AUTO.get(platform or "", EINSUM)
        return EINSUM if any(_problems(chosen, head_width, dtype, platform)) else chosen
    if name not in IMPLEMENTATIONS:
        raise ValueError(
            f"model.attention={name!r} is unknown; it is one of 'auto', {', '.join(map(repr, IMPLEMENTATIONS))}"
        )
    for problem in _problems(name, head_width, dtype, platform):
        raise ValueError(f"model.attention={name!r} {problem}; 'einsum' takes any")
    return name


def line(name: str, chosen: str, platform: str) -> str:
    """What a run says at its start of a `model.attention` and of what it is resolved to."""
    return f"attention: {WHERE[chosen]}" + (
        f" (model.attention='auto' on {platform})" if name == "auto" else ""
    )


def _problems(name: str, head_width: int, dtype: str, platform: str | None) -> Iterator[str]:
    """What an implementation does not take, each as the end of a sentence."""
    if name == CUDNN and dtype != "bfloat16":
        yield f"computes in bfloat16 only, not model.compute_dtype={dtype!r}"
    if name == CUDNN and (head_width % 8 or head_width > CUDNN_WIDTH):
        yield (
            f"takes heads of model.width / model.heads = a multiple of 8, at most {CUDNN_WIDTH}, not {head_width}"
        )
    platforms = _PLATFORMS.get(name)
    if platforms and platform not in (None, *platforms):
        yield f"runs on {platforms[0].upper()}s, not on {platform!r}"
