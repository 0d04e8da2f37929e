"""What the machine and its environment variables may not decide alone: the devices, and what is computed on them.

JAX reads about 140 options from the environment.  Of those that would change numbers, the ones that people have in
their shells are pinned here, whatever the environment says; what names devices has to be there; the rest that is not
known to be harmless is refused, since what it does is not known either.  Every entry point comes here by `cli.run`
before it touches a device.
"""

import collections
import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Sequence
from typing import Any

import jax
from jax._src import hardware_utils  # JAX's own look at the PCI bus and at /dev

PINNED: dict[str, Any] = {
    "jax_default_prng_impl": "threefry2x32",  # `numerics.prng`
    "jax_threefry_partitionable": True,  # a draw does not depend on how its array is sharded
    "jax_random_seed_offset": 0,
    "jax_enable_x64": False,  # `numerics.default_dtype`
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    # Of all but networks, which have `numerics.matmul_precision`: float32 means float32, in judges of samples too.
    "jax_default_matmul_precision": "float32",
    "jax_debug_nans": False,  # `train.on_nonfinite` says what becomes of them
    "jax_debug_infs": False,
    "jax_disable_jit": False,
}
"""Options that would change what is computed, or whether, at the values that runs are made with."""

UNSET = ("NVIDIA_TF32_OVERRIDE", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")
"""Variables by which libraries below JAX and PyTorch take another precision than they are asked for."""

HARMLESS = re.compile(
    "jax_("
    # devices, which `devices` checks and the first line of a run names
    "platforms|num_cpu_devices|(cuda|rocm|oneapi)_visible_devices|pjrt_client_create_options"
    # where programs are kept
    "|(enable_)?compilation_cache.*|(raise_)?persistent_cache.*|share_binary.*|explain_cache_misses|.*_cache_key"
    # what is said and written about programs and errors
    "|log.*|debug_log.*|debug_leaked.*|distributed_debug|dump.*|include.*|.*traceback.*|pprint.*|source_url.*|hlo_source.*"
    "|compiler_detailed_logging.*|captured_constants.*|.*verbose.*|legacy_prng_key"
    # JAX's checks of its user: they raise, or do nothing
    "|check_.*|enable_checks|debug_key_reuse|thread_guard|transfer_guard.*|array_garbage.*|disallow_mesh.*"
    # processes and their connections
    "|cpu_.*|cross_host.*|force_dcn.*|mtls.*|distributed.*|enable_preemption_service|enable_recoverability"
    # the compiler's effort and scheduling: as with XLA_FLAGS, rounding may differ
    "|(enable_)?pgle.*|optimization_level|memory_fitting.*|exec_time.*|compiler_enable_remat_pass"
    ")"
)
"""Names of options that the environment may set."""

LIMITS = ("xla_cpu_collective_call_terminate_timeout_seconds", "xla_cpu_collective_timeout_seconds")
"""XLA's limits on a CPU: how long a device waits for another of its process (40 s, then it aborts), and for those of
other processes (Gloo's, 30 minutes)."""

MEANT = "numbers are those of the config (numerics), and float32 is float32"
PATIENCE = 24 * 3600  # seconds, in place of those: `--step-timeout` is what ends a step that hangs


def pin(platforms: str | None = None) -> list[str]:
    """Take from the environment what it may not decide; to be called before anything touches a device.

    Args:
      platforms: the platforms of JAX to use, "cpu"; None for those that JAX_PLATFORMS names, or the best there are.

    Returns:
      A line for each variable that is set and not used.

    Raises:
      ValueError: a variable is set that would change results or devices and is not among those.
    """
    for name in sorted(os.environ):
        option = name.lower()
        known = option in jax.config.values and option not in PINNED
        if name.startswith("JAX_") and known and not HARMLESS.fullmatch(option):
            raise ValueError(f"{name}={os.environ[name]} would change what is computed; unset it")
    unused = [f"{name}={os.environ.pop(name)} is not used: {MEANT}" for name in UNSET if name in os.environ]
    for option, value in PINNED.items():
        if option not in jax.config.values:  # of another version of JAX
            continue
        before, name = jax.config.values[option], option.upper()
        jax.config.update(option, value)
        if name in os.environ and jax.config.values[option] != before:
            unused.append(f"{name}={os.environ[name]} is not used: {MEANT}")
    if platforms is not None:
        jax.config.update("jax_platforms", platforms)
    elif not jax.config.values["jax_platforms"] and _has_libtpu() and not _tpus():
        # JAX would load libtpu to look for a TPU, which warns at length that there is none.
        plugins = [plugin.name for plugin in importlib.metadata.entry_points(group="jax_plugins")]
        if _has_nvidia() and not plugins:
            unused.append(
                "the NVIDIA GPU is not used: JAX's plugin for CUDA is not installed (requirements-cuda.txt)"
            )
        if all("cuda" in name for name in plugins):
            jax.config.update("jax_platforms", "cuda,cpu" if plugins and _has_nvidia() else "cpu")
    if "tpu" not in (jax.config.values["jax_platforms"] or ""):  # libtpu reads the flags too, and knows fewer
        _lengthen_limits()
    return unused


def devices() -> list[Any]:
    """The devices of a run, of all processes.

    Raises:
      ValueError: a platform that was asked for is not there, or none came up; the message tells what was found.
    """
    asked = jax.config.values["jax_platforms"] or ""
    name = ""
    try:
        found = jax.devices()
        for name in filter(None, asked.split(",")):  # JAX leaves out "cuda" without a GPU when more are named
            jax.devices(name)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [""])[0]
        reason = re.sub(r" \((set JAX_PLATFORMS|you may need).*", "", reason).rstrip(".")
        if failed := re.match(r"Unable to initialize backend '(\w*)': ", reason):
            name, reason = failed[1], reason.removeprefix(failed[0])
        reason = f" ({reason})" if reason else ""
        if asked:
            raise ValueError(
                f"JAX_PLATFORMS={asked}: {name or asked.split(',')[0]} is not there{reason}; "
                f"found: {_found()}"
            ) from error
        raise ValueError(f"JAX finds no device that works{reason}; found: {_found()}") from error
    return found


