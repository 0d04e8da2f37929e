"""The command line of ingest; launch/ingest.sh runs it in an environment that has Apache Beam."""

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data_pipelines.ingest.options import parse

STATE = "ingest.json"  # what a folder of results was begun with
VERSION = 1  # of the layout and of what is measured
DONE, FAILURE, USER_ERROR, INTERRUPTED = 0, 1, 2, 130  # exit codes
LOCK = "ingest.lock"


def main(argv: Sequence[str]) -> int:
    """Runs the pipeline.

    Args:
        argv: the command line without the program.

    Returns:
        The exit code.

    Raises:
        ValueError: the command is wrong, or nothing is left.
        OSError: the machine failed.
    """
    settings, out, flags = parse(argv)
    _log()  # before Beam sets up its own
    import apache_beam as beam  # pyright: ignore[reportMissingImports]
    from apache_beam.io.filesystems import FileSystems  # pyright: ignore[reportMissingImports]

    from data_pipelines.ingest import pipeline, storage, units
    from data_pipelines.ingest.report import JSON, TEXT, nothing_left
    from data_pipelines.ingest.runner import beam_options

    options = beam_options(flags)
    FileSystems.set_options(options)
    plan = units.plan(settings, out)
    units.check_columns(plan, settings)
    state = {"version": VERSION, "inputs": units.fingerprint(plan), **dataclasses.asdict(settings)}
    if "/" not in out and not storage.is_url(out):
        out = f"./{out}"
    with _locked(out):
        _begin(out, state)
        report = storage.join(out, JSON)
        if storage.exists(report):
            print(f"{out} is finished already, with the same input and flags; its report:\n")
        else:
            content = "".join(json.dumps(unit) + "\n" for unit in plan)
            storage.write_bytes(storage.join(out, pipeline.UNITS), out, content.encode())
            logging.getLogger(__name__).info("%d units to read; results go to %s", len(plan), out)
            running = beam.Pipeline(options=options)
            pipeline.build(running, settings, out)
            running.run().wait_until_finish()
            storage.delete(storage.join(out, storage.DRAFTS))  # of workers that were killed
        print(storage.read_bytes(storage.join(out, TEXT)).decode(), end="")
        content = json.loads(storage.read_bytes(report))
        if not content["kept"]:
            raise ValueError(nothing_left(content))
    return DONE


def _begin(out: str, state: dict[str, Any]) -> None:
    """Takes a folder that is new, or was begun with the same.

    Raises:
        ValueError: it holds something else.
    """
    from data_pipelines.ingest import storage

    place = storage.join(out, STATE)
    state = json.loads(json.dumps(state))  # tuples are lists there
    if not storage.exists(place):
        ours = (storage.join(out, storage.DRAFTS) + "/", storage.join(out, LOCK))
        if other := [entry.uri for entry in storage.entries(out) if not entry.uri.startswith(ours)]:
            raise ValueError(
                f"--out={out} holds {os.path.basename(other[0])}, which is none of ingest; name a new folder"
            )
        storage.write_bytes(place, out, (json.dumps(state, indent=2) + "\n").encode())
        return
    try:
        before = json.loads(storage.read_bytes(place))
        names = [name for name in state if before.get(name) != state[name]]
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{place} cannot be read: {error}") from error
    if names:
        name = min(names, key=lambda name: (name == "inputs", list(state).index(name)))  # a flag says more
        what = (
            "files that have changed"
            if name == "inputs"
            else f"{name} {before.get(name)!r}, now {state[name]!r}"
        )
        raise ValueError(f"--out={out} was begun with {what}; name another folder, or delete this one")


@contextlib.contextmanager
def _locked(out: str) -> Iterator[None]:
    """Keeps a second run on this machine out of the folder.

    Raises:
        ValueError: there is one.
        OSError: the folder cannot be made.
    """
    from data_pipelines.ingest import storage

    if storage.is_url(out):
        yield
        return
    Path(out).mkdir(parents=True, exist_ok=True)
    with Path(out, LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"--out={out} is being written by another run; wait for it, or name another"
            ) from None
        yield


def _log() -> None:
    """Lines of ours on standard error, and all that Beam says where PTDIT_DEBUG is set."""
    level = logging.INFO if os.environ.get("PTDIT_DEBUG") else logging.CRITICAL
    logging.basicConfig(format="%(message)s", level=level)
    logging.getLogger("data_pipelines").setLevel(logging.INFO)


def _run(argv: Sequence[str]) -> int:
    """Calls `main`, and turns what it raises into a line and an exit code."""
    try:
        return main(argv)
    except ValueError as error:
        code, text = USER_ERROR, str(error)
    except KeyboardInterrupt:
        code, text = INTERRUPTED, "interrupted; started again, it goes on"
    except ImportError as error:
        code, text = FAILURE, f"{error}; launch/ingest.sh installs what is needed"
    except OSError as error:
        code, text = FAILURE, str(error)
    except Exception as error:  # of Beam, around what a worker raised
        if os.environ.get("PTDIT_DEBUG"):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        code, text = (
            FAILURE,
            f"{lines[-1]}\nstarted again, it goes on; PTDIT_DEBUG=1 shows where this comes from",
        )
    for line in text.splitlines():
        print(f"error: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:]))
