"""The kernels of TPUs, interpreted, so that they run on a CPU."""

import functools
from collections.abc import Callable

from ptdit_jax.models.attention import splash, tokens, windows

KERNELS = (splash, "splash_attention"), (tokens, "token_attention"), (windows, "window_attention")


def interpret(set_attribute: Callable = setattr) -> None:
    """Let the kernels run here; `monkeypatch.setattr` does so for one test."""
    for module, name in KERNELS:
        set_attribute(module, name, functools.partial(getattr(module, name), interpret=True))
