"""Tables in text, and how numbers stand in them."""

from collections.abc import Sequence

import tabulate
from scipy.constants import gibi, mebi


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns: the first to the left, the others to the right."""
    sides = ("left", *["right"] * (len(header) - 1))
    return tabulate.tabulate(rows, header, tablefmt="pipe", colalign=sides, disable_numparse=True)


def triple(ratio: Sequence[int]) -> str:
    """(1, 2, 2) as 1x2x2."""
    return "x".join(map(str, ratio))


def amount(number: float) -> str:
    """Two decimals, or two digits of what is less than one."""
    return f"{number:,.2f}" if abs(number) >= 1 or number == 0 else f"{number:.2g}"


def gib(count: float) -> str:
    """Bytes in GiB."""
    return amount(count / gibi)


def mib(count: float) -> str:
    """Bytes in MiB."""
    return amount(count / mebi)
