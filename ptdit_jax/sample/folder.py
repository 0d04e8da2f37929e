"""The folder of many samples: what they are of, which are made, and what is made of them all.

    DIR/settings.json       of what, and how; samples of other settings are refused
    DIR/000012-0003.png     the fourth sample of the thirteenth prompt or class
    DIR/summary.png         some of them, when all are there

A file that is there is whole and is not made again.  Samples are made in groups of sampling.batch, always the same, and
of a group that lacks some all are computed and those are written: so they are the same to the byte after a kill.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ptdit_jax import files, plots
from ptdit_jax.experiment.shared_folder import SharedFolder
from ptdit_jax.sample import npz_stream, one_file

SUMMARY = "summary.png"
SHOWN, THUMBNAIL = 64, 128  # samples of the summary at most, and the pixels of a side that they are shrunk to


class Unit(NamedTuple):
    """One sample.

    Attributes:
      number: among all.
      label: its class, or the number of its prompt; 0 of a model without condition.
      turn: which sample of that label it is.
    """

    number: int
    label: int
    turn: int


class Plan(NamedTuple):
    """All samples: a prompt after the other, `count` of each; or `count` of all classes in turn, or of one.

    Attributes:
      count: see above.
      prompts: how many there are; 0 for a model without text.
      classes: how many there are; 1 without condition.
      only: the one class, or None.
      batch: samples of a group.
      suffix: of the files.
    """

    count: int
    prompts: int
    classes: int
    only: int | None
    batch: int
    suffix: str

    @property
    def total(self) -> int:
        """Samples."""
        return self.count * (self.prompts or 1)

    @property
    def groups(self) -> int:
        """Groups; the last one may be smaller."""
        return -(-self.total // self.batch)

    def unit(self, number: int) -> Unit:
        """What a sample is of."""
        if self.prompts:
            return Unit(number, number // self.count, number % self.count)
        if self.only is not None:
            return Unit(number, self.only, number)
        return Unit(number, number % self.classes, number // self.classes)

    def group(self, number: int) -> list[Unit]:
        """The samples of a group."""
        first = number * self.batch
        return [self.unit(n) for n in range(first, min(first + self.batch, self.total))]

    def name(self, unit: Unit) -> str:
        """The file of a sample."""
        return one_file.name(unit.label, unit.turn, self.suffix)


class Folder(SharedFolder):
    """The output folder of one process."""

    PLAN, WORK = "settings.json", "draws"

    def foreign(self) -> Iterator[Path]:
        """Samples."""
        return (path for path in self.path.iterdir() if path.suffix in one_file.FORMATS)

    def made(self) -> set[str]:
        """The names of the files that are there."""
        with os.scandir(self.path) as entries:
            return {entry.name for entry in entries}


def digest(lines: Sequence[str]) -> str:
    """sha256 of prompts, hex."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_summary(folder: Folder, plan: Plan) -> Path:
    """Draw some of the samples, evenly chosen, small, under the numbers of their labels; of films their middle frame.

    Returns:
      The picture.
    """
    chosen = np.unique(np.linspace(0, plan.total - 1, min(SHOWN, plan.total)).round().astype(int))
    units = [plan.unit(int(number)) for number in chosen]
    small = [_thumbnail(one_file.read(folder.path / plan.name(unit))) for unit in units]
    images = np.stack(small).astype(np.float32).transpose(0, 3, 1, 2)[:, :, None] / 127.5 - 1
    has_names = bool(plan.prompts) or plan.classes > 1
    names = [unit.label for unit in units] if has_names else None
    files.write(folder.path / SUMMARY, lambda draft: plots.sample_grid(images, names, draft))
    return folder.path / SUMMARY


def _thumbnail(film: np.ndarray) -> np.ndarray:
    frame = film[len(film) // 2]
    small = one_file.picture(frame)
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    pixels = np.asarray(small)
    return pixels.reshape(*pixels.shape[:2], -1)


def write_npz(folder: Folder, plan: Plan, path: Path) -> None:
    """Put all samples, in order, into a file for ADM's evaluator; one sample is in memory at a time."""

    def samples() -> Iterator[np.ndarray]:
        for number in range(plan.total):
            film = one_file.read(folder.path / plan.name(plan.unit(number)))
            yield film[0] if len(film) == 1 else film

    labels = None
    if plan.classes > 1 and not plan.prompts:
        labels = np.array([plan.unit(number).label for number in range(plan.total)], np.int32)
    shape = (plan.total, *next(samples()).shape)
    files.write(path, lambda draft: npz_stream.write(draft, samples(), shape, labels))
