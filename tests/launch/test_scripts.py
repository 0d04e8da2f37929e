"""The shell scripts, and the manifest: what they would run."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.training.runs import ROOT

SCRIPTS = (
    "encode.sh",
    "evaluate.sh",
    "ingest.sh",
    "launcher.sh",
    "run.sh",
    "sample.sh",
    "setup_env.sh",
    "slurm.sbatch",
    "stages.sh",
    "sweep.sh",
    "tpu_pod.sh",
)


def script(name, arguments, cwd=ROOT):
    """Run a script with the arguments of a command line."""
    return subprocess.run(
        ["bash", str(cwd / "launch" / name), *shlex.split(arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def repository(tmp_path):
    """A copy of launch/ with a .venv whose Python says what it is to run."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "launch").symlink_to(ROOT / "launch")
    for name in ("constraints.txt", "requirements.txt"):
        (tmp_path / name).touch()
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\n[ "$1" = -m ] && [ "$2" = pip ] || [ "$1" = -c ] || echo "$@"\n')
    python.chmod(0o755)
    copy = tmp_path / "launch"
    copy.unlink()
    copy.mkdir()
    for name in SCRIPTS:
        (copy / name).write_text((ROOT / "launch" / name).read_text())
    return tmp_path


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_shell(name):
    subprocess.run(["bash", "-n", str(ROOT / "launch" / name)], check=True)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ("", "-m ptdit_jax.train --config=configs/c2i_digits.py"),
        ("--config a.py --step-timeout 3", "-m ptdit_jax.train --config a.py --step-timeout 3"),
        (
            "--max-restarts 2 --config=a.py",
            "launch/processes.py --max-restarts 2 -- {train} --config=a.py",
        ),
        (
            "--simulate 3 --config=a.py",
            "launch/processes.py --max-restarts 0 --processes 3 --devices 1 -- {train} --config=a.py",
        ),
        (
            "--simulate=2x4 --config=a.py --max-restarts=1",
            "launch/processes.py --max-restarts 1 --processes 2 --devices 4 -- {train} --config=a.py",
        ),
    ],
)
def test_run_starts_what_it_is_told(repository, arguments, command):
    done = script("run.sh", f"--accelerator=cpu {arguments}", cwd=repository)
    assert done.returncode == 0, done.stderr
    train = f"{repository}/.venv/bin/python -m ptdit_jax.train"
    assert done.stdout.strip() == command.format(train=train)


def test_encode_starts_what_it_is_told(repository):
    done = script("encode.sh", "--accelerator=cpu --config a.py --source images:b --out c", cwd=repository)
    assert done.stdout.strip() == "-m ptdit_jax.encode --config a.py --source images:b --out c"
    done = script("encode.sh", "--simulate 2x3 --max-restarts 4 --config=a.py", cwd=repository)
    command = f"{repository}/.venv/bin/python -m ptdit_jax.encode --config=a.py"
    assert done.stdout.strip() == (
        f"launch/processes.py --max-restarts 4 --processes 2 --devices 3 -- {command}"
    )
    done = script("encode.sh", "--simulate 0", cwd=repository)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--simulate 0: must be P or PxD" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ("a.py --status", "-m ptdit_jax.stages a.py --status"),
        ("--max-restarts 2 a.py", "launch/processes.py --max-restarts 2 -- {stages} a.py"),
        (
            "a.py --simulate 2x4 --from b",
            "launch/processes.py --max-restarts 0 --processes 2 --devices 4 -- {stages} a.py --from b",
        ),
    ],
)
def test_stages_start_what_they_are_told(repository, arguments, command):
    done = script("stages.sh", f"--accelerator=cpu {arguments}", cwd=repository)
    assert done.returncode == 0, done.stderr
    stages = f"{repository}/.venv/bin/python -m ptdit_jax.stages"
    assert done.stdout.strip() == command.format(stages=stages)


def test_stages_need_a_recipe(repository):
    done = script("stages.sh", "--accelerator=cpu", cwd=repository)
    assert done.returncode == 2
    assert done.stderr == (
        "[stages.sh] error: a recipe is missing, such as configs/recipes/digits.py; see --help\n"
    )


