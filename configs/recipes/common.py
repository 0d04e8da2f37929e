"""What a recipe is made of."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """One run of a recipe.

    Attributes:
      name: of its folder, and by which the command line means it; small letters, digits, "_" and "-".
      config: its config file, as for `launch/run.sh --config`.
      init_from: the name of the stage whose last parameters it starts with; "" for none.
      fields: what it says otherwise than its config, {"section.field": value}.
    """

    name: str
    config: str
    init_from: str = ""
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