def describe(found: Sequence[Any], host_memory: int) -> str:
    """Devices in a line: number, kind, memory, processes, and the flags of the compiler.

    Args:
      found: from `devices`.
      host_memory: bytes, which devices of a CPU have.
    """
    kinds = collections.Counter(device.device_kind for device in found)
    text = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        text += f", {stats['bytes_limit'] / 2**30:.1f} GiB each"
    else:
        text += f", {host_memory / 2**30:.1f} GiB of host memory"
    if jax.process_count() > 1:
        text += f", {jax.process_count()} processes"
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if _name(flag) not in LIMITS]
    return text + (f"; XLA_FLAGS={' '.join(flags)}" if flags else "")


def _found() -> str:
    plugins = [plugin.name for plugin in importlib.metadata.entry_points(group="jax_plugins")]
    plugins += ["libtpu"] * _has_libtpu()
    chips = _tpus()
    hardware = ["CPU", "NVIDIA GPU" if _has_nvidia() else "no NVIDIA GPU"]
    hardware.append(f"{chips} TPU chip(s)" if chips else "no TPU")
    return f"{', '.join(hardware)}; accelerator plugins of JAX: {', '.join(plugins) or 'none'}"


def _has_libtpu() -> bool:
    return importlib.util.find_spec("libtpu") is not None or "TPU_LIBRARY_PATH" in os.environ


def _tpus() -> int:
    return hardware_utils.num_available_tpu_chips_and_device_id()[0]


def _has_nvidia() -> bool:
    return hardware_utils.has_visible_nvidia_gpu()


def _lengthen_limits() -> None:
    """Put XLA's limits out of reach, but for those that the user gives; XLA reads flags when the devices come up."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    given = {_name(flag) for flag in flags}
    flags += [f"--{flag}={PATIENCE}" for flag in LIMITS if flag not in given]
    os.environ["XLA_FLAGS"] = " ".join(flags)


def _name(flag: str) -> str:
    return flag.lstrip("-").partition("=")[0]
