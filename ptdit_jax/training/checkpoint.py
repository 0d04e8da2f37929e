"""Checkpoints of a run: written in the background, complete or absent, and enough to continue bit for bit.

A checkpoint is a folder `checkpoints/STEP` with an item for each use, so that a sampler reads only its own:

    params, ema_DECAY ...   nested dicts of float32 arrays
    train                   optimizer state, step and explosion guard
    progress                JSON: step, the key all randomness derives from, state of the data iterator
    config                  JSON: the config of the run
    checksums.json          of all these, see `integrity`

`checkpoints/best` leads to the best one of a run that is evaluated as it trains; it stays among the newest.

Orbax writes into a temporary folder and renames it, so a folder with a number for a name was whole once; what a
killed process left behind is removed at the next start.  Whether it still is whole is asked before it is read.
"""

import dataclasses
import errno
import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, LatestN

from ptdit_jax.training import integrity
from ptdit_jax.training.best import Best
from ptdit_jax.training.integrity import CheckpointError
from ptdit_jax.training.state import TrainState, Tree

__all__ = ["CheckpointError", "Checkpoints", "Progress", "find", "key_data", "load_config", "load_params"]


@dataclasses.dataclass(frozen=True)
class Progress:
    """The part of a checkpoint that is not arrays.

    Attributes:
      step: steps done.
      key: data of the run's random key, a tuple of uint32 values.
      data: state of the data iterator after `step` batches; the same on every process.
      best: step of the best checkpoint so far and its figure, where the run is evaluated.
    """

    step: int
    key: tuple[int, ...]
    data: dict[str, Any]
    best: tuple[int, float] | None = None


class Checkpoints:
    """The checkpoints of a run's folder, which belongs to this process until `close` or the end of a `with`."""

    def __init__(self, folder: Path, *, keep: int, on_damage: str = "stop"):
        """Open or create `folder`, remove what an interrupted save left, and find the last checkpoint that is whole.

        Args:
          folder: `checkpoints` of the run's folder.
          keep: newest checkpoints kept; 0 = all.
          on_damage: what to do when the newest is damaged: "stop", or "previous" to go on from the newest whole one;
            then those after it are renamed to `damaged-STEP`, which nothing reads or removes.

        Raises:
          CheckpointError: the folder cannot be created or read, another process writes into it, or checkpoints are
            damaged and `on_damage` is "stop" or none is whole.
        """
        self.folder = folder.absolute()
        self._best = Best(self.folder)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(keep or None), self._best]),
            cleanup_tmp_directories=True,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
        )
        self._saving: int | None = None
        self._good: int | None = None
        self._guarded("opened", lambda: self.folder.mkdir(parents=True, exist_ok=True))
        self._lock = os.open(self.folder, os.O_RDONLY) if jax.process_index() == 0 else None
        self._guarded("opened", self._take)
        try:
            good = self._guarded("opened", lambda: integrity.newest_whole(self.folder, on_damage=on_damage))
        except CheckpointError:
            self._release()
            raise
        self._manager = self._guarded("opened", lambda: ocp.CheckpointManager(self.folder, options=options))
        self._good = good

    @property
    def last(self) -> int | None:
        """The step of the last checkpoint that is known to be complete."""
        return self._good

    @property
    def last_path(self) -> str:
        """Where that is, for messages."""
        return "none" if self._good is None else str(self.folder / str(self._good))

    def save(self, state: TrainState, progress: Progress, config: dict[str, Any]) -> None:
        """Start to write a checkpoint; returns when the arrays may be donated, the rest is in the background.

        Args:
          state: after `progress.step` steps.
          progress: see there.
          config: the run's, as what JSON can hold.

        Raises:
          CheckpointError: this save could not start, or the one before failed.
        """
        self.wait()
        trees = {"params": state.params, **state.emas, "train": _rest(state)}
        items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
        items["progress"] = ocp.args.JsonSave(dataclasses.asdict(progress))
        items["config"] = ocp.args.JsonSave(config)
        self._saving, self._best.step = progress.step, progress.best and progress.best[0]
        args = ocp.args.Composite(**items)
        self._guarded("written", lambda: self._manager.save(progress.step, args=args, force=True))

    def check(self) -> None:
        """Raise now if a save in the background has failed; cheap enough for every step.

        Raises:
          CheckpointError: it has.
        """
        if self._saving is not None and not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Wait until the save in the background is complete.

        Raises:
          CheckpointError: it failed.
        """
        if self._saving is not None:
            self._guarded("written", self._manager.wait_until_finished)
            self._good, self._saving = self._saving, None
            if self._lock is not None:
                self._best.point()

    def restore(self, abstract: TrainState) -> tuple[TrainState, Progress]:
        """The last checkpoint.

        Args:
          abstract: shapes, dtypes and shardings of the state.

        Raises:
          CheckpointError: it cannot be read, or belongs to another network or optimizer.
        """
        assert self._good is not None
        path = self.folder / str(self._good)
        trees = {"params": abstract.params, **abstract.emas, "train": _rest(abstract)}
        items = {name: ocp.args.StandardRestore(tree) for name, tree in trees.items()}
        args = ocp.args.Composite(progress=ocp.args.JsonRestore(), **items)
        integrity.require_parts(path, ("progress", *items))
        with integrity.reading(path):
            restored = self._manager.restore(self._good, args=args)
            progress = restored["progress"]
            best = progress.get("best")
            progress = Progress(
                progress["step"], tuple(progress["key"]), progress["data"], best and tuple(best)
            )
            self._best.step = best and best[0]
            if self._lock is not None:
                self._best.point()
        emas = {name: restored[name] for name in abstract.emas}
        return TrainState(**restored["train"], params=restored["params"], emas=emas), progress

    def close(self) -> None:
        """Wait for the last save and end the background threads.

        Raises:
          CheckpointError: the last save failed.
        """
        self.wait()
        self._manager.close()
        self._release()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:  # a save that is under way may be the reason
            self._release()

    def _seal(self) -> None:
        """Called on process 0, in the background, between the last write of all and the folder's final name."""
        integrity.seal(self.folder / f"{self._saving}{ocp.path.atomicity_types.TMP_DIR_SUFFIX}")

    def _take(self) -> None:
        """Lock the folder; the system unlocks it however this process ends."""
        if self._lock is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._release()
            raise OSError("another process trains in it") from error
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):  # a file system without locks
                raise

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _guarded(self, verb: str, call: Callable[[], Any]) -> Any:
        """Run an Orbax call; the storage layer reports a full disk as ValueError too."""
        try:
            return call()
        except CheckpointError:
            raise
        except (OSError, ValueError, RuntimeError) as error:
            self._saving = None
            reason = _reason(error)
            raise CheckpointError(
                f"a checkpoint could not be {verb} in {self.folder}: {reason} "
                f"(last good checkpoint: {self.last_path})"
            ) from error


