"""Which frames of a film are wanted."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Clip:
    """Which frames of a film are wanted.

    Attributes:
        frames: F.
        fps: frames a second; 0 for those of the film itself.
        stride: without fps, every so many-th frame of the film.
        start: seconds from its begin; "middle" puts the clip into the middle of the film.
    """

    frames: int = 1
    fps: float = 0.0
    stride: int = 1
    start: float | str = 0.0

    def __post_init__(self) -> None:
        for name, fine, wanted in (
            ("frames", self.frames >= 1, "1 or more"),
            ("fps", math.isfinite(self.fps) and self.fps >= 0, "0 (that of the film) or more"),
            ("stride", self.stride >= 1, "1 or more"),
            (
                "start",
                self.start == "middle"
                or (not isinstance(self.start, str) and math.isfinite(self.start) and self.start >= 0),
                "seconds, 0 or more, or 'middle'",
            ),
        ):
            if not fine:
                raise ValueError(f"{name}={getattr(self, name)!r} must be {wanted}")
        if self.fps and self.stride != 1:
            raise ValueError(f"fps={self.fps:g} and stride={self.stride}: give one of them")
