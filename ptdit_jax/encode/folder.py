"""The folder of an encoding: whose it is, which units are done, and the lock.

    DIR/encode.json               what the shards are made of; another config, source or encoder is refused
    DIR/units/000012.json         written when unit 12 is done: its shards, and what was left out
    DIR/source_index/             where the samples of tars are, so that a resume need not read all of these
    DIR/index.json, null_text.npz, quarantine.jsonl, summary.png     when all units are

A unit whose file is there, and whose shards are, is not done again.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ptdit_jax import config as rules
from ptdit_jax import files
from ptdit_jax.experiment.shared_folder import SharedFolder

UNITS = "units"
SOURCE_INDEX = "source_index"  # where the samples of tars are, see `data_pipelines.raw.webdataset`
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


class Folder(SharedFolder):
    """The output folder of one process."""

    PLAN, STOPPING, WORK = "encode.json", f"{UNITS}/stopping", "encodes"

    def __init__(self, path: Path):
        """Take a folder that exists; see `files.make_folder`."""
        super().__init__(path)
        self._plan = ""

    def foreign(self) -> Iterator[Path]:
        """Shards, or their index."""
        yield from self.path.glob("*.array_record")
        yield from self.path.glob("index.json")

    def begin(self, plan: dict[str, Any], *, write: bool) -> dict[str, Any]:
        """As every shared folder, with a place for units; `identity` gives the plan."""
        plan = super().begin(plan, write=write)
        (self.path / UNITS).mkdir(exist_ok=True)
        self._plan = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
        return plan

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
