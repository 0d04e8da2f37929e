"""A run under a path of any kind, reached by any name of it; what is no path is refused before anything is built."""

import shutil

import jax
import numpy as np
import pytest

from benchmarks import convert_xl, digits_quality, speed_vs_dit
from ptdit_jax import cli, train
from ptdit_jax.convert import __main__ as convert
from ptdit_jax.cost import __main__ as cost
from ptdit_jax.plan import __main__ as plan
from ptdit_jax.sample import __main__ as sample
from ptdit_jax.sweep import __main__ as sweep

FOLDER = "Läufe/日本 1"
FIELDS = {"evaluation__name": "none", "sampling__count": 2, "sampling__batch": 2}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder, which is the current one too."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def fit(home, tiny):
    """A function: the exit code of training with other fields, by the command line."""

    def run(workdir, steps, **fields):
        arguments = tiny(**FIELDS | {"train__steps": steps} | fields)[1]
        return cli.run(
            lambda: train.start(["train", "--config=~/my config.py", f"--workdir={workdir}", *arguments])
        )

    from configs import c2i_digits

    shutil.copyfile(c2i_digits.__file__, home / "my config.py")
    return run


@pytest.fixture(scope="module")
def trained(home, fit):
    """The folder of a short run that was started by one name of it and went on by another."""
    assert fit(f"~/{FOLDER}", 2) == 0
    (home / "link").symlink_to(home / FOLDER)
    assert fit("link", 6) == 0
    return home / FOLDER


