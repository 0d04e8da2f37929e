"""The layouts in which weights are published, each a module of its own (`base.Layout`), and which one a file has."""

from collections.abc import Mapping
from pathlib import Path

from ptdit_jax.convert.layouts import dit, dit_diffusers, foreign, pixart, pixart_diffusers, ptdit
from ptdit_jax.convert.layouts.base import Layout
from ptdit_jax.models.variants import Architecture

# A PT-DiT without proxies and shifts has the names of PixArt-α: what is before counts in messages.
LAYOUTS = (pixart_diffusers.LAYOUT, pixart.LAYOUT, dit_diffusers.LAYOUT, dit.LAYOUT, ptdit.LAYOUT)
NAMES = tuple(dict.fromkeys(layout.name for layout in reversed(LAYOUTS)))
ANCHORS = frozenset.union(*(layout.marks for layout in LAYOUTS))
"""Names at the top level of a network; `weights` finds networks in a file by them."""


def of_family(family: str) -> list[Layout]:
    """The layouts of a family, the authors' own first.

    Raises:
      ValueError: it has none.
    """
    found = [layout for layout in reversed(LAYOUTS) if layout.family == family]
    if not found:
        known = list(dict.fromkeys(layout.family for layout in reversed(LAYOUTS)))
        names = ", ".join(map(repr, known[:-1])) + f" and {known[-1]!r}"
        raise ValueError(f"model.family={family!r} has no PyTorch layout; conversions take {names}")
    return found


def named(family: str, name: str = "original") -> Layout:
    """One layout of a family.

    Raises:
      ValueError: the family has no such layout.
    """
    found = {layout.name: layout for layout in of_family(family)}
    if name not in found:
        raise ValueError(f"--layout={name}: model.family={family!r} has {', '.join(found)}")
    return found[name]


def recognised(shapes: Mapping[str, tuple[int, ...]]) -> list[Layout]:
    """The layouts that a file looks like."""
    return [layout for layout in LAYOUTS if layout.marks_are_in(shapes.keys())]


def choose(shapes: Mapping[str, tuple[int, ...]], arch: Architecture, file: Path) -> Layout:
    """The layout of a file of weights for a network.

    Args:
      shapes: of the file's tensors.
      arch: the network.
      file: for messages.

    Raises:
      ValueError: the file is of another family, or of none that is known here; which, if it can be told.
    """
    candidates, found = of_family(arch.family), recognised(shapes)
    for layout in found:
        if layout in candidates:
            return layout
    if found:
        raise ValueError(
            f"{file} has the layout of {found[0].title}, which is model.family={found[0].family!r}; the config has "
            f"{arch.family!r}"
        )
    if what := foreign.of_names(shapes):
        raise ValueError(f"{file} is {what}; {supported()}")
    # Tensors are missing: the nearest layout says which.
    return max(candidates, key=lambda layout: len(layout.shapes(arch).keys() & shapes.keys()))


def supported() -> str:
    """What conversions take, for messages."""
    return "conversions take the layouts of " + ", ".join(layout.title for layout in reversed(LAYOUTS))
