"""Real digits in colour on a canvas, still or moving, with captions such as "a thin red seven, top left".

Shapes: F frames, H rows, W columns, S pixels a side of a digit, k facts.

A record is a function of its number alone.  Some pairs of colour and digit, `HELD_OUT`, are in no record of training,
though each digit and each colour is: a network that draws them has learnt words, not pictures.  They are the records
of the same source with `held_out=True`.
"""

import functools

import numpy as np
from scipy import ndimage

from data_pipelines.captions import NUMERALS
from data_pipelines.demos import words
from data_pipelines.scans import DIGIT_CLASSES, DIGIT_SIDE, digit_scans, enlarged
from data_pipelines.text import TextInfo

HELD_OUT = frozenset((digit % len(words.COLORS), digit) for digit in range(DIGIT_CLASSES))
"""(colour, digit) that training never sees: one for each digit, one or two for each colour."""
FACTS = ("digit", "color", "place", "weight", "background")
"""Of `ColoredDigits`."""
MOVING_FACTS = ("digit", "color", "direction", "background")
"""Of `DirectedDigits`."""

TEMPLATES = (
    "a {color} {word}, {place}",
    "the digit {numeral}, {color}, {place}",
    "a {weight} {color} {word}, {place}",
    "{color} {word} on {background}, {place}",
    "a handwritten {color} {word} in the {place}",
    "{place}: a {weight} {color} {numeral}",
    "a {weight} {word} in {color}",
    "a handwritten {word}",
)
MOVING_TEMPLATES = (
    "a {color} {word} moving {direction}",
    "{color} {numeral} on {background} moving {direction}",
    "the digit {numeral}, {color}, moves {direction}",
    "a {word} moving {direction}",
)
_TABLES = {
    "color": words.PALETTE,
    "place": words.PLACES,
    "weight": words.WEIGHTS,
    "background": words.BACKGROUNDS,
    "direction": words.DIRECTIONS,
}
SMALLEST = 2 * DIGIT_SIDE  # pixels of a canvas
SPEEDS = (0.4, 0.6)  # of a film: share of the longest straight way over the canvas that a digit goes


class _Drawn:
    """What pictures and films share: scans in many records, facts and captions that are drawn from the number."""

    COPIES = 32  # records of each scan
    FACTS: tuple[str, ...]
    TEMPLATES: tuple[str, ...]

    classes = DIGIT_CLASSES
    text: TextInfo | None = None
    captions = True

    def __init__(self, shape: tuple[int, int, int], *, held_out: bool) -> None:
        frames, height, width = shape
        if height != width or height < SMALLEST or height % 4 or frames < 1:
            raise ValueError(
                f"data.frames, data.height, data.width = {shape}: the digits of the demonstrations need a square "
                f"canvas of {SMALLEST}, {SMALLEST + 4}, {SMALLEST + 8}, ... pixels"
            )
        self.shape = (3, *shape)
        self._held_out, self._side = held_out, height // 2
        self._inks, self._labels = _inks(self._side)

    def __len__(self) -> int:
        """Returns `COPIES` times 1797."""
        return self.COPIES * len(self._labels)

    def caption(self, record: int) -> str:
        """Returns the caption of record number `record`."""
        return self._caption(self._draw(record)[0])

    def _draw(self, record: int) -> tuple[dict[str, int], np.random.Generator]:
        """The facts, the template among them, and the generator for what is left to draw.

        Records with and without held-out pairs draw from generators of their own, so that none shows what the other
        does.
        """
        rng = np.random.default_rng([int(self._held_out), record])
        digit = int(self._labels[record % len(self._labels)])
        colors = [c for c in range(len(words.COLORS)) if ((c, digit) in HELD_OUT) == self._held_out]
        templates = [t for t, text in enumerate(self.TEMPLATES) if words.says(text, "color")]
        facts = {
            "digit": digit,
            "color": colors[rng.integers(len(colors))],
            "place": int(rng.integers(len(words.PLACES))),
            "weight": int(rng.integers(len(words.WEIGHTS))),
            "background": int(rng.integers(len(words.BACKGROUNDS))),
            "direction": int(rng.integers(len(words.DIRECTIONS))),
            # A caption that leaves the colour open asks for no pair.
            "template": int(rng.choice(templates if self._held_out else len(self.TEMPLATES))),
        }
        for name, usual in words.USUAL.items():
            if not words.says(self.TEMPLATES[facts["template"]], name):
                facts[name] = list(_TABLES[name]).index(usual)
        return facts, rng

    def _caption(self, facts: dict[str, int]) -> str:
        chosen = {name: list(table)[facts[name]] for name, table in _TABLES.items()}
        digit = {"word": NUMERALS[facts["digit"]], "numeral": str(facts["digit"])}
        return words.fill(self.TEMPLATES[facts["template"]], **chosen, **digit)

    def drawn(self, record: int) -> np.ndarray:
        """Returns what record number `record` shows, (k,) int32 in the order of `FACTS`, said or not."""
        facts, _ = self._draw(record)
        return np.array([facts[name] for name in self.FACTS], np.int32)

    def facts(self, record: int) -> np.ndarray:
        """Returns what its caption says, (k,) int32, with `words.UNSAID` for what it does not."""
        facts, _ = self._draw(record)
        template = self.TEMPLATES[facts["template"]]
        said = [facts[n] if n == "digit" or words.says(template, n) else words.UNSAID for n in self.FACTS]
        return np.array(said, np.int32)

    def _painted(self, ink: np.ndarray, facts: dict[str, int]) -> np.ndarray:
        """Ink (F, H, W) in [0, 1] as RGB (3, F, H, W) in [-1, 1]."""
        paper, colour = _GROUNDS[facts["background"]], _COLORS[facts["color"]]
        return paper[:, None, None, None] + ink * (colour - paper)[:, None, None, None]


