"""What entry points share: a config from the command line, errors as lines, the compilation cache."""

import argparse
import io
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import absl.logging
import jax
import ml_collections
from absl import flags
from ml_collections import config_flags

import configs
from configs import common
from ptdit_jax import files
from ptdit_jax.config import flatten, user_file
from ptdit_jax.processes import distributed, environment, peers
from ptdit_jax.processes.compilation_cache import enable as enable_compilation_cache

__all__ = [
    "DEFAULT_CONFIG",
    "FAILURE",
    "INTERRUPTED",
    "USER_ERROR",
    "RunError",
    "check_finite",
    "enable_compilation_cache",
    "option_parser",
    "parse",
    "run",
    "run_with_others",
]

DEFAULT_CONFIG = Path(configs.__file__).parent / "c2i_digits.py"
USER_ERROR = 2  # exit code: the command or the config is wrong
INTERRUPTED = 130  # exit code: Ctrl-C
FAILURE = 1  # exit code: the run met something it cannot mend (disk, memory, divergence)


class RunError(RuntimeError):
    """A run cannot go on, for a reason that its message tells whole.

    Attributes:
      code: the exit code.
    """

    def __init__(self, message: str, *, code: int = FAILURE):
        super().__init__(message)
        self.code = code


def parse(argv: Sequence[str], usage: str) -> tuple[ml_collections.ConfigDict, Path, bool]:
    """Read `--config FILE`, `--config.FIELD=VALUE`, `--workdir DIR` and `--debug`.

    Args:
      argv: as `sys.argv`.
      usage: what `--help` prints.

    Returns:
      The locked config; the run's folder, `runs/NAME` for a config file NAME.py unless it is given; whether
      errors show where they come from.

    Raises:
      ValueError: naming the flag that is wrong.
    """
    if {"-h", "--help"} & set(argv):
        print(usage)
        raise SystemExit(0)
    file, argv = _config_file(list(argv))
    given = user_file.load(file)
    values = flags.FlagValues()
    try:
        config = config_flags.DEFINE_config_dict("config", given, flag_values=values, sys_argv=argv)
        workdir = flags.DEFINE_string("workdir", None, "the run's folder", flag_values=values)
        debug = flags.DEFINE_bool("debug", False, "show where an error comes from", flag_values=values)
        rest = values(argv)
    except (KeyError, AttributeError) as error:
        raise ValueError(_unknown_field(argv) or str(error.args[0])) from error
    except (TypeError, flags.Error) as error:
        raise ValueError(str(error)) from error
    if len(rest) > 1:
        raise ValueError(
            f"{rest[1]!r} is no flag; flags are --config, --config.FIELD=VALUE, --workdir, --debug"
        )
    _check_tuples(argv, given)
    folder = Path("runs") / Path(file.partition(":")[0]).stem
    if workdir.value is not None:
        folder = files.path(workdir.value, "--workdir")
    return config.value, folder, debug.value


def _config_file(argv: list[str]) -> tuple[str, list[str]]:
    """The last `--config FILE` of a command line, or the default's, and the command line without."""
    file, rest = str(DEFAULT_CONFIG), argv[:1]
    arguments = iter(argv[1:])
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if flag not in ("--config", "-config"):
            rest.append(argument)
            continue
        file = value if equals else next(arguments, "")
        if not file:
            raise ValueError("--config needs a file; configs/ has those of this project")
        if ":" in file and files.path(file, "--config").is_file():
            raise ValueError(f"--config={file}: a ':' ends the path of a config; rename the file or folder")
        path, colon, text = str(files.path(file, "--config")).partition(":")
        file = f"{configs.locate(path)}{colon}{text}"
    return file, rest


def _check_tuples(argv: list[str], config: ml_collections.ConfigDict) -> None:
    """Refuse a single value for a field that holds several, which the library would make a tuple of.

    Raises:
      ValueError: there is one.
    """
    fields = flatten(config)
    for argument in argv[1:]:
        match = re.match(r"--?config\.([\w.]+)=(.*)", argument, re.DOTALL)
        if match and isinstance(fields.get(match[1]), tuple) and not re.search(r"[,(\[]", match[2]):
            raise ValueError(f"--config.{match[1]}={match[2]} must be a tuple, such as ({match[2]},) or ()")


