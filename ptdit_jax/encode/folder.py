"""The folder of an encoding: whose it is, which units are done, and the lock.

    DIR/encode.json               what the shards are made of; another config, source or encoder is refused
    DIR/units/000012.json         written when unit 12 is done: its shards, and what was left out
    DIR/source_index/             where the samples of tars are, so that a resume need not read all of these
    DIR/index.json, null_text.npz, quarantine.jsonl, summary.png     when all units are

A unit whose file is there, and whose shards are, is not done again.
"""

import dataclasses
import errno
import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from ptdit_jax import config as rules
from ptdit_jax import files

VERSION = 1
PLAN, UNITS = "encode.json", "units"
SOURCE_INDEX = "source_index"  # where the samples of tars are, see `data_pipelines.raw.webdataset`
STOPPING = "stopping"  # made by a process that was asked to end, seen by the others before their next unit
FIELDS = (  # of the config, that say what is in the shards
    "data.height",
    "data.width",
    "data.frames",
    "data.pixel_frames",
    "model.text_length",
    "text_encoder.clean",
    "text_encoder.dtype",
    "autoencoder.",
    "encode.",
    "mesh.tensor",
)
FREE = (
    "encode.decode_threads",
    "autoencoder.path",
    "autoencoder.posterior",
)  # fields among them that change nothing in the shards


@dataclasses.dataclass
class Unit:
    """What came of a unit.

    Attributes:
      number: of the unit.
      records: raw records that it has.
      shards: entries of `data_pipelines.shards`, one a file.
      quarantine: what was left out, `reading.Rejected` as dicts.
      statistics: counts for the summary, see `summary.Statistics`.
    """

    number: int
    records: int
    shards: list[dict[str, Any]]
    quarantine: list[dict[str, Any]]
    statistics: dict[str, Any]


class Folder:
    """The output folder of one process."""

    def __init__(self, path: Path):
        """Take a folder that exists; see `files.make_folder`."""
        self.path = path
        self._plan = ""
        self._lock: int | None = None

    def __enter__(self) -> "Folder":
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
            raise OSError(f"--out={self.path}: another process encodes into it") from error
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):  # a file system without locks
                raise

    def begin(self, identity: dict[str, Any], *, write: bool) -> None:
        """Say what is encoded into it, or see that it is what was begun.

        Args:
          identity: plain values by name, of the config, the sources and the encoders.
          write: whether this process is the one that says so.

        Raises:
          ValueError: something else was begun in it; the message names every difference.
        """
        identity = json.loads(json.dumps(identity))
        place = self.path / PLAN
        if not place.exists() and write:
            others = [p for p in self.path.glob("*.array_record")]
            if (self.path / "index.json").exists() or others:
                raise ValueError(
                    f"--out={self.path} has shards that were not made by this command; name another"
                )
            text = json.dumps({"version": VERSION, "made of": identity}, indent=1) + "\n"
            files.write(place, lambda draft: draft.write_text(text))
        (self.path / UNITS).mkdir(exist_ok=True)
        try:
            begun = json.loads(place.read_text())
            before, version = begun["made of"], begun["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{place} is not what was written; name another --out, or remove it") from error
        if version != VERSION:
            raise ValueError(f"{place} is of version {version}, not {VERSION}; name another --out")
        names = [name for name in {**before, **identity} if before.get(name) != identity.get(name)]
        if names:
            changes = "; ".join(f"{name}={identity.get(name)!r}, was {before.get(name)!r}" for name in names)
            raise ValueError(
                f"--out={self.path} was begun otherwise: {changes}.  Name another --out, or undo this"
            )
        self._plan = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def done(self, number: int) -> Unit | None:
        """A unit that is done and whole, or None."""
        try:
            content = json.loads((self.path / UNITS / f"{number:06d}.json").read_text())
            plan = content.pop("plan")
            unit = Unit(**content)
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return None
        whole = all(self._has(shard) for shard in unit.shards)
        return unit if plan == self._plan and unit.number == number and whole else None

    def _has(self, shard: dict[str, Any]) -> bool:
        try:
            return (self.path / shard["file"]).stat().st_size == shard["bytes"]
        except FileNotFoundError:
            return False

    def finish(self, unit: Unit) -> None:
        """Note that a unit is done; its shards are in place."""
        text = json.dumps({"plan": self._plan, **dataclasses.asdict(unit)}) + "\n"
        files.write(self.path / UNITS / f"{unit.number:06d}.json", lambda draft: draft.write_text(text))

    def stopping(self) -> bool:
        """Whether a process was asked to end."""
        return (self.path / UNITS / STOPPING).exists()

    def ask_to_stop(self) -> None:
        """Let the others end, too, after the units that they are at."""
        (self.path / UNITS / STOPPING).touch()

    def forget_stop(self) -> None:
        """Begin, or end, without such a wish."""
        (self.path / UNITS / STOPPING).unlink(missing_ok=True)


def identity(config: Any, **facts: Any) -> dict[str, Any]:
    """What an encoding is made of, by name.

    Args:
      config: the whole config.
      facts: more of it: of the sources and the encoders.
    """
    flat = rules.flatten(config)
    names = [name for name in flat if name.startswith(FIELDS) and name not in FREE]
    if not config.text_encoder.path:
        names = [name for name in names if not name.startswith(("text_encoder.", "model.text"))]
    return {**{name: flat[name] for name in names}, **facts}
