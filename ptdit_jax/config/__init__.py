"""The rules of a config: what its fields may be together, how it is stored, and what may change on a resume.

The meaning of each field is in `configs/common.py`.
"""

from ptdit_jax.config.by_time import Part, parts
from ptdit_jax.config.derived import (
    Config,
    architecture,
    layout,
    make_objective,
    make_sampling,
    profiled_steps,
)
from ptdit_jax.config.limits import CHOICES, LIMITS
from ptdit_jax.config.size import network_problems, sampling_problems
from ptdit_jax.config.storage import HARMLESS, conflicts, flatten, from_json, to_json
from ptdit_jax.config.validation import validate, warnings

__all__ = [
    "CHOICES",
    "HARMLESS",
    "LIMITS",
    "Config",
    "Part",
    "architecture",
    "conflicts",
    "flatten",
    "from_json",
    "layout",
    "make_objective",
    "make_sampling",
    "network_problems",
    "parts",
    "profiled_steps",
    "sampling_problems",
    "to_json",
    "validate",
    "warnings",
]
