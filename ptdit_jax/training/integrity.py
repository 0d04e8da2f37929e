"""Whether the steps of a run are as they were written, and what to do when they are not.

A step is written with `checksums.json`, made when all processes have written their part and before the folder gets
its name: it is there from the first moment, and every changed byte is found.  A step without it (an older one, or
where it was deleted) is judged by reading: what does not read is found, a changed number in an array is not.

Two files of a step are written after its checksums: `_CHECKPOINT_METADATA` and `commit_success.txt` say when it was
written.  Nothing that is read depends on them, and damage to them changes nothing.
"""

import contextlib
import itertools
import json
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from ptdit_jax.training import checksums

WRITTEN_LATER = ("_CHECKPOINT_METADATA", "commit_success.txt")
JSON_PARTS = ("progress", "config")
NAMED = 3  # whole steps that a message names
DAY = 24 * 3600 * 1000  # milliseconds; a process that is lost while others wait is noticed elsewhere
_decisions = itertools.count()


class CheckpointError(OSError):
    """A checkpoint could not be written or read; the message has folder, reason and what is whole."""


def seal(step: Path) -> None:
    """Write the checksums of a step, whose folder may still have a temporary name.

    Raises:
      OSError: a file cannot be read or written.
    """
    checksums.write(step, but=WRITTEN_LATER)


def damage(step: Path, parts: Collection[str] | None = None, *, read: bool = True) -> str | None:
    """What is wrong with a step: the first file at fault and how, or None.

    Args:
      step: its folder.
      parts: names of the items that matter; None for all.
      read: whether the arrays of a step without checksums are read to find out, which takes as much memory as its
        largest part.
    """
    try:
        files = checksums.read(step)
    except FileNotFoundError:
        return _damage_by_reading(step, parts, read=read)
    except ValueError:
        return f"{checksums.FILE} itself; without that file the step is taken if all of it can be read"
    except OSError as error:
        return f"{checksums.FILE} cannot be read: {error.strerror}"
    if parts is not None:
        files = {name: facts for name, facts in files.items() if _part(name) in parts}
    return checksums.difference(step, files)


def parts_of(step: Path) -> list[str]:
    """The names of the items that a step was written with, as far as it still says."""
    try:
        names = {_part(name) for name in checksums.read(step)}
    except (OSError, ValueError):
        try:
            names = set(json.loads((step / "_CHECKPOINT_METADATA").read_bytes())["item_handlers"])
        except (OSError, ValueError, KeyError, TypeError):
            names = {path.name for path in step.iterdir() if path.is_dir()} if step.is_dir() else set()
    return sorted(names)


def steps(folder: Path) -> list[Path]:
    """The folders of the steps in `checkpoints` of a run, newest first."""
    found = [path for path in folder.iterdir() if path.is_dir() and path.name.isdecimal()]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def newest_whole(folder: Path, *, on_damage: str) -> int | None:
    """The step that a run goes on from; every process is to call it, and all get the same.

    Args:
      folder: `checkpoints` of the run.
      on_damage: "previous" renames damaged steps that are newer to `damaged-STEP`, with a line about each.

    Returns:
      The newest step; None where there are none.

    Raises:
      CheckpointError: it is damaged, and `on_damage` is "stop" or no other is whole.
    """
    step, error = decided_by_first(lambda: _choose(folder, on_damage))
    if error:
        raise CheckpointError(error)
    return step


def _choose(folder: Path, on_damage: str) -> tuple[int | None, str | None]:
    """The step to go on from, and why there is none."""
    damaged: dict[Path, str] = {}
    good = None
    for step in steps(folder):
        defect = damage(step)
        if defect is None:
            good = step
            break
        damaged[step] = defect
    if damaged and (good is None or on_damage != "previous"):
        newest, defect = next(iter(damaged.items()))
        advice = f"--config.checkpoint.on_damage=previous goes on from {good}, the newest that is whole"
        none = f"no checkpoint in {folder} is whole"
        return None, f"checkpoint {newest} is damaged: {defect}; {advice if good else none}"
    for step, defect in damaged.items():
        aside = _free_name(step.with_name(f"damaged-{step.name}"))
        step.rename(aside)
        print(
            f"warning: checkpoint {step} is damaged: {defect}; it is now {aside}, and the run goes on from {good}",
            file=sys.stderr,
            flush=True,
        )
    return int(good.name) if good else None, None


def _free_name(path: Path) -> Path:
    more = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(name for name in itertools.chain([path], more) if not name.exists())


