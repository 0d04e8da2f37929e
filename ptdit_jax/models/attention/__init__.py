"""Attention, by several implementations behind one function (docs/attention.md)."""

from ptdit_jax.models.attention.choice import IMPLEMENTATIONS, resolve
from ptdit_jax.models.attention.einsum import ATTENTION, attention, chunked_attention, region_mask
from ptdit_jax.models.attention.modules import Attention, CrossAttention, SelfAttention
from ptdit_jax.models.attention.seam import attend

__all__ = [
    "ATTENTION",
    "IMPLEMENTATIONS",
    "Attention",
    "CrossAttention",
    "SelfAttention",
    "attend",
    "attention",
    "chunked_attention",
    "region_mask",
    "resolve",
]