def find(path: Path, name: str = "--checkpoint") -> Path:
    """The folder of one checkpoint, from a run's folder (its newest), `checkpoints` in it, or one step.

    A step is known by what is in it: a copy of it may have any name.

    Args:
      path: the folder.
      name: the flag or field that it was given for, for messages.

    Raises:
      ValueError: there is none.
    """
    path = path.absolute()
    for folder in (path, path / "checkpoints"):
        if folder.is_dir():
            if (folder / "_CHECKPOINT_METADATA").is_file() and "orbax-checkpoint-tmp" not in folder.name:
                return folder
            steps = [int(f.name) for f in folder.iterdir() if f.is_dir() and f.name.isdigit()]
            if steps:
                return folder / str(max(steps))
    raise ValueError(
        f"{name}={path} holds no checkpoint; it must be the folder of a run (with checkpoints/ in it) "
        "or of one step"
    )


def load_config(checkpoint: Path) -> dict[str, Any]:
    """The config of a checkpoint's run, as it was given to `Checkpoints.save`.

    Args:
      checkpoint: the folder of one step, see `find`.

    Raises:
      CheckpointError: it cannot be read.
    """
    return _read(checkpoint, config=ocp.args.JsonRestore())["config"]


def load_params(checkpoint: Path, name: str, abstract: Tree) -> Tree:
    """One set of parameters of a checkpoint.

    Args:
      checkpoint: the folder of one step, see `find`.
      name: "params" or `state.ema_name(decay)`.
      abstract: shapes, dtypes and shardings.

    Raises:
      CheckpointError: it cannot be read, or the checkpoint has no such parameters.
    """
    return _read(checkpoint, **{name: ocp.args.StandardRestore(abstract)})[name]


def _read(checkpoint: Path, **items: Any) -> Any:
    integrity.require_whole(checkpoint, items)
    integrity.require_parts(checkpoint, items)
    with (
        integrity.reading(checkpoint),
        ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer,
    ):
        return checkpointer.restore(checkpoint, args=ocp.args.Composite(**items))


def _reason(error: Exception) -> str:
    """What the operating system said, where the storage layer passes it on; else the first line."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(code[1])) if code else (str(error).strip() or type(error).__name__).splitlines()[0]


def _rest(state: TrainState) -> dict[str, Any]:
    return {"step": state.step, "opt_state": state.opt_state, "guard": state.guard}


def key_data(key: jax.Array) -> tuple[int, ...]:
    """A random key as numbers for `Progress`."""
    return tuple(int(word) for word in jax.random.key_data(key))
