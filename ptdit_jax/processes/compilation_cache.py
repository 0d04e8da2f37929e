"""Compiled programs, kept between runs: where, and what becomes of damaged ones."""

import functools
import hashlib
import os
import platform
import sys
from pathlib import Path
from typing import Any

import jax
from jax._src import compilation_cache as jax_cache

VARIABLE = "JAX_COMPILATION_CACHE_DIR"


def enable() -> Path | None:
    """Keep compiled programs between runs, in `$JAX_COMPILATION_CACHE_DIR` or the user's cache folder.

    Processes may share it.  Programs for a CPU are kept by the features of that CPU: JAX's key does not tell
    machines apart that share a home.  A program that cannot be read is removed, and compiled and kept anew.

    Returns:
      The folder; None where there is none to write to, which a line on standard error says.  A temporary folder would
      not do: who can write to it can have this process run what he likes.
    """
    given = jax.config.values["jax_compilation_cache_dir"]
    try:
        given = given and os.path.expanduser(given)
        folder = Path(given) if given else _folder()
        if "://" not in str(given):
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(f"{folder} cannot be written to")
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home folder
        jax.config.update("jax_compilation_cache_dir", None)
        reason = str(error).rstrip(".")
        _say(f"compiled programs are not kept for the next run: {reason}; {VARIABLE} may name another folder")
        return None
    jax.config.update("jax_compilation_cache_dir", str(given or folder))
    jax_cache.get_executable_and_time = _replacing(jax_cache.get_executable_and_time)
    return folder


def _folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    root = (Path(home).expanduser() if home else Path.home() / ".cache") / "ptdit_jax" / "xla"
    return root / _machine() if jax.default_backend() == "cpu" else root / jax.default_backend()


def _machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return f"cpu-{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:12]}"


def _replacing(read: Any) -> Any:
    """JAX's reading of a program, which leaves a damaged file where it is: it would warn and compile in every run."""
    if hasattr(read, "__wrapped__"):
        return read

    @functools.wraps(read)
    def read_or_remove(key: str, *arguments: Any, **options: Any) -> Any:
        try:
            return read(key, *arguments, **options)
        except Exception as error:
            file = Path(jax.config.values["jax_compilation_cache_dir"]) / f"{key}-cache"
            try:
                file.unlink()
            except OSError:  # another process was faster, or the folder is one of a bucket: JAX warns
                if file.exists():
                    raise
            else:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                _say(f"{file} is damaged ({reason}); it is compiled and kept anew")
            return None, None

    return read_or_remove


def _say(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)
