"""The output folder of a verb whose processes work side by side: its lock, what was begun in it, and a wish to stop."""

import errno
import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

from ptdit_jax import files


class SharedFolder:
    """An `--out` that all processes of a run write into, each files of its own.

    Attributes:
      PLAN: name of the file that says what was begun.
      STOPPING: name of the file that a process makes which was asked to end; the others see it before their next piece
        of work.
      WORK: what a process does there, for messages.
      VERSION: of what the folder holds.
      path: of the folder.
      flag: that named it, for messages.
    """

    PLAN: ClassVar[str]
    STOPPING: ClassVar[str] = "stopping"
    WORK: ClassVar[str]
    VERSION: ClassVar[int] = 1

    def __init__(self, path: Path, flag: str = "--out"):
        """Take a folder that exists; see `files.make_folder`."""
        self.path, self.flag = path, flag
        self._lock: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def lock(self) -> None:
        """Lock it against another run; the system unlocks it however this process ends.

        Raises:
          OSError: another run has it.
        """
        self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(f"{self.flag}={self.path}: another process {self.WORK} into it") from error
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):  # a file system without locks
                raise

    def foreign(self) -> Iterable[Path]:
        """Files that only this command makes; with one of them and without `PLAN` the folder is somebody else's."""
        return ()

    def begin(self, plan: dict[str, Any], *, write: bool) -> dict[str, Any]:
        """Say what is made in it, or see that it is what was begun.

        Args:
          plan: plain values by name.
          write: whether this process is the one that says so.

        Returns:
          The plan as JSON gives it back.

        Raises:
          ValueError: something else was begun in it; the message names every difference.
        """
        plan = json.loads(json.dumps(plan))
        place = self.path / self.PLAN
        if not place.exists() and write:
            if any(True for _ in self.foreign()):
                raise ValueError(
                    f"{self.flag}={self.path} has results but no {self.PLAN}, which says of what; name another"
                )
            text = json.dumps({"version": self.VERSION, "made of": plan}, indent=1) + "\n"
            files.write(place, lambda draft: draft.write_text(text))
        try:
            begun = json.loads(place.read_text())
            before, version = dict(begun["made of"]), begun["version"]
        except FileNotFoundError as error:
            raise ValueError(
                f"{place} is not there: {self.flag} must be on storage that all processes share"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{place} is not what was written; name another {self.flag}, or remove it"
            ) from error
        if version != self.VERSION:
            raise ValueError(f"{place} is of version {version}, not {self.VERSION}; name another {self.flag}")
        names = [name for name in {**before, **plan} if before.get(name) != plan.get(name)]
        if names:
            changes = "; ".join(f"{name}={plan.get(name)!r}, was {before.get(name)!r}" for name in names)
            raise ValueError(
                f"{self.flag}={self.path} was begun with other settings: {changes}.  Name another {self.flag}, or undo "
                "this"
            )
        return plan

    def stopping(self) -> bool:
        """Whether a process was asked to end."""
        return (self.path / self.STOPPING).exists()

    def ask_to_stop(self) -> None:
        """Let the others end, too, after what they are at."""
        (self.path / self.STOPPING).touch()

    def forget_stop(self) -> None:
        """Begin, or end, without such a wish."""
        (self.path / self.STOPPING).unlink(missing_ok=True)
