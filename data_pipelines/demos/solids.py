"""Textured solids seen from 24 azimuths, rendered once by `benchmarks/make_solids.py` into a file beside this one.

Shapes: V = 24 views, F views of a record, S = 24 pixels a side.

F of 24 is a turntable, in steps of 15 degrees; F of 1 is one view, and the caption does not say which.  Some pairs of
shape and colour are in no record of training, as in `data_pipelines.demos.digits`.
"""

import functools
import itertools
from pathlib import Path

import numpy as np

from data_pipelines.demos import words
from data_pipelines.text import TextInfo

VIEWS = 24
SIDE = 24
FILE = Path(__file__).with_name("solids.npz")
"""views (N, V, S, S, 3) uint8 in the order of `NAMES`, view v at an azimuth of 15 v degrees; and between (shapes,
V, S, S, 3), one of each shape at azimuths of 15 v + 7.5 degrees."""

SHAPES = ("cube", "ball", "cylinder", "cone", "pyramid", "ring")
COLORS = words.COLORS
PATTERNS = ("plain", "striped", "checked", "two-sided")
NAMES = tuple(itertools.product(SHAPES, COLORS, PATTERNS))
"""(shape, colour, pattern) of each solid."""
SIZES = (len(SHAPES), len(COLORS), len(PATTERNS))
FACTS = ("shape", "color", "pattern")
HELD_OUT = frozenset((shape, (2 * shape + 1 + shape // 3) % len(COLORS)) for shape in range(len(SHAPES)))
"""(shape, colour) that training never sees."""
TEMPLATES = (
    "a {pattern} {color} {shape}",
    "a {color} {shape}, {pattern}",
    "{shape}, {color} and {pattern}",
    "a turning {pattern} {shape} in {color}",
)


def caption(solid: int, template: int) -> str:
    """Returns a caption of solid number `solid`."""
    return words.fill(TEMPLATES[template], **dict(zip(FACTS, NAMES[solid], strict=True)))


def facts_of(solid: int) -> np.ndarray:
    """Returns the numbers (3,) int32 of shape, colour and pattern of solid number `solid`."""
    return np.array(np.unravel_index(solid, SIZES), np.int32)


@functools.cache
def rendered(name: str = "views") -> np.ndarray:
    """Returns an array of `FILE`."""
    with np.load(FILE, allow_pickle=False) as arrays:
        return arrays[name]


class Solids:
    """Turntables (3, 24, S, S) of solids, or single views (3, 1, S, S), with captions such as "a striped red cone".

    A turntable begins at the same azimuth in every record of a solid.
    """

    classes = len(SHAPES)
    text: TextInfo | None = None
    captions = True

    def __init__(self, frames: int, height: int, width: int, *, held_out: bool = False) -> None:
        """Reads the pictures, 6 MB.

        Args:
            frames: 1 or 24.
            height: 24.
            width: 24.
            held_out: show the solids of the pairs in `HELD_OUT` alone; else all others.
        """
        if frames not in (1, VIEWS) or (height, width) != (SIDE, SIDE):
            raise ValueError(
                f"data.frames, data.height, data.width = {(frames, height, width)}: 'solids' has "
                f"{(VIEWS, SIDE, SIDE)}, or {(1, SIDE, SIDE)}, one view"
            )
        self.shape = (3, frames, height, width)
        pairs = [tuple(facts_of(solid)[:2].tolist()) in HELD_OUT for solid in range(len(NAMES))]
        self.solids = np.flatnonzero(np.array(pairs) == held_out)
        self._views = rendered()

    def __len__(self) -> int:
        """Returns solids times phrasings, times views where a record has one."""
        return len(self.solids) * len(TEMPLATES) * (VIEWS // self.shape[1])

    def _solid(self, record: int) -> tuple[int, int, int]:
        """Number of the solid, of the template and of the first view; neighbours are different solids."""
        # 7 divides neither number of solids, so all of them come in every turn, shapes mixed.
        turn, place = divmod(record, len(self.solids))
        view, template = divmod(turn, len(TEMPLATES))
        return int(self.solids[7 * place % len(self.solids)]), template, view

    def facts(self, record: int) -> np.ndarray:
        """Returns what its caption says, (3,) int32 in the order of `FACTS`."""
        return facts_of(self._solid(record)[0])

    def caption(self, record: int) -> str:
        """Returns the caption of record number `record`."""
        return caption(*self._solid(record)[:2])

    def __getitem__(self, record: int) -> dict[str, np.ndarray]:
        """Returns record number `record`."""
        solid, template, first = self._solid(record)
        views = self._views[solid, first : first + self.shape[1]]
        x = np.moveaxis(views, -1, 0).astype(np.float32) / 127.5 - 1
        return {"x": x, "label": facts_of(solid)[0], "caption": words.encoded(caption(solid, template))}
