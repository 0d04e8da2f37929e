"""What is done once, when all units are: the index, the empty caption, the list of what was left out, the summary."""

import time
from typing import Any

import jax
import numpy as np

from data_pipelines.shards.index import INDEX_FILE, read_index, write_index
from data_pipelines.text import NULL_FILE
from ptdit_jax import cli, files
from ptdit_jax.encode import summary
from ptdit_jax.encode.folder import Folder, Unit
from ptdit_jax.encode.networks import Networks
from ptdit_jax.encode.sources import Sources

PATIENCE = 60  # seconds that files of other machines may need to be seen here


def missing(folder: Folder, sources: Sources) -> list[int]:
    """The units that are not done."""
    return [number for number in range(sources.units) if folder.done(number) is None]


def is_finished(folder: Folder) -> bool:
    """Whether all that `finish` writes is there."""
    return all((folder.path / name).is_file() for name in (INDEX_FILE, summary.QUARANTINE, summary.PAGE))


def describe(folder: Folder) -> str:
    """What is in the folder, in a line."""
    index = read_index(folder.path)
    size = sum(shard.bytes for shard in index.shards)
    count = f"{index.records:,} records of {len(index.shapes)} shape(s) in {len(index.shards):,} shards"
    return f"{count}, {size / 2**20:,.1f} MiB, {folder.path / INDEX_FILE}"


def finish(config: Any, folder: Folder, sources: Sources, networks: Networks) -> None:
    """Write the index and what goes with it.

    Raises:
      RunError: a unit is missing, or nothing is left of the source.
      OSError: a file cannot be written.
    """
    units = _units(folder, sources)
    reasons = summary.write_quarantine(folder.path, units)
    entries = [shard for unit in units for shard in unit.shards]
    left_out = reasons.total()
    if left_out:
        print(
            f"left out: {left_out:,} records ({summary.by_reason(reasons)}), {folder.path / summary.QUARANTINE}"
        )
    if not entries:
        raise cli.RunError(
            f"nothing is left of the {len(sources):,} records ({summary.by_reason(reasons)}); "
            f"{folder.path / summary.QUARANTINE} says why of each"
        )
    autoencoder, text = networks.autoencoder, networks.text
    if text is not None:
        null = np.asarray(text.null(), np.float32)
        content = {"null_text": null, "null_mask": np.ones(len(null), bool)}
        files.write(folder.path / NULL_FILE, lambda draft: np.savez(draft, **content))
    facts = {
        "autoencoder": autoencoder.fingerprint,
        "text_encoder": text.fingerprint if text is not None else "",
        "scale": autoencoder.scale,
        "shift": autoencoder.shift,
        "factor": list(autoencoder.factor),
        "channels": autoencoder.channels,
        "text_length": config.model.text_length if text is not None else None,
        "raw_records": len(sources),
        "left_out": dict(sorted(reasons.items())),
    }
    write_index(folder.path, entries, facts)
    page = summary.draw(folder.path, units, reasons, autoencoder)
    folder.forget_stop()
    print(f"done: {describe(folder)}; {page}", flush=True)


def _units(folder: Folder, sources: Sources) -> list[Unit]:
    """All units, in order."""
    deadline = time.monotonic() + (PATIENCE if jax.process_count() > 1 else 0)
    while absent := missing(folder, sources):
        if time.monotonic() > deadline:
            raise cli.RunError(
                f"units {', '.join(map(str, absent[:8]))} of {sources.units} are not in {folder.path}; is it on "
                "storage that all processes share?  The same command goes on"
            )
        time.sleep(1)
    return [unit for number in range(sources.units) if (unit := folder.done(number)) is not None]
