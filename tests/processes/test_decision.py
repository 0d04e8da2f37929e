"""What process 0 decides, on all processes; here they are threads with real connections."""

import concurrent.futures
import socket

import pytest

from ptdit_jax.processes import decision, peers
from ptdit_jax.processes.distributed import ALONE, Launch


@pytest.fixture
def address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def ask(address, numbers, decide, count=None, timeout=20.0):
    """What each of the processes gets, or raises."""

    def call(process):
        launch = Launch(address, count or len(numbers), process, start_timeout=timeout)
        return decision.by_first(launch, numbers[process], decide if process == 0 else pytest.fail)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        futures = [pool.submit(call, process) for process in range(len(numbers))]
    return [future.exception() or future.result() for future in futures]


def test_all_get_what_process_0_makes_of_the_largest_number_again_and_again(address):
    for numbers in ((0, 0, 0), (0, 15, 2), (2, 0, 0)):
        answers = ask(address, numbers, lambda number: {"number": number, "text": "é\n" * 3000})
        assert answers == [{"number": max(numbers), "text": "é\n" * 3000}] * 3


def test_one_process_asks_itself():
    assert decision.by_first(ALONE, 3, lambda number: number + 1) == 4


def test_who_does_not_come_is_named(address):
    (error,) = ask(address, (0,), lambda number: number, count=2, timeout=0.5)
    assert isinstance(error, peers.Missing)
    assert str(error) == "process 1 of 0 to 1 did not come within 0.5 s (--start-timeout)"


def test_the_loss_of_process_0_is_noticed(address):
    def fail(number):
        raise RuntimeError("a bug")

    error, other = ask(address, (0, 0), fail)
    assert str(error) == "a bug"
    assert isinstance(other, peers.Missing)
    assert str(other) == "process 0 was lost (it connects the others)"
