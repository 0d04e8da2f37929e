"""What entry points share: a config from the command line, errors as lines, the compilation cache."""

import argparse
import difflib
import hashlib
import io
import logging
import math
import os
import platform
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
from ptdit_jax import files

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
    argv = _config_path(argv)
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
        given = workdir.value
        folder = Path("runs") / file.stem if given is None else files.path(given, "--workdir")
        assert config.value.is_locked  # a file that failed to load says so when it is first touched
        return config.value, folder, debug.value
    except (KeyError, AttributeError) as error:
        raise ValueError(_unknown_field(argv) or str(error.args[0])) from error
    except (TypeError, flags.Error, OSError) as error:
        raise ValueError(str(error)) from error


def _config_path(argv: Sequence[str]) -> list[str]:
    """The command line with the path that was typed for `--config` as `files.path` reads it."""
    words, rest = [], iter(argv)
    for word in rest:
        flag, equals, text = word.partition("=")
        if flag in ("--config", "-config"):
            text = text if equals else next(rest, "")
            file = files.path(text, "--config")
            if ":" in text and file.is_file():
                raise ValueError(
                    f"--config={text}: a ':' ends the path of a config; rename the file or folder"
                )
            word = f"{flag}={file}"
        words.append(word)
    return words


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


def run(main: Callable[[], int], *, debug: bool = False) -> int:
    """Call `main` and turn the errors a user can act on into lines and an exit code.

    Args:
      main: returns an exit code.
      debug: let every error through, with its stack trace.

    Returns:
      `main`'s code, `USER_ERROR` after a ValueError, `FAILURE` after an OSError or no memory, a RunError's own.
    """
    if debug:
        return main()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may have letters that the terminal has not
    absl.logging.set_verbosity(absl.logging.FATAL)  # libraries log what they also raise, from many threads
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda _: None  # what is raised in callbacks of a failed save: nobody can act on it
    try:
        return main()
    except ValueError as error:
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


def enable_compilation_cache() -> Path:
    """Keep compiled programs between runs, in `$JAX_COMPILATION_CACHE_DIR` or the user's cache folder.

    Processes may share it.  Programs for a CPU are kept by the features of that CPU: JAX's key does not tell
    machines apart that share a home.

    Returns:
      The folder.
    """
    given = jax.config.values["jax_compilation_cache_dir"]
    if given:
        if given.startswith("~"):
            given = str(files.path(given, "JAX_COMPILATION_CACHE_DIR"))
            jax.config.update("jax_compilation_cache_dir", given)
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME")
    root = files.path(home, "XDG_CACHE_HOME") if home else Path.home() / ".cache"
    root = root / "ptdit_jax" / "xla"
    folder = root / _machine() if jax.default_backend() == "cpu" else root / jax.default_backend()
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder


def _machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return f"cpu-{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:12]}"
