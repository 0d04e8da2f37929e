"""Captions of digits, and their exact encoding, which nothing has to learn: each byte and its place.

Shapes: l text tokens of a caption, E = 288 features.
"""

import numpy as np

PLACES = 32  # bytes that a caption may have, with its end
DIM = 256 + PLACES
NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PHRASES = ("a handwritten {word}", "the digit {numeral}", "{word}", "a scan of the number {word}")


def digit_caption(digit: int, phrase: int) -> str:
    """Returns phrasing number `phrase` of a digit, such as "a handwritten three"."""
    return PHRASES[phrase].format(word=NUMERALS[digit], numeral=digit)


def encode(caption: str) -> np.ndarray:
    """Returns the text states (l, E) float32 of a caption: one a byte of its UTF-8, and one for the end.

    A state is the one-hot code of the byte (0 is the end) beside that of its place, because attention to the states
    sees no order. The empty caption is an end alone.

    Raises:
        ValueError: the caption is longer than 31 bytes, or has a byte 0.
    """
    codes = [*caption.encode(), 0]
    if len(codes) > PLACES or 0 in codes[:-1]:
        raise ValueError(f"caption {caption!r}: must have at most {PLACES - 1} bytes, none of them 0")
    return np.concatenate([np.eye(256)[codes], np.eye(PLACES)[: len(codes)]], axis=1).astype(np.float32)