@pytest.mark.parametrize("name", ["run.sh", "sweep.sh a.py", "stages.sh a.py"])
@pytest.mark.parametrize(
    ("arguments", "platforms", "message"),
    [
        ("--accelerator cuda", "", "--accelerator cuda: this machine has no NVIDIA GPU"),
        ("--accelerator tpu", "", "--accelerator tpu: this machine has no TPU"),
        ("", "cuda", "--accelerator cuda: this machine has no NVIDIA GPU"),
        ("", "tpu,cpu", "--accelerator tpu: this machine has no TPU"),
        ("--accelerator cuda", "cpu", "--accelerator cuda: JAX_PLATFORMS=cpu says otherwise"),
        ("--accelerator cpu", "cuda,cpu", "--accelerator cpu: JAX_PLATFORMS=cuda,cpu says otherwise"),
    ],
)
def test_an_accelerator_that_is_asked_for_is_there_or_nothing_starts(
    repository, monkeypatch, name, arguments, platforms, message
):
    if (
        subprocess.run(
            ["bash", "-c", "source launch/setup_env.sh; has_nvidia || has_tpu"], cwd=ROOT
        ).returncode
        == 0
    ):
        pytest.skip("this machine has an accelerator")
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    done = script(name.split()[0], f"{' '.join(name.split()[1:])} {arguments}", cwd=repository)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"[{name.split()[0]}] error: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", ["", "--accelerator cuda"])
def test_a_gpu_is_used_and_nothing_else_in_its_place(repository, monkeypatch, arguments):
    """With an `nvidia-smi` that lists one."""
    (repository / "requirements-cuda.txt").touch()
    python = repository / ".venv" / "bin" / "python"
    python.write_text(python.read_text().replace('echo "$@"', 'echo "$JAX_PLATFORMS" "$@"'))
    (repository / "nvidia-smi").write_text("#!/bin/sh\necho GPU 0\n")
    (repository / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{repository}:{os.environ['PATH']}")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    done = script("run.sh", f"{arguments} --config=a.py", cwd=repository)
    assert done.stdout == "cuda,cpu -m ptdit_jax.train --config=a.py\n"


@pytest.mark.parametrize(
    ("arguments", "given"), [("tests/a.py -k b", "tests/a.py -k b"), ("--full a.py", "-m  a.py")]
)
def test_slow_tests_run_when_asked_for(repository, arguments, given):
    (repository / "tests").mkdir()
    (repository / "tests" / "run.sh").write_text((ROOT / "tests" / "run.sh").read_text())
    for name in ("dev", "torch", "tfds"):
        (repository / f"requirements-{name}.txt").touch()
    command = ["bash", str(repository / "tests" / "run.sh"), *shlex.split(arguments)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"-m pytest -n 2 --dist worksteal {given}"


def test_ingest_has_an_environment_of_its_own(repository):
    shutil.copytree(repository / ".venv", repository / ".venv-beam")
    for name in ("constraints-beam.txt", "requirements-beam.txt"):
        (repository / name).write_text(name)
    python = repository / ".venv-beam" / "bin" / "python"
    python.write_text(python.read_text().replace('echo "$@"', 'echo beam "$@"'))
    done = script("ingest.sh", "--source a --out b --runner c", cwd=repository)
    assert done.stdout.strip() == "beam -m data_pipelines.ingest --source a --out b --runner c"
    assert [path.name for path in (repository / ".venv-beam" / "installed").iterdir()] == [
        "requirements-beam.txt.sha256"
    ]
    assert not (repository / ".venv" / "installed").exists()
    assert script("ingest.sh", "", cwd=repository).returncode == 2


def test_ingest_says_what_its_flags_are():
    done = script("ingest.sh", "--help")
    assert done.returncode == 0
    assert all(
        flag in done.stdout for flag in ("PTDIT_PYTHON", "--min-score", "--dedupe", "--direct_num_workers")
    )


def test_sweep_starts_what_it_is_told(repository):
    done = script("sweep.sh", "--accelerator=cpu a.py --jobs 2", cwd=repository)
    assert done.stdout.strip() == "-m ptdit_jax.sweep a.py --jobs 2"
    for arguments, message in (
        ("", "a sweep is missing"),
        ("a.py --accelerator", "--accelerator needs"),
        ("a.py --accelerator gpu", "--accelerator gpu: must be cpu, cuda, tpu or auto"),
    ):
        done = script("sweep.sh", arguments, cwd=repository)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--simulate 0", "--simulate 0: must be P or PxD"),
        ("--simulate 2x", "--simulate 2x: must be P or PxD"),
        ("--simulate", "--simulate needs a value"),
        ("--max-restarts -1", "--max-restarts -1: must be a number, 0 or more"),
        ("--simulate 2 --accelerator tpu", "--accelerator tpu: must be cpu with --simulate"),
        ("--simulate 2 --process-id 1", "--process-id: must be left out with --simulate"),
        ("--accelerator gpu", "--accelerator gpu: must be cpu, cuda, tpu or auto"),
    ],
)
def test_what_run_cannot_do_is_one_line_and_exit_code_2(repository, arguments, message):
    done = script("run.sh", arguments, cwd=repository)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(errors) == 1
    assert errors[0].startswith(f"[run.sh] error: {message}")


