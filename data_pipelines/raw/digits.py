"""The digits that scikit-learn ships, as pictures and as films, with captions and labels: data without a download."""

import numpy as np

from data_pipelines.captions import PHRASES, digit_caption
from data_pipelines.raw.media import Pixels
from data_pipelines.raw.records import RawRecord
from data_pipelines.sources import DIGIT_CLASSES, DIGIT_SIDE, Digits, MovingDigits


class DigitPictures:
    """1,797 scans as grey pictures, each with one of four phrasings of its caption, and with its label."""

    kind = "image"
    classes: int | None = DIGIT_CLASSES
    notes: tuple[str, ...] = ()

    def __init__(self, path: str = "", *, side: int = DIGIT_SIDE) -> None:
        """Loads the scans.

        Args:
            path: must be empty, they are embedded.
            side: rows and columns of the pictures, a multiple of 8.

        Raises:
            ValueError: `side` is none.
        """
        _check(path, "digits")
        if side < DIGIT_SIDE or side % DIGIT_SIDE:
            raise ValueError(f"digits: side={side} must be a multiple of {DIGIT_SIDE}")
        self._source = Digits(side, side)

    def __len__(self) -> int:
        """Returns 1797."""
        return len(self._source)

    def __getitem__(self, record: int) -> RawRecord:
        """Returns scan number `record`."""
        sample = self._source[record]
        return _record(f"digit_{record:04d}", self.kind, sample, record % len(PHRASES))


class DigitFilms:
    """Films in which one scan moves and bounces, with captions and labels."""

    kind = "video"
    classes: int | None = DIGIT_CLASSES
    notes: tuple[str, ...] = ()

    def __init__(self, path: str = "", *, frames: int = 16, height: int = 32, width: int = 32) -> None:
        """Takes the sizes of a film.

        Args:
            path: must be empty, they are embedded.
            frames: of each.
            height: rows.
            width: columns.

        Raises:
            ValueError: they are too few or too small.
        """
        _check(path, "moving_digits")
        self._source = MovingDigits(frames, height, width)

    def __len__(self) -> int:
        """Returns 8 films for each scan."""
        return len(self._source)

    def __getitem__(self, record: int) -> RawRecord:
        """Renders film number `record`."""
        phrase = record % len(PHRASES)
        return _record(f"moving_digit_{record:05d}", self.kind, self._source[record], phrase)


def _check(path: str, name: str) -> None:
    if path:
        raise ValueError(f"{name}: is embedded and takes no path, not {path!r}")


def _record(key: str, kind: str, sample: dict[str, np.ndarray], phrase: int) -> RawRecord:
    grey = np.rint((sample["x"][0] + 1) * 127.5).astype(np.uint8)  # (F, H, W)
    label = int(sample["label"])
    frames = np.repeat(grey[..., None], 3, axis=-1)
    return RawRecord(key, kind, (Pixels(frames),), digit_caption(label, phrase), label)
