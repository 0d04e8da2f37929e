"""What Apache Beam is told: its own flags, checked, and which engine of the direct runner does the work."""

import contextlib
import io
import itertools
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import (  # pyright: ignore[reportMissingImports]
    DirectOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
)
from apache_beam.runners import create_runner  # pyright: ignore[reportMissingImports]

DIRECT = (None, "DirectRunner", "direct", "SwitchingDirectRunner")
ENGINE = "FnApiRunner"


def beam_options(flags: Sequence[str]) -> Any:
    """Makes options of Beam.

    Beam's direct runner would first download a program, Prism, and run it; the engine that it falls back on, which is
    Python like the rest, is named here instead.  More workers than one are processes, unless a flag says otherwise.

    Args:
        flags: those that are not ours; what follows a "--" is not looked at.

    Raises:
        ValueError: naming a flag that Beam does not know, or what it says of one.
    """
    flags = list(flags)
    checked = flags[: flags.index("--")] if "--" in flags else flags
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            known = PipelineOptions(checked).get_all_options()
            given = PipelineOptions(checked).get_all_options(retain_unknown_options=True)
    except SystemExit:
        line = said.getvalue().strip().splitlines()[-1]
        raise ValueError(line.partition("error: ")[2].removeprefix("argument ") or line) from None
    if unknown := [name for name in given if name not in known]:
        names = [flag.partition("=")[0] for flag in checked if flag.startswith("-")]
        name = next((name for name in names if name.lstrip("-").replace("-", "_") in unknown), unknown[0])
        raise ValueError(f"{name} is no flag of ingest, nor of Apache Beam; see --help")
    for flag, after in itertools.pairwise(checked):
        if not flag.startswith("-") and not after.startswith("-"):
            raise ValueError(f"{after!r} is no flag; see --help")
    if checked and not checked[0].startswith("-"):
        raise ValueError(f"{checked[0]!r} is no flag; see --help")
    options = PipelineOptions([flag for flag in flags if flag != "--"])
    standard, direct = options.view_as(StandardOptions), options.view_as(DirectOptions)
    if standard.runner in DIRECT:
        standard.runner = ENGINE
    try:
        create_runner(standard.runner)
    except (ValueError, AttributeError, ImportError) as error:
        raise ValueError(f"--runner {standard.runner}: {' '.join(str(error).split())}") from error
    said_how = any(flag.startswith("--direct_running_mode") for flag in checked)
    if standard.runner == ENGINE and direct.direct_num_workers != 1 and not said_how:
        direct.direct_running_mode = "multi_processing"
    options.view_as(SetupOptions).save_main_session = False
    return options