def test_a_run_goes_on_by_every_name_of_its_folder(home, trained):
    assert [path.name for path in home.iterdir() if "~" in path.name] == []
    assert sorted(path.name for path in (trained / "checkpoints").iterdir()) == ["5", "6"]
    rows = (trained / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2", "3", "4", "5", "6"]
    assert len(list((trained / "tensorboard").iterdir())) == 2
    assert (trained / "samples.png").exists()


def draw(checkpoint, out):
    arguments = ["--checkpoint", str(checkpoint), "--count", "2", "--batch", "2", "--out", str(out)]
    assert sample.main(sample.parse(arguments)) == 0


def test_samples_come_by_every_name_and_go_where_they_should(home, trained):
    shutil.copytree(trained / "checkpoints" / "6", trained / "best")
    shutil.copytree(trained / "checkpoints" / "6", home / "elsewhere")
    (trained / "latest").symlink_to("checkpoints/6")
    names = [f"~/{FOLDER}", "link", f"{FOLDER}/checkpoints/6", f"{FOLDER}/best", "~/link/latest", "elsewhere"]
    for number, name in enumerate(names):
        draw(name, f"~/{FOLDER}/Bild {number}.npy")
    images = [np.load(trained / f"Bild {number}.npy") for number in range(len(names))]
    for image in images[1:]:
        np.testing.assert_array_equal(image, images[0])


def test_a_run_starts_from_a_copied_step(home, trained, fit):
    shutil.copytree(trained / "checkpoints" / "6", home / "a copy")
    assert fit("~/started", 1, train__init_from="~/a copy") == 0
    losses = [
        float((folder / "metrics.csv").read_text().splitlines()[1].split(",")[1])
        for folder in (home / "started", trained)
    ]
    assert losses[0] < losses[1] - 0.05  # of the same batch, by trained and by random parameters


def test_a_wrong_start_is_named_as_such_and_nothing_is_built(home, fit, capsys, monkeypatch):
    monkeypatch.setattr(train.shapes, "build_all", lambda *args, **kwargs: pytest.fail("too late"))
    (home / "empty").mkdir()
    for path in ("~/none", "~/empty", "my config.py"):
        assert fit("~/new", 1, train__init_from=path) == cli.USER_ERROR
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert line.startswith(f"error: train.init_from={home}/{path.removeprefix('~/')} holds no checkpoint")


@pytest.mark.parametrize(
    ("workdir", "code", "line"),
    [
        ("~/my config.py", cli.FAILURE, "{home}/my config.py is no folder"),
        ("my config.py/a/b", cli.FAILURE, "my config.py is no folder"),
        ("/sys/run", cli.FAILURE, "--workdir=/sys/run cannot be written: "),
        ("~/" + 300 * "a", cli.FAILURE, "cannot be written: File name too long"),
        ("", cli.USER_ERROR, "--workdir is empty"),
    ],
)
def test_a_workdir_that_is_none_is_one_line(home, fit, capsys, workdir, code, line):
    assert fit(workdir, 1) == code
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("error: --workdir")
    assert line.format(home=home) in said
    assert "Errno" not in said


CONFIG = "--config.{}=gs://b/c"
URLS = {
    "train --workdir": lambda url: train.start(["train", f"--workdir={url}"]),
    "train --config": lambda url: train.start(["train", f"--config={url}"]),
    "train --config, two words": lambda url: train.start(["train", "--config", url]),
    "train data.path": lambda url: train.start(["train", "--workdir=a", f"--config.data.path={url}"]),
    "train train.init_from": lambda url: train.start(
        ["train", "--workdir=a", f"--config.train.init_from={url}"]
    ),
    "sample --checkpoint": lambda url: sample.main(sample.parse(["--checkpoint", url])),
    "sample --text": lambda url: sample.main(sample.parse(["--checkpoint=a", "--text", url])),
    "sample --out": lambda url: sample.main(sample.parse(["--checkpoint=a", f"--out={url}.png"])),
    "sample --npz": lambda url: sample.main(sample.parse(["--checkpoint=a", f"--npz={url}.npz"])),
    "convert WEIGHTS": lambda url: convert.main(convert.parse(["inspect", url])),
    "convert --config": lambda url: convert.main(convert.parse(["inspect", "a.pt", f"--config={url}.json"])),
    "convert --checkpoint": lambda url: convert.main(
        convert.parse(["to-torch", f"--checkpoint={url}", "--out=a"])
    ),
    "convert --out": lambda url: convert.main(convert.parse(["to-torch", "--checkpoint=a", f"--out={url}"])),
    "cost --config": lambda url: cost.main(["cost", f"--config={url}"]),
    "cost --configs": lambda url: cost.main(["cost", f"--configs={url},b.py"]),
    "cost --figures": lambda url: cost.main(["cost", f"--figures={url}"]),
    "plan --config": lambda url: plan.main(["plan", "--topology=cpu:1", f"--config={url}"]),
    "sweep FILE": lambda url: sweep.main(*sweep.parse([f"{url}.py:small"])),
    "sweep --workdir": lambda url: sweep.main(
        *sweep.parse(["configs/sweeps/ablations.py", f"--workdir={url}"])
    ),
    "digits_quality --checkpoint": lambda url: digits_quality.main([f"--checkpoint={url}"]),
    "speed_vs_dit --json": lambda url: speed_vs_dit.main([f"--json={url}"]),
}


@pytest.mark.parametrize("what", URLS)
@pytest.mark.parametrize(
    "url", ["gs://bucket/a", "s3://bucket/a", "file:///tmp/a", "memory://a", "http://host/a"]
)
def test_a_url_is_refused_in_one_line_and_nothing_is_made(what, url, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jax, "jit", lambda *args, **kwargs: pytest.fail("too late"))
    assert cli.run(lambda: URLS[what](url)) == cli.USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    name = what.partition(",")[0].split()[-1]
    assert line.startswith(f"error: {name}={url}")
    assert "must be a path, not a URL: " in line
    assert not list(tmp_path.iterdir())


def test_every_point_of_a_sweep_is_looked_at_for_urls(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import configs

    file = f"{configs.__path__[0]}/sweeps/ablations.py"
    monkeypatch.chdir(f"{configs.__path__[0]}/..")
    arguments = [file, "--backend=slurm", f"--workdir={tmp_path}/sweep", "--config.data.path=gs://bucket/a"]
    assert cli.run(lambda: sweep.main(*sweep.parse(arguments))) == cli.USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert "data.path=gs://bucket/a must be a path, not a URL" in line
    assert not list(tmp_path.iterdir())


def test_the_benchmark_takes_no_url_for_its_folder(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["convert_xl", "--folder=gs://bucket/a"])
    assert cli.run(convert_xl.main) == cli.USER_ERROR
    assert "--folder=gs://bucket/a must be a path" in capsys.readouterr().err


def test_the_cache_of_compiled_programs_may_be_in_the_home_folder(home):
    before = jax.config.values["jax_compilation_cache_dir"]
    try:
        jax.config.update("jax_compilation_cache_dir", "~/a cache")
        assert cli.enable_compilation_cache() == home / "a cache"
        assert jax.config.values["jax_compilation_cache_dir"] == str(home / "a cache")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_a_terminal_without_the_letters_of_a_path_shows_what_it_has(home, monkeypatch):
    with (home / "terminal").open("w", encoding="ascii") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        assert cli.run(lambda: print("see Läufe/日本") or 0) == 0
    assert (home / "terminal").read_text() == "see L\\xe4ufe/\\u65e5\\u672c\n"
