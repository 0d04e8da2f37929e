"""The runs of a sweep on other machines: an array of SLURM jobs, or a JobSet on Kubernetes for each point."""

import copy
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import yaml

import configs
from ptdit_jax import cli, files
from ptdit_jax.sweep import runs
from ptdit_jax.sweep.points import Point, Sweep

LAUNCH = configs.FOLDER.parent / "launch"
TEMPLATES = {"slurm": "slurm.sbatch", "jobset": "jobset.yaml"}


def template(backend: str) -> Path:
    """The file in launch/ that describes one run.

    Raises:
      ValueError: there is none, as in an installation.
    """
    path = LAUNCH / TEMPLATES[backend]
    if not path.is_file():
        raise ValueError(
            f"--backend={backend} needs launch/{path.name}, which the repository has and an installation has not: run "
            "the sweep from a clone of the repository, or with --backend=local"
        )
    return path


def submit(sweep: Sweep, backend: str, jobs: int) -> int:
    """Write what describes the runs that are not done into the sweep's folder, and hand it over; the exit code.

    Args:
      sweep: valid points.
      backend: "slurm" or "jobset".
      jobs: of an array, how many at a time; 0 = as many as the cluster has room for.

    Raises:
      RunError: the scheduler's command is not installed or refuses.
    """
    left = [point for point in sweep.points if runs.progress(sweep, point).state != "done"]
    if not left:
        print("all points are done; --report makes the table and the report")
        return 0
    sweep.workdir.mkdir(parents=True, exist_ok=True)
    if backend == "slurm":
        path, text = sweep.workdir / "array.sbatch", array(sweep, left)
        command = ["sbatch", f"--array=0-{len(left) - 1}" + (f"%{jobs}" if jobs else ""), str(path)]
    else:
        path, text = sweep.workdir / "jobsets.yaml", job_sets(sweep, left)
        command = ["kubectl", "apply", "-f", str(path)]
    files.write(path, lambda draft: draft.write_text(text))
    print(f"{len(left)} runs: {shlex.join(command)}", flush=True)
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise cli.RunError(f"{path} is written, but could not be submitted: {error}") from error
    return 0


def train_arguments(sweep: Sweep, point: Point) -> list[str]:
    """Of `ptdit_jax.train`."""
    return [*point.arguments, f"--workdir={sweep.folder(point.name)}"]


def array(sweep: Sweep, points: Sequence[Point]) -> str:
    """A script for sbatch: task I of the array is `launch/slurm.sbatch` with the arguments of point I."""
    script = template("slurm")
    header = [line for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    log = str(sweep.workdir).replace("%", "%%")
    header = [line for line in header if "--job-name" not in line and "--output" not in line]
    cases = [f"    {i}) exec bash {shlex.quote(str(script))} {shlex.join(train_arguments(sweep, point))} ;;"
             for i, point in enumerate(points)]  # fmt: skip
    return "\n".join(
        [
            "#!/usr/bin/env bash",
            *header,
            f"#SBATCH --job-name={sweep.name}",
            f"#SBATCH {shlex.quote(f'--output={log}/slurm-%A_%a.log')}",
            'case "$SLURM_ARRAY_TASK_ID" in',
            *cases,
            "esac",
            'echo "array.sbatch: there is no point $SLURM_ARRAY_TASK_ID" >&2',
            "exit 2",
            "",
        ]
    )


def job_sets(sweep: Sweep, points: Sequence[Point]) -> str:
    """A JobSet for each point: that of launch/jobset.yaml with other names and arguments of the run.

    The runs' folders are beside the one that launch/jobset.yaml names, `SWEEP/points/POINT` there.
    """
    run = yaml.safe_load(template("jobset").read_text())
    documents = []
    for point in points:
        document = copy.deepcopy(run)
        prefix = sweep.name.replace("_", "-")[:15].strip("-")
        document["metadata"]["name"] = f"{prefix}-{point.name}"
        for job in document["spec"]["replicatedJobs"]:
            for container in job["template"]["spec"]["template"]["spec"]["containers"]:
                command = container["command"]
                (workdir,) = (
                    Path(word.partition("=")[2]) for word in command if word.startswith("--workdir=")
                )
                kept = [word for word in command if not word.startswith(("--config", "--workdir"))]
                folder = workdir.parent / sweep.name / "points" / point.name
                here = (
                    f"--config={configs.FOLDER}/"  # elsewhere in the container, which finds them by this name
                )
                arguments = [word.replace(here, "--config=configs/", 1) for word in point.arguments]
                container["command"] = [*kept, *arguments, f"--workdir={folder}"]
        documents.append(document)
    return yaml.safe_dump_all(documents, sort_keys=False)
