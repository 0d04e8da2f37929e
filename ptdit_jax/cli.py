"""What entry points share: a config from the command line, errors as lines, the compilation cache."""

import argparse
import difflib
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import absl.logging
import jax
import ml_collections
from absl import flags
from ml_collections import config_flags

import configs
from ptdit_jax.processes import distributed, environment
from ptdit_jax.processes.compilation_cache import enable as enable_compilation_cache

__all__ = [
    "DEFAULT_CONFIG",
    "FAILURE",
    "INTERRUPTED",
    "USER_ERROR",
    "RunError",
    "enable_compilation_cache",
    "option_parser",
    "parse",
    "run",
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
    argv = list(argv)
    if not any(re.match(r"--?config(=|$)", argument) for argument in argv[1:]):
        argv.insert(1, f"--config={DEFAULT_CONFIG}")
    values = flags.FlagValues()
    try:
        config = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
        workdir = flags.DEFINE_string("workdir", None, "the run's folder", flag_values=values)
        debug = flags.DEFINE_bool("debug", False, "show where an error comes from", flag_values=values)
        rest = values(argv)
        if len(rest) > 1:
            raise ValueError(
                f"{rest[1]!r} is no flag; flags are --config, --config.FIELD=VALUE, --workdir, --debug"
            )
        file = Path(config_flags.get_config_filename(values["config"]))
        if not file.is_file():
            raise ValueError(f"--config={file}: there is no such file; configs/ has those of this project")
        folder = Path(workdir.value) if workdir.value else Path("runs") / file.stem
        assert config.value.is_locked  # a file that failed to load says so when it is first touched
        return config.value, folder, debug.value
    except (KeyError, AttributeError) as error:
        raise ValueError(_unknown_field(argv) or str(error.args[0])) from error
    except (TypeError, flags.Error, OSError) as error:
        raise ValueError(str(error)) from error


def option_parser(module: str, about: str) -> argparse.ArgumentParser:
    """A parser of an entry point's own options, whose help is the docstring of the entry point.

    Args:
      module: of the entry point, "ptdit_jax.plan".
      about: its docstring: what it does, a paragraph of usage, and the rest.
    """
    what, usage, *rest = about.split("\n\n")
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        usage=usage.strip(),
        description=what,
        epilog="\n\n".join(rest),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _unknown_field(argv: Sequence[str]) -> str | None:
    """A line about the first `--config.FIELD` that does not exist."""
    from configs import common
    from ptdit_jax.config import flatten

    fields = list(flatten(common.get_config()))
    for argument in argv:
        match = re.match(r"--?config\.([\w.]+)", argument)
        if match and match[1] not in fields:
            close = difflib.get_close_matches(match[1], fields, 1, 0.6)
            hint = f"did you mean {close[0]}?" if close else "configs/common.py lists the fields"
            return f"--config.{match[1]}: there is no such field; {hint}"
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


def _complain(text: str) -> None:
    for line in text.splitlines():
        print(f"error: {line}", file=sys.stderr)
