"""What the samples of a run are judged by.

`evaluation.name` of the config is "none", a row of `EVALUATIONS`, one of `by_networks.JUDGES`, which have fields of
their own, or MODULE:NAME, an `Evaluation` of the user's own.
"""

import pkgutil
from typing import Any

from ptdit_jax import user_code
from ptdit_jax.evaluation import by_networks, colored_digits, digits, solids
from ptdit_jax.evaluation.interface import Evaluation, Report, by_features

__all__ = ["EVALUATIONS", "Evaluation", "Report", "by_features", "find"]

EVALUATIONS: dict[str, Evaluation] = {
    "digits": digits.EVALUATION,
    "colored_digits": colored_digits.PICTURES,
    "directed_digits": colored_digits.FILMS,
    "solids": solids.EVALUATION,
}


def find(section: Any) -> Evaluation | None:
    """The evaluation that the `evaluation` section of a config names; None for "none".

    Raises:
      ValueError: there is no such evaluation, what MODULE:NAME names is none, or a field of its own is wrong.
    """
    name = section.name
    if name == "none":
        return None
    if name in by_networks.JUDGES:
        return by_networks.evaluation(section)
    if name in EVALUATIONS:
        return EVALUATIONS[name]
    if ":" not in name:
        known = ", ".join(map(repr, ("none", *EVALUATIONS, *by_networks.JUDGES)))
        raise ValueError(f"evaluation.name={name!r} is unknown; it is one of {known}, or MODULE:NAME")
    with user_code.told(None, f"evaluation.name={name!r}"):
        found = pkgutil.resolve_name(name)
    if not isinstance(found, Evaluation):
        raise ValueError(
            f"evaluation.name={name!r} is a {type(found).__name__}; it must be a ptdit_jax.evaluation.Evaluation"
        )
    return found
