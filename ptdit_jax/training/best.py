"""The best checkpoint of a run that is evaluated as it trains: it stays, and a link leads to it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orbax.checkpoint.checkpoint_managers import PreservationPolicy

LINK = "best"  # beside the checkpoints


class Best(PreservationPolicy):
    """Which checkpoint that is.

    Attributes:
      step: its step; None before the first evaluation.
    """

    def __init__(self, folder: Path):
        """Take the folder of the checkpoints."""
        self.step: int | None = None
        self._folder = folder

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Whether each is kept, however old."""
        del context
        return [one.step == self.step for one in checkpoints]

    def point(self) -> None:
        """Let the link lead to it, a path that `checkpoint.find` takes; called on process 0."""
        if self.step is not None:
            draft = self._folder / f".{LINK}"
            draft.unlink(missing_ok=True)
            draft.symlink_to(str(self.step))
            draft.replace(self._folder / LINK)
