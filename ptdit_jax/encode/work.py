"""The units of one process, one after the other, until they are done or somebody asks it to stop."""

import contextlib
import itertools
import shutil
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ptdit_jax.encode.folder import Folder, Unit
from ptdit_jax.encode.networks import Networks
from ptdit_jax.encode.pipeline import Pipeline
from ptdit_jax.encode.reading import Reader, Rejected, Sample
from ptdit_jax.encode.sources import Sources
from ptdit_jax.processes import distributed, signals, watchdog
from ptdit_jax.progress import Bar

DAYS = (
    30 * 24 * 3600.0
)  # seconds: processes end at different times, and one that is lost is noticed all the same
MIB = 2**20


def share(folder: Folder, sources: Sources) -> tuple[list[int], int]:
    """The units that this process is to do, every P-th of those that process 0 finds not to be done, and their number.

    All processes come here at once: they are to divide the same units, whatever is seen later on other machines.
    """
    done = np.array([folder.done(number) is not None for number in range(sources.units)])
    if jax.process_count() > 1:
        done = np.asarray(multihost_utils.broadcast_one_to_all(done.astype(np.int32))).astype(bool)
    todo = np.flatnonzero(~done)
    return [int(n) for n in todo[jax.process_index() :: jax.process_count()]], len(todo)


def encode_units(
    config: Any,
    units: Sequence[int],
    reader: Reader,
    sources: Sources,
    networks: Networks,
    folder: Folder,
    launch: distributed.Launch,
) -> int:
    """Encode the units of this process; returns the signal that stopped any process, 0 for none.

    Args:
      config: the whole config.
      units: of this process.
      reader: of the records.
      sources: the records.
      networks: the encoders.
      folder: where shards go.
      launch: its step_timeout is what a batch may take.
    """
    records = sum(len(sources.places(unit)) for unit in units)
    processes = jax.process_count()
    name = "encoding" if processes == 1 else f"encoding (process 0 of {processes})"
    bar = Bar(records, name, "record", silent=jax.process_index() != 0)
    dog = watchdog.Watchdog(
        launch.step_timeout,
        folder.path / f"hang-p{jax.process_index()}.txt",
        first=launch.start_timeout,
    )
    left_out = batches = 0

    def count(result: Sample | Rejected) -> None:
        nonlocal left_out
        left_out += isinstance(result, Rejected)
        bar.update(text=f"{left_out:,} left out" if left_out else None)

    def beat() -> None:
        nonlocal batches
        dog.beat(batches := batches + 1)

    stream = reader.stream(itertools.chain.from_iterable(map(sources.places, units)))
    with signals.StopRequest() as stop, bar, dog, contextlib.closing(stream):
        for number in units:
            if stop.signal is not None or folder.stopping():
                break
            shard_bytes = config.encode.shard_mib * MIB
            pipeline = Pipeline(folder.path, number, networks, shard_bytes=shard_bytes, beat=beat)
            unit = pipeline.run(itertools.islice(stream, len(sources.places(number))), count)
            folder.finish(unit)
            if number == units[0] and jax.process_index() == 0:
                _foresee(bar, folder, unit, len(units) * processes)
        signal = 0 if stop.signal is None else int(stop.signal)
        if signal:
            folder.ask_to_stop()
    if processes > 1:
        if jax.process_index() == 0 and not signal:
            print("process 0 has done its part; waiting for the others", flush=True)
        distributed.meet("see that all is done", DAYS)
    return signals.Agreement().now(signal)


def _foresee(bar: Bar, folder: Folder, unit: Unit, units: int) -> None:
    """After the first unit: say how much there will be, and whether the disk has room."""
    need = sum(shard["bytes"] for shard in unit.shards) * (units - 1)
    free = shutil.disk_usage(folder.path).free
    if need:
        bar.write(f"about {need / 2**30:,.1f} GiB more will be written; {free / 2**30:,.1f} GiB are free")
    if need > free:
        bar.write(f"warning: the disk of --out={folder.path} has no room for that; what is done will be kept")
