"""What may be said on the command line about processes, chips and traces."""

import jax
import pytest

from configs import c2i_digits
from ptdit_jax import config as rules
from ptdit_jax.parallel import chips
from ptdit_jax.processes import distributed
from ptdit_jax.processes.signals import Agreement

PLACE = ["--coordinator=h:7", "--processes=2", "--process-id=1"]


def test_flags_of_the_launch_are_taken_and_the_rest_is_left():
    launch, rest = distributed.parse(["train", *PLACE, "--config=c.py", "--step-timeout", "5", "--debug"])
    assert launch == distributed.Launch("h:7", 2, 1, step_timeout=5.0)
    assert rest == ["train", "--config=c.py", "--debug"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (PLACE[:2], "--process-id is missing: --coordinator, --processes, --process-id go together"),
        ([*PLACE, "--cluster=auto"], "--cluster=auto must be left out with --coordinator"),
        (["--coordinator=host", *PLACE[1:]], "--coordinator=host must be HOST:PORT"),
        (["--coordinator=host:70000", *PLACE[1:]], "--coordinator=host:70000 must be HOST:PORT"),
        ([*PLACE, "--processes=0"], "--processes=0 must be at least 1"),
        ([*PLACE, "--process-id=2"], "--process-id=2 must be 0 to 1 with --processes=2"),
        ([*PLACE, "--processes=two"], "--processes: invalid int value: 'two'"),
        (["--start-timeout=0"], "--start-timeout=0 must be positive, in seconds"),
        (["--start-timeout=inf"], "--start-timeout=inf must be positive, in seconds"),
        (["--start-timeout=nan"], "--start-timeout=nan must be positive, in seconds"),
        (["--step-timeout=inf"], "--step-timeout=inf must be positive, in seconds, or 0 for no limit"),
        (["--step-timeout=-1"], "--step-timeout=-1 must be positive, in seconds, or 0 for no limit"),
    ],
)
def test_wrong_flags_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        distributed.parse(["train", *arguments])


def test_one_process_needs_no_others():
    assert distributed.initialize(distributed.Launch()) is None
    assert distributed.initialize(distributed.Launch("nowhere:7", 1, 0)) is None


def test_slurm_is_found_and_what_is_no_cluster_is_told(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ValueError, match="--cluster=auto: JAX finds no cluster"):
        distributed.initialize(distributed.Launch(cluster="auto", start_timeout=1))
    slurm = {
        "JOB_ID": 5,
        "STEP_NODELIST": "n[3-4]",
        "NTASKS": 16,
        "PROCID": 9,
        "LOCALID": 1,
        "STEP_NUM_NODES": 2,
    }
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    launch, devices = distributed._ask_cluster(distributed.Launch(cluster="auto"))
    assert (launch.processes, launch.process_id, devices) == (16, 9, [1])
    assert launch.coordinator is not None
    assert launch.coordinator.startswith("n3:")


def test_alone_everything_is_agreed_at_once():
    agree = Agreement()
    assert [agree(number) for number in (0, 15, 0)] == [0, 15, 0]
    assert agree.now(2) == 2


@pytest.mark.parametrize(("text", "steps"), [("", []), ("10:13", [10, 11, 12, 13]), ("4:4", [4])])
def test_steps_of_a_trace(text, steps):
    config = c2i_digits.get_config()
    config.profile.steps = text
    assert list(rules.profiled_steps(config)) == steps


@pytest.mark.parametrize("text", ["10", "13:10", "0:3", "a:b", "3:", ":"])
def test_wrong_steps_of_a_trace_are_named(text):
    config = c2i_digits.get_config()
    config.profile.steps = text
    with pytest.raises(ValueError, match=f"profile.steps='{text}' must be FIRST:LAST, such as 10:13"):
        rules.validate(config)


def test_chips_are_found_by_their_kind():
    for kind, name in {"TPU v5 lite": "v5e", "TPU v5": "v5p", "TPU v4": "v4", "NVIDIA H200": "H200"}.items():
        assert chips.lookup(kind) is chips.CHIPS[name]
    assert chips.lookup(jax.devices("cpu")[0].device_kind) is None
    assert chips.CHIPS["v5e"].hbm_bytes == 16 * 2**30
