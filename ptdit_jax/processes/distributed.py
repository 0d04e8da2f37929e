"""Several processes of a run: how they are started, found and ended."""

import argparse
import ctypes
import dataclasses
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

import jax

from ptdit_jax.processes.peers import LOST, Missing, Peers, call_the_roll

HEARTBEAT_TIMEOUT = 45  # seconds; JAX ends a run when a process says nothing for so long


@dataclasses.dataclass(frozen=True)
class Launch:
    """How a run was started.

    Attributes:
      coordinator: HOST:PORT of process 0, or None to ask the cluster.
      processes: how many there are, or None to ask the cluster.
      process_id: of this one, or None to ask the cluster.
      cluster: "" for a run of one process or one with the three above, "auto", or a name that JAX knows ("slurm",
        "ompi", "mpi4py", ...).
      start_timeout: seconds that all processes have to come.
      step_timeout: seconds a step may take; 0 = any time.
    """

    coordinator: str | None = None
    processes: int | None = None
    process_id: int | None = None
    cluster: str = ""
    start_timeout: float = 300.0
    step_timeout: float = 0.0


ALONE = Launch()

_others: tuple[Peers, float] | None = (
    None  # of this process, and the seconds that they have to come: see `meet`
)


def parse(argv: Sequence[str]) -> tuple[Launch, list[str]]:
    """Our flags, and the arguments that are left.

    Args:
      argv: as `sys.argv`.

    Raises:
      ValueError: naming the flag that is wrong.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--coordinator")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process-id", type=int)
    parser.add_argument("--cluster", default="")
    parser.add_argument("--start-timeout", type=float, default=Launch.start_timeout)
    parser.add_argument("--step-timeout", type=float, default=Launch.step_timeout)
    try:
        options, rest = parser.parse_known_args(argv[1:])
    except argparse.ArgumentError as error:
        raise ValueError(f"{error.argument_name}: {error.message}") from error
    launch = Launch(**vars(options))
    _check(launch)
    return launch, [argv[0], *rest]


def _check(launch: Launch) -> None:
    place = {
        "--coordinator": launch.coordinator,
        "--processes": launch.processes,
        "--process-id": launch.process_id,
    }
    given = [flag for flag, value in place.items() if value is not None]
    absent = [flag for flag in place if flag not in given]
    if given and absent:
        raise ValueError(f"{absent[0]} is missing: {', '.join(place)} go together")
    if given and launch.cluster:
        raise ValueError(
            f"--cluster={launch.cluster} must be left out with {given[0]}, which says what it would find"
        )
    if launch.coordinator is not None and launch.processes is not None and launch.process_id is not None:
        host, _, port = launch.coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"--coordinator={launch.coordinator} must be HOST:PORT, such as 10.0.0.1:7777")
        if launch.processes < 1:
            raise ValueError(f"--processes={launch.processes} must be at least 1")
        if not 0 <= launch.process_id < launch.processes:
            raise ValueError(
                f"--process-id={launch.process_id} must be 0 to {launch.processes - 1} with "
                f"--processes={launch.processes}"
            )
    if not 0 < launch.start_timeout < math.inf:
        raise ValueError(f"--start-timeout={launch.start_timeout:g} must be positive, in seconds")
    if not 0 <= launch.step_timeout < math.inf:
        raise ValueError(
            f"--step-timeout={launch.step_timeout:g} must be positive, in seconds, or 0 for no limit"
        )


def initialize(launch: Launch) -> Peers | None:
    """Meet the other processes; to be called before anything touches a device.

    Returns:
      The connections to the others; None in a run of one process.

    Raises:
      Missing: not all came in time, and the message names those that did not; or JAX's own service does not start.
      ValueError: the cluster was not found, or processes disagree.
      OSError: process 0 cannot listen on the coordinator's port.
    """
    if launch.coordinator is None and not launch.cluster:
        return None
    launch, local_devices = resolve(launch)
    assert launch.coordinator is not None
    assert launch.processes is not None
    assert launch.process_id is not None
    if launch.processes == 1:
        return None
    peers = call_the_roll(
        launch.coordinator, launch.processes, launch.process_id, timeout=launch.start_timeout
    )
    _delay_aborts()
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # Its handler of SIGTERM would be in the way of `processes.signals`.
    jax.config.update("jax_enable_preemption_service", False)
    for place in ("local", "global"):
        option = f"jax_cpu_get_{place}_topology_timeout_minutes"
        if option in jax.config.values:  # not in every version
            minutes = math.ceil(launch.start_timeout / 60)
            jax.config.update(option, max(jax.config.values[option], minutes))
    try:
        jax.distributed.initialize(
            launch.coordinator,
            launch.processes,
            launch.process_id,
            local_device_ids=local_devices,
            cluster_detection_method="deactivate",
            initialization_timeout=max(1, round(launch.start_timeout)),
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
            # Others wait here while process 0 draws and judges samples; one that dies is noticed all the same.
            shutdown_timeout_seconds=24 * 3600,
        )
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        raise Missing(
            f"all processes came, but JAX's service did not start at {launch.coordinator}: {reason}"
        ) from error
    global _others
    _others = peers, launch.start_timeout
    return peers


def meet(where: str, seconds: float | None = None) -> None:
    """Wait for the other processes of the run; returns at once in a run of one.

    Libraries have limits of their own on how long one process waits for another (Gloo: 30 seconds), which a machine
    that is busy compiling exceeds; so processes meet before they come to such a place.

    Args:
      where: what is to be done next.
      seconds: that the others have to come; None for `--start-timeout`.

    Raises:
      Missing: not all came; the message names those that did not.
    """
    if _others is not None:
        peers, timeout = _others
        peers.meet(where, timeout if seconds is None else seconds)


def is_of_others(error: Exception) -> bool:
    """Whether an error may be how the end of another process shows: Gloo's come as ValueErrors."""
    return isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error)


