"""Filters by columns: which rows of a table are used, known without a picture being opened."""

import dataclasses
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

_CONDITION = re.compile(r"\s*([^\s<>=!]+)\s*(<=|>=|==|!=|<|>)\s*([-+.\deE]+)\s*")
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
WIDTH, HEIGHT = "width", "height"


@dataclasses.dataclass(frozen=True)
class Condition:
    """One thing that a row must meet.

    Attributes:
        text: as the user wrote it.
        columns: that it looks at.
        meets: whether rows do, (n,) bool, of the numbers (n,) of each column; not a number where one is unknown.
        number: of a value, such as its length.
    """

    text: str
    columns: tuple[str, ...]
    meets: Callable[..., Any]
    number: Callable[[Any], float]


def conditions(
    *,
    where: str = "",
    min_side: int = 0,
    max_aspect: float = 0.0,
    min_caption: int = 0,
    caption: str | None = None,
) -> list[Condition]:
    """Returns the conditions that a user's options are.

    Args:
        where: "COLUMN OPERATOR NUMBER", any number of them joined by commas, all of which must hold, such as
            "aesthetic>=5, pwatermark<0.5"; operators are <, <=, >, >=, == and !=.
        min_side: of columns "width" and "height", in pixels; 0 for any.
        max_aspect: the longer of the two over the shorter; 0 for any.
        min_caption: characters; 0 for any.
        caption: the column of captions.

    Raises:
        ValueError: an option is wrong.
    """
    found = []
    for part in filter(str.strip, where.split(",")):
        match = _CONDITION.fullmatch(part)
        try:
            number = float(match[3]) if match else math.nan
        except ValueError:
            number = math.nan
        if match is None or not math.isfinite(number):
            raise ValueError(
                f"where={where!r}: {part.strip()!r} must be COLUMN, one of {' '.join(_OPERATORS)}, and a number"
            )
        compare = _OPERATORS[match[2]]
        found.append(Condition(part.strip(), (match[1],), lambda v, c=compare, n=number: c(v, n), _number))
    for name, value, least in (
        ("min_side", min_side, 0),
        ("min_caption", min_caption, 0),
        ("max_aspect", max_aspect, 1),
    ):
        if value and (not math.isfinite(value) or value < least):
            raise ValueError(f"{name}={value} must be 0 (any), or {least} or more")
    if min_side:
        text = f"min_side={min_side}"
        found.append(Condition(text, (WIDTH, HEIGHT), lambda w, h: np.minimum(w, h) >= min_side, _number))
    if max_aspect:
        text = f"max_aspect={max_aspect:g}"
        found.append(
            Condition(text, (WIDTH, HEIGHT), lambda w, h: np.maximum(w / h, h / w) <= max_aspect, _number)
        )
    if min_caption:
        if caption is None:
            raise ValueError(f"min_caption={min_caption} needs a column of captions; name it, caption=COLUMN")
        text = f"min_caption={min_caption}"
        found.append(Condition(text, (caption,), lambda n: n >= min_caption, _length))
    return found


class Filter:
    """Applies conditions to tables, and counts what each alone leaves out."""

    def __init__(self, wanted: Sequence[Condition]) -> None:
        self.conditions = list(wanted)
        self.columns = list(dict.fromkeys(name for condition in wanted for name in condition.columns))
        self.rows = self.kept = 0
        self._removed = dict.fromkeys((condition.text for condition in wanted), 0)

    def __bool__(self) -> bool:
        """Returns whether there is a condition."""
        return bool(self.conditions)

    def check_columns(self, names: Sequence[str], where: str) -> None:
        """Raises for a condition on a column that is not there.

        Raises:
            ValueError: naming the condition, the column and those there are.
        """
        for condition in self.conditions:
            if missing := [name for name in condition.columns if name not in names]:
                raise ValueError(
                    f"{where}: {condition.text} needs the column {missing[0]!r}; there are {', '.join(names)}"
                )

    def keep(self, columns: Mapping[str, Sequence[Any]], rows: int) -> np.ndarray:
        """Returns which of some rows are used, (rows,) bool; a value that is not there meets no condition."""
        kept = np.ones(rows, bool)
        for condition in self.conditions:
            values = [
                np.fromiter(map(condition.number, columns[name]), np.float64, rows)
                for name in condition.columns
            ]
            with np.errstate(all="ignore"):
                meets = np.all(np.isfinite(values), axis=0) & condition.meets(*values)
            self._removed[condition.text] += int(np.sum(~meets))
            kept &= meets
        self.rows += rows
        self.kept += int(kept.sum())
        return kept

    def summary(self) -> str:
        """Returns what was left out, and by what."""
        parts = ", ".join(f"{text} alone leaves out {count:,}" for text, count in self._removed.items())
        return f"filters keep {self.kept:,} of {self.rows:,} records: {parts}"

    def check_some(self, where: str) -> None:
        """Raises when nothing is left.

        Raises:
            ValueError: saying how many each condition left out.
        """
        if self and self.rows and not self.kept:
            raise ValueError(f"{where}: no record is left; {self.summary()}")


def _number(value: Any) -> float:
    """A number as it is, text as the number it spells, and NaN for all else."""
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError):
        return math.nan


def _length(value: Any) -> float:
    return float(len(value)) if isinstance(value, str) else math.nan
