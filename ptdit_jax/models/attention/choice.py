"""Which implementation computes the attentions of a network: names, and what each of them can do."""

EINSUM = "einsum"
IMPLEMENTATIONS = (EINSUM,)
"""Values of `model.attention` beside "auto", which stands for one of them by platform."""


def resolve(name: str, *, platform: str | None = None) -> str:
    """`model.attention` without "auto".

    Args:
      name: "auto" or one of `IMPLEMENTATIONS`.
      platform: of the devices, as `jax.Device.platform`; None where nothing is run.

    Raises:
      ValueError: the name is unknown.
    """
    del platform
    if name not in ("auto", *IMPLEMENTATIONS):
        raise ValueError(
            f"model.attention={name!r} is unknown; it is one of 'auto', {', '.join(map(repr, IMPLEMENTATIONS))}"
        )
    return EINSUM