def run(peers: Peers | None, main: Callable[[], int]) -> int:
    """Call `main`, and tell the others how it ends.

    Args:
      peers: from `initialize`.
      main: returns an exit code.

    Returns:
      `main`'s exit code.  In a run of several processes only one of success or of a stop that all agreed on: after
      a failure this does not return, because JAX's end of a process waits for all others, which may be waiting for
      this one.
    """
    if peers is None:
        return main()
    try:
        code = main()
    except Missing as error:
        print(f"error: {error}", file=sys.stderr)
        code = LOST
    except Exception as error:
        if is_of_others(error):
            peers.wait_for_verdict()
        traceback.print_exc()
        code = 1
    if not peers.end(code) or code == LOST:  # those that a missing one ends do not come to JAX's end either
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def resolve(launch: Launch) -> tuple[Launch, Sequence[int] | None]:
    """The place of this process as the cluster gives it, and its devices where it is told those.

    Raises:
      ValueError: the cluster was not found.
    """
    return _ask_cluster(launch) if launch.cluster else (launch, None)


def flags(launch: Launch) -> list[str]:
    """The command line that `parse` reads a launch from."""
    given = {field.name: getattr(launch, field.name) for field in dataclasses.fields(launch)}
    return [
        f"--{name.replace('_', '-')}={value}"
        for name, value in given.items()
        if value != getattr(ALONE, name)
    ]


def _ask_cluster(launch: Launch) -> tuple[Launch, Sequence[int] | None]:
    """What `jax.distributed.initialize` finds out by itself, which does not tell it before it connects."""
    from jax._src.clusters import ClusterEnv

    method = None if launch.cluster == "auto" else launch.cluster
    coordinator, processes, process_id, local_devices = ClusterEnv.auto_detect_unset_distributed_params(
        None, None, None, None, method, round(launch.start_timeout)
    )
    if coordinator is None or processes is None or process_id is None:
        raise ValueError(
            f"--cluster={launch.cluster}: JAX finds no cluster that has started this process; start it with srun, "
            "mpirun, on all hosts of a TPU slice or as a Job of Kubernetes, or give --coordinator, --processes and "
            "--process-id"
        )
    if ids := os.environ.get("JAX_LOCAL_DEVICE_IDS"):
        local_devices = [int(number) for number in ids.split(",")]
    found = dataclasses.replace(launch, coordinator=coordinator, processes=processes, process_id=process_id)
    return found, local_devices


def _delay_aborts() -> None:
    """Hold up JAX's abort when it hears nothing from process 0, so that `Peers` can say it in a line and leave.

    The handler of SIGABRT is sleep(3) itself, called with the number of the signal, 6: it needs no interpreter and
    returns after six seconds, and then the process aborts as it would have.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    libc.signal.restype = ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))
