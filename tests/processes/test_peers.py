"""Processes that meet, miss and lose each other; here they are threads with real connections."""

import concurrent.futures
import queue
import socket

import pytest

from ptdit_jax.processes import peers


@pytest.fixture
def address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def meet(address, ids, count, timeout=20.0):
    """What each of `ids` gets from the roll call, or raises in it; and the queue of (id, exit code) of those ended."""
    ended = queue.Queue()

    def call(number):
        return peers.call_the_roll(
            address, count, number, timeout=timeout, leave=lambda code: ended.put((number, code))
        )

    with concurrent.futures.ThreadPoolExecutor() as pool:
        futures = {number: pool.submit(call, number) for number in ids}
    return {number: future.exception() or future.result() for number, future in futures.items()}, ended


def cut(member):
    """End a process's connections as the kernel does when it dies; its own thread, which would be gone, is silent."""
    member._code = 137
    for connection in member._connections.values():
        connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_all_that_come_are_connected_and_ends_that_are_announced_are_no_losses(address, order):
    members, ended = meet(address, order, 3)
    assert all(member.end(0) for member in members.values())
    for member in members.values():
        cut(member)
        member._thread.join(10)
        assert not member._thread.is_alive()
    assert ended.empty()


@pytest.mark.parametrize(("ids", "absent"), [((0, 2), "process 1"), ((0,), "processes 1, 2")])
def test_everyone_who_came_names_those_who_did_not(address, ids, absent):
    found, _ = meet(address, ids, 3, timeout=1.0)
    for error in found.values():
        assert isinstance(error, peers.Missing)
        assert str(error) == f"{absent} of 0 to 2 did not come within 1 s (--start-timeout)"


def test_the_first_process_is_named_with_its_address(address):
    found, _ = meet(address, (1,), 2, timeout=0.5)
    assert isinstance(found[1], peers.Missing)
    assert str(found[1]).startswith("process 0 of 0 to 1 did not come")
    assert str(found[1]).endswith(f"it was to be at {address}")


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_loss_ends_all_others_with_a_line_that_names_it(address, lost, capsys):
    members, ended = meet(address, (0, 1, 2), 3)
    cut(members[lost])
    others = {0, 1, 2} - {lost}
    assert {ended.get(timeout=10) for _ in others} == {(number, peers.LOST) for number in others}
    lines = capsys.readouterr().err
    for number in others:
        assert f"error: process {lost} was lost" in lines
        assert f"process {number} ends too" in lines


def test_a_failure_is_followed_after_the_others_had_time_for_one_of_their_own(address, capsys, monkeypatch):
    monkeypatch.setattr(peers, "_patience", lambda code: 0.5)
    members, ended = meet(address, (0, 1), 2)
    assert not members[1].end(1)  # the other did not end
    assert ended.get(timeout=10) == (0, peers.LOST)
    assert "error: process 1 has ended with exit code 1; process 0 ends too" in capsys.readouterr().err


def test_processes_that_end_for_the_same_reason_do_so_themselves(address):
    members, ended = meet(address, (0, 1, 2), 3)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        same = list(pool.map(lambda member: member.end(143), members.values()))
    assert same == [True] * 3
    assert ended.empty()


def gather(members, late=(), timeout=20.0, where="connect"):
    """What each of `members` gets from a meeting, or raises in it; those of `late` do not come."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        futures = {n: pool.submit(m.meet, where, timeout) for n, m in members.items() if n not in late}
    return {number: future.exception() for number, future in futures.items()}


def test_processes_meet_as_often_as_they_like(address):
    members, ended = meet(address, (0, 1, 2), 3)
    for _ in range(3):
        assert gather(members) == dict.fromkeys(members)
    assert all(member.end(0) for member in members.values())
    assert ended.empty()


def test_nobody_goes_on_before_all_are_there(address):
    members, _ = meet(address, (0, 1, 2), 3)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = [pool.submit(members[number].meet, "connect", 20.0) for number in (0, 2)]
        done, _ = concurrent.futures.wait(first, timeout=0.5)
        assert not done
        last = pool.submit(members[1].meet, "connect", 20.0)
        assert [future.result() for future in (*first, last)] == [None] * 3


@pytest.mark.parametrize(
    ("late", "named"), [((1,), "process 1"), ((0,), "process 0"), ((0, 2), "processes 0, 2")]
)
def test_those_who_do_not_come_to_a_meeting_are_named_by_all_others(address, late, named):
    members, _ = meet(address, (0, 1, 2), 3)
    assert gather(members) == dict.fromkeys(members)
    found = gather(members, late, timeout=1.0)
    assert set(found) == {0, 1, 2} - set(late)
    for error in found.values():
        assert isinstance(error, peers.Missing)
        assert str(error) == f"{named} of 0 to 2 did not come to connect within 1 s (--start-timeout)"


def test_processes_that_disagree_about_their_number_are_told(address):
    def call(number, count):
        return peers.call_the_roll(address, count, number, timeout=20.0)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        futures = [pool.submit(call, 0, 3), pool.submit(call, 1, 2)]
    for future in futures:
        with pytest.raises(ValueError, match="--processes 2 of process 1 must be 3, as for process 0"):
            future.result()


def test_what_is_not_one_of_ours_is_ignored(address):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        host = pool.submit(peers.call_the_roll, address, 2, 0, timeout=20.0)
        stranger = peers._join(address, "GET / HTTP/1.1", peers.time.monotonic() + 10)
        other = pool.submit(peers.call_the_roll, address, 2, 1, timeout=20.0)
        members = [host.result(), other.result()]
    assert stranger is not None
    assert all(member.end(0) for member in members)
