"""What the captions of the demonstrations can say, and how it looks.

A fact is the number of one of these words.  The facts of a record are for those who judge samples; a network sees the
caption alone.  `UNSAID` stands for what the caption leaves open.
"""

import re

import numpy as np

UNSAID = -1
LONGEST = 47  # bytes of a caption: 48 tokens of the byte-level T5 with its end

PALETTE = {
    "red": (0.9, 0.1, 0.1),
    "green": (0.1, 0.65, 0.15),
    "blue": (0.2, 0.35, 1.0),
    "yellow": (0.98, 0.85, 0.1),
    "purple": (0.7, 0.15, 0.85),
    "cyan": (0.1, 0.8, 0.9),
}
"""Colours of what is shown, RGB in [0, 1]; every two are at least 0.4 apart."""
COLORS = tuple(PALETTE)
USUAL = {"place": "centre", "weight": "bold", "background": "black"}
"""What is so where a caption does not say otherwise."""
BACKGROUNDS = {"black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0), "gray": (0.5, 0.5, 0.5)}

PLACES = {
    "top left": (0, 0),
    "top right": (0, 2),
    "bottom left": (2, 0),
    "bottom right": (2, 2),
    "centre": (1, 1),
}
"""Row and column of the corner of a digit of half the canvas, in quarters of the canvas."""
WEIGHTS = {"thin": (1.35, -0.35), "bold": (1.7, 0.0)}
"""Ink v of a stroke becomes the clipped a v + b: the blurred edge of a scan goes to the ground or to the stroke."""

DIRECTIONS = {
    "right": (0, 1),
    "down and right": (1, 1),
    "down": (1, 0),
    "down and left": (1, -1),
    "left": (0, -1),
    "up and left": (-1, -1),
    "up": (-1, 0),
    "up and right": (-1, 1),
}
"""(rows, columns), clockwise from the right in steps of 45 degrees."""


def rgb(colours: dict[str, tuple[float, float, float]]) -> np.ndarray:
    """Returns the colours (N, 3) float32 of a table in [-1, 1], as pixels are."""
    return 2 * np.array(list(colours.values()), np.float32) - 1


def fill(template: str, **words: str) -> str:
    """Returns a caption; "a" before a vowel that is heard is "an"."""
    return re.sub(r"\ba(?= (?!one)[aeiou])", "an", template.format(**words))


def says(template: str, name: str) -> bool:
    """Whether a template has a place for a word."""
    return f"{{{name}}}" in template


def encoded(caption: str) -> np.ndarray:
    """Returns the bytes of a caption as uint8, as records hold it."""
    return np.frombuffer(caption.encode(), np.uint8)