def test_tpu_pod_prints_its_commands():
    place = "--name n --zone z --dry-run"
    done = script("tpu_pod.sh", f"create {place} --type v5litepod-16 --version v --spot")
    command = (
        "gcloud compute tpus tpu-vm create n --zone z --accelerator-type v5litepod-16 --version v --spot"
    )
    assert done.stdout.strip() == command
    done = script("tpu_pod.sh", f"train {place} --project p -- --config 'a b.py'")
    *_, copy, train = map(shlex.split, done.stdout.splitlines())
    assert copy[:5] == shlex.split("gcloud compute tpus tpu-vm scp")
    assert copy[6:] == shlex.split("n: --zone z --project p --worker=all")
    assert train[:-1] == shlex.split(
        "gcloud compute tpus tpu-vm ssh n --zone z --project p --worker=all --command"
    )
    run = "--accelerator tpu --cluster auto --max-restarts 10 --config 'a b.py'"
    assert shlex.split(train[-1])[-9:] == ["launch/run.sh", *shlex.split(run)]
    done = script("tpu_pod.sh", f"encode {place} --project p -- --config 'a b.py'")
    encode = shlex.split(done.stdout.splitlines()[-1])
    assert encode[:-1] == train[:-1]
    assert shlex.split(encode[-1])[-9:] == ["launch/encode.sh", *shlex.split(run)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "the first argument must be create, train, encode, sample, stages or delete"),
        ("make --name n", "make: the first argument must be"),
        ("create --zone z", "--name is missing"),
        ("create --name n --zone z --version v", "--type is missing"),
        ("delete --name n --zone z --quick", "--quick is no option"),
    ],
)
def test_what_tpu_pod_cannot_do_is_one_line_and_exit_code_2(arguments, message):
    done = script("tpu_pod.sh", f"{arguments} --dry-run")
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("codes", "expect", "requeued", "verb"),
    [
        ((0,), 0, 0, "train"),
        ((75, 137, 0), 0, 0, ""),
        ((2,), 2, 0, ""),
        ((1, 1, 1), 1, 0, ""),
        ((75, 143), 0, 1, "encode"),
        ((130,), 130, 0, "stages"),
    ],
)
def test_slurm_starts_again_what_may_be_tried_again(tmp_path, codes, expect, requeued, verb):
    """With an `srun` that ends with one code after the other."""
    (tmp_path / "codes").write_text("\n".join(map(str, codes)) + "\n")
    stubs = {
        "srun": 'echo "$@" >>calls; code=$(head -n 1 codes); sed -i 1d codes; exit $code',
        "scontrol": 'echo "$@" >>requeued',
    }
    for name, text in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [
            "bash",
            str(ROOT / "launch" / "slurm.sbatch"),
            *verb.split(),
            "--max-restarts",
            "2",
            "--config=a.py",
        ],
        cwd=tmp_path,
        env=os.environ
        | {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "SLURM_JOB_ID": "7",
        },
        timeout=60,
    )
    assert done.returncode == expect
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == len(codes)
    name = "launch/run.sh" if verb in ("", "train") else f"launch/{verb}.sh"
    assert all(call.endswith(f" {name} --accelerator cuda --cluster auto --config=a.py") for call in calls)
    assert ((tmp_path / "requeued").read_text().split() if requeued else []) == ["requeue", "7"] * requeued


def test_the_job_set_restarts_all_but_not_what_is_wrong():
    job_set = yaml.safe_load((ROOT / "launch" / "jobset.yaml").read_text())
    assert (job_set["apiVersion"], job_set["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    policy = job_set["spec"]["failurePolicy"]
    assert policy["maxRestarts"] > 0
    assert policy["rules"] == [{"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}]
    (job,) = job_set["spec"]["replicatedJobs"]
    job = job["template"]["spec"]
    assert job["completionMode"] == "Indexed"
    assert job["parallelism"] == job["completions"]
    assert job["backoffLimit"] == 0
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [2]}
    assert (ROOT / container["command"][0]).exists()
    assert "--cluster=auto" in container["command"]


def processes(*flags, code):
    command = [sys.executable, "launch/processes.py", *flags, "--", sys.executable, "-u", "-c", code]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_every_line_says_whose_it_is():
    code = (
        "import os, sys; print(sys.argv[-1], os.environ['JAX_NUM_CPU_DEVICES']); print('bar\\rbar', end='')"
    )
    output, _ = processes("--processes=2", "--devices=3", code=code).communicate(timeout=60)
    assert sorted(output.splitlines()) == sorted(
        f"[p{number}] {line}" for number in (0, 1) for line in (f"{number} 3", "bar", "bar")
    )


def test_the_exit_code_is_that_of_the_first_failure():
    code = "import sys, time; i = int(sys.argv[-1]); time.sleep(1 - i); sys.exit(7 - i)"
    group = processes("--processes=2", code=code)
    group.communicate(timeout=60)
    assert group.returncode == 6


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_no_process_outlives_the_launcher(number, code):
    group = processes(
        "--processes=2", code="import json, os, time; print(json.dumps(os.getpid())); time.sleep(100)"
    )
    assert group.stdout is not None
    members = [json.loads(group.stdout.readline().split("] ")[1]) for _ in range(2)]
    group.send_signal(number)
    assert group.wait(timeout=30) == code
    group.stdout.close()
    end = time.monotonic() + 30
    while any(state(member) != "Z" for member in members):
        assert time.monotonic() < end
        time.sleep(0.05)


def state(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1][0]
    except OSError:
        return "Z"