def check_finite(value: float | None, name: str) -> None:
    """Refuse a number that is none; None passes.

    Args:
      value: as given.
      name: the flag that it was given for.

    Raises:
      ValueError: it is infinite, or no number.
    """
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{name}={value} must be a finite number")


class Parser(argparse.ArgumentParser):
    """One that says what is wrong in one line, and whose options are written in full."""

    def __init__(self, *args: Any, allow_abbrev: bool = False, **options: Any):
        super().__init__(*args, allow_abbrev=allow_abbrev, **options)

    def error(self, message: str) -> NoReturn:
        """End with code 2."""
        self.exit(USER_ERROR, f"error: {message}; see --help\n")


def option_parser(module: str, about: str) -> Parser:
    """A parser of an entry point's own options, whose help is the docstring of the entry point.

    Args:
      module: of the entry point, "ptdit_jax.plan".
      about: its docstring: what it does, a paragraph of usage, and the rest.
    """
    what, usage, *rest = about.split("\n\n")
    return Parser(
        prog=f"python -m {module}",
        usage=usage.strip(),
        description=what,
        epilog="\n\n".join(rest),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _unknown_field(argv: Sequence[str]) -> str | None:
    """A line about the first `--config.FIELD` that does not exist."""
    fields = flatten(common.get_config())
    for argument in argv:
        match = re.match(r"--?config\.([\w.]+)", argument)
        if match and match[1] not in fields:
            return f"--config.{match[1]}: there is no such field; {user_file.hint(match[1])}"
    return None


def run(main: Callable[[], int], *, debug: bool = False, platforms: str | None = None) -> int:
    """Call `main` under `environment.pin`, and turn the errors a user can act on into lines and an exit code.

    Args:
      main: returns an exit code.
      debug: let every error through, with its stack trace.
      platforms: of JAX, "cpu" for what only counts or checks; None for what JAX_PLATFORMS says.

    Returns:
      `main`'s code, `USER_ERROR` after a ValueError, `FAILURE` after an OSError or no memory, a RunError's own.
    """

    def pinned() -> int:
        for line in environment.pin(platforms):
            print(f"warning: {line}", file=sys.stderr)
        return main()

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may have letters that the terminal has not

    if debug:
        return pinned()
    absl.logging.set_verbosity(absl.logging.FATAL)  # libraries log what they also raise, from many threads
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda _: None  # what is raised in callbacks of a failed save: nobody can act on it
    try:
        return pinned()
    except ValueError as error:
        if distributed.is_of_others(error):
            raise
        _complain(str(error))
        return USER_ERROR
    except RunError as error:
        _complain(str(error))
        return error.code
    except BrokenPipeError:  # the reader has seen enough, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the last flush would complain
        return FAILURE
    except OSError as error:
        _complain(str(error))
        return FAILURE
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        _complain(
            f"out of memory: {str(error).splitlines()[0]}\nsmaller data.batch, larger optimizer.accumulate, "
            "or model.remat='block' need less"
        )
        return FAILURE


def run_with_others(launch: distributed.Launch, main: Callable[[], int], *, debug: bool = False) -> int:
    """Meet the other processes of a launch, and `run` a verb's main in this one.

    Args:
      launch: how the command was started.
      main: returns an exit code.
      debug: see `run`.

    Returns:
      See `distributed.run`.

    Raises:
      RunError: not all processes came.
    """
    try:
        others = distributed.initialize(launch)
    except peers.Missing as error:
        raise RunError(str(error), code=peers.LOST) from error
    return distributed.run(others, lambda: run(main, debug=debug))


def _complain(text: str) -> None:
    for line in text.splitlines():
        print(f"error: {line}", file=sys.stderr)