class ColoredDigits(_Drawn):
    """Pictures (3, 1, H, W) of one digit of half the canvas, in a colour, at a place, thin or bold, on a ground.

    Every scan is in `COPIES` records, each drawn anew; what a caption does not say is as `words.USUAL` has it, but for
    the colour.
    """

    FACTS, TEMPLATES = FACTS, TEMPLATES

    def __init__(self, height: int, width: int, *, held_out: bool = False) -> None:
        """Enlarges the scans.

        Args:
            height: of the canvas, a multiple of 4, at least 16.
            width: the same.
            held_out: show the pairs in `HELD_OUT` alone, all of them named in the captions; else all others.
        """
        super().__init__((1, height, width), held_out=held_out)

    def __getitem__(self, record: int) -> dict[str, np.ndarray]:
        """Paints picture number `record`."""
        facts, _ = self._draw(record)
        height, side = self.shape[-1], self._side
        row, column = np.array(list(words.PLACES.values())[facts["place"]]) * height // 4
        gain, shift = list(words.WEIGHTS.values())[facts["weight"]]
        ink = np.zeros(self.shape[1:], np.float32)
        scan = self._inks[record % len(self._inks)]
        ink[0, row : row + side, column : column + side] = np.clip(gain * scan + shift, 0, 1)
        label = self._labels[record % len(self._labels)]
        return {
            "x": self._painted(ink, facts),
            "label": label,
            "caption": words.encoded(self._caption(facts)),
        }


class DirectedDigits(_Drawn):
    """Films (3, F, H, W) of one digit that goes straight, in one of eight directions, and stays on the canvas.

    Between pixels it is linear.  Its ground is said or usual; the middle of its way is that of the canvas.
    """

    FACTS, TEMPLATES = MOVING_FACTS, MOVING_TEMPLATES

    def __init__(self, frames: int, height: int, width: int, *, held_out: bool = False) -> None:
        """Enlarges the scans; the arguments are as for `ColoredDigits`, and F."""
        super().__init__((frames, height, width), held_out=held_out)

    def __getitem__(self, record: int) -> dict[str, np.ndarray]:
        """Paints film number `record`."""
        facts, rng = self._draw(record)
        _, frames, height, _ = self.shape
        free = height - self._side  # pixels that the corner of the digit can go
        direction = np.array(list(words.DIRECTIONS.values())[facts["direction"]])
        way = direction * rng.uniform(*SPEEDS) * free
        start = (free - way) / 2
        gain, shift = list(words.WEIGHTS.values())[facts["weight"]]
        canvas = np.zeros((height, height), np.float32)
        canvas[: self._side, : self._side] = np.clip(
            gain * self._inks[record % len(self._inks)] + shift, 0, 1
        )
        corners = start + np.linspace(0, 1, frames)[:, None] * way
        ink = np.stack([_moved(canvas, corner) for corner in corners])
        label = self._labels[record % len(self._labels)]
        return {
            "x": self._painted(ink, facts),
            "label": label,
            "caption": words.encoded(self._caption(facts)),
        }


_COLORS, _GROUNDS = words.rgb(words.PALETTE), words.rgb(words.BACKGROUNDS)


@functools.lru_cache(maxsize=4)
def _inks(side: int) -> tuple[np.ndarray, np.ndarray]:
    """The scans as ink (N, S, S) float32 in [0, 1], and their labels (N,)."""
    scans, labels = digit_scans()
    return enlarged(scans, side) / 2 + 0.5, labels


def _moved(canvas: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """A canvas (H, W) moved by (rows, columns), linear between pixels, with nothing around it."""
    return ndimage.shift(canvas, corner, order=1, mode="grid-constant", prefilter=False)
