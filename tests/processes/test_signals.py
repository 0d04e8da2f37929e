"""Asking a run to end."""

import os
import signal
import subprocess
import sys

import pytest

from ptdit_jax.processes.signals import StopRequest, exit_code
from tests.training.runs import ROOT


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_first_signal_is_remembered(number, code):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), number)
        assert stop.signal is number
        assert exit_code(stop.signal) == code
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_at_once(number):
    script = (
        "import os, time\n"
        "from ptdit_jax.processes.signals import StopRequest\n"
        "with StopRequest():\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "    print('still here', flush=True)\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "still here\n"
    assert done.returncode == -number
    assert done.stderr == ""