def require_whole(step: Path, parts: Collection[str]) -> None:
    """Refuse a step whose files are not what was written, before they are read; every process is to call it.

    Args:
      step: its folder.
      parts: the items that are to be read; nothing else is looked at.

    Raises:
      CheckpointError: the message says what is wrong, and which steps of the run are whole.
    """

    def verdict() -> str | None:
        defect = damage(step, parts, read=False)
        return defect and f"checkpoint {step} is damaged: {defect}; {_whole_besides(step)}"

    if text := decided_by_first(verdict):
        raise CheckpointError(text)


def require_parts(step: Path, parts: Collection[str]) -> None:
    """Refuse a step that was written without some parts.

    Raises:
      CheckpointError: it was.
    """
    there = parts_of(step)
    absent = [part for part in parts if part not in there]
    if absent:
        hint = "; train.init_from starts a new run with its params" if "train" in absent else ""
        raise CheckpointError(
            f"checkpoint {step}: {absent[0]} cannot be read: the checkpoint has {', '.join(there)}{hint}"
        )


@contextlib.contextmanager
def reading(step: Path) -> Iterator[None]:
    """Around the reading of a step that passed `require_whole`: says what it means when it fails all the same.

    Raises:
      CheckpointError: it failed, otherwise than for want of memory or of another process.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError):
        raise
    except Exception as error:  # what libraries meet in damaged files can be anything
        why, advice = "it is of another network, optimizer or version", ""
        if not (step / checksums.FILE).is_file():
            why += f", or damaged: it has no {checksums.FILE} to tell by"
            advice = f"; {_whole_besides(step)}"
        raise CheckpointError(
            f"checkpoint {step} could not be read: {why} ({_said(error)}){advice}"
        ) from error


def _whole_besides(step: Path) -> str:
    """The newest other steps of the run that are whole; each is read to know."""
    others = (other for other in steps(step.parent) if other.name != step.name)
    sound = (other.name for other in others if damage(other) is None)
    return f"whole in {step.parent}: {', '.join(itertools.islice(sound, NAMED)) or 'no other'}"


def decided_by_first(decide: Callable[[], Any]) -> Any:
    """What `decide` returns on process 0, which alone calls it, on every process; something that JSON can hold.

    The others wait for it as long as it takes: at a barrier, because collectives of devices have limits of time.
    """
    if jax.process_count() == 1:
        return decide()
    text = json.dumps(decide()).encode() if jax.process_index() == 0 else b""
    ocp.multihost.get_barrier_sync_fn()(key=f"ptdit_jax-decision-{next(_decisions)}", timeout_ms=DAY)
    length = int(ocp.multihost.broadcast_one_to_all(np.int32(len(text))))
    padded = np.frombuffer(text.ljust(length), np.uint8)
    return json.loads(np.asarray(ocp.multihost.broadcast_one_to_all(padded)).tobytes())


def _part(name: str) -> str:
    return name.split("/", 1)[0]


def _damage_by_reading(step: Path, wanted: Collection[str] | None, *, read: bool) -> str | None:
    written = parts_of(step)
    if not written:
        return "its folder is empty"
    for part in written if wanted is None else [name for name in wanted if name in written]:
        if not (step / part).is_dir():
            return f"the folder {part} is missing"
        names = ["metadata"]
        if part not in JSON_PARTS:
            names = [
                "_METADATA",
                *(f"array_metadatas/{p.name}" for p in (step / part / "array_metadatas").glob("*")),
            ]
        for file in (step / part / name for name in names):
            if defect := _damage_of_json(file):
                return f"{file.relative_to(step).as_posix()} {defect}"
        if read and part not in JSON_PARTS and (defect := _damage_of_arrays(step / part)):
            return f"{part} {defect}"
    return None


def _damage_of_json(file: Path) -> str | None:
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError:
        return "is no JSON" if file.stat().st_size else "is empty"
    return None if isinstance(content, dict) else "is not what was written"


def _damage_of_arrays(folder: Path) -> str | None:
    """Read a part into the memory of this process alone, and let go of it."""
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(), active_processes={jax.process_index()}
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    try:
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
            leaves = checkpointer.metadata(folder).item_metadata.tree
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), leaves)
            checkpointer.restore(folder, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
    except Exception as error:  # what libraries meet in damaged files can be anything
        return f"cannot be read ({_said(error)})"


def _said(error: Exception) -> str:
    """What a library said, to stand behind what it means."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"the storage library says: {line.split(' See full TensorStore details')[0][:300]}"
