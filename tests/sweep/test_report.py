"""Tables and reports of made-up runs."""

import html.parser
import json
import re

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from ptdit_jax import config as rules
from ptdit_jax import plots
from ptdit_jax.sweep import points, report, runs, tables, variants
from ptdit_jax.sweep.plans import Plan
from ptdit_jax.training.metrics import Board

POINTS = [
    (f"{name}-seed{seed}", fields | {"seed": seed})
    for name, fields in (
        ("small", {}),
        ("wide", {"compression.fixed": (1, 4, 4)}),
        ("dit", {"model.family": "dit"}),
    )
    for seed in (0, 1)
]
FRECHET = {"small": (2.0, 2.5), "wide": (2.4, 3.0), "dit": (1.0, 1.1)}


@pytest.fixture
def sweep(sweep_file, tmp_path):
    """Five runs that are done, and one that has failed."""
    sweep = points.load(sweep_file(POINTS), workdir=tmp_path)
    for number, point in enumerate(sweep.points):
        folder = sweep.folder(point.name)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(rules.to_json(point.config))
        error = "failed: disk <full> (exit code 1)" if point.name == "wide-seed1" else ""
        row = {"seconds": 5.0, "peak_rss_bytes": (100 + number) * 2**20, "error": ""}
        killed = {"seconds": None, "peak_rss_bytes": None, "error": ""}
        (folder / "attempts.json").write_text(json.dumps([row, killed, row | {"error": error}]))
        if error:
            (folder / "log.txt").write_text("error: disk full\n")
            continue
        losses = [f"{step},{1 / step}" for step in range(1, 13)]
        (folder / "metrics.csv").write_text("\n".join(["step,loss", *losses, ""]))
        board = Board(folder / "tensorboard", step=0)
        for seconds in (9.0, 0.2, 0.3, 0.4):
            board.add(1, {"speed/step_seconds": seconds, "train/loss": 7.0})
        board.close()
        (events,) = (folder / "tensorboard").iterdir()
        (folder / "tensorboard" / "events.killed").write_bytes(events.read_bytes()[:20])
        verdict = {
            "frechet_distance": FRECHET[point.variant][point.config.seed],
            "recognition": 0.5,
            "text": "t",
        }
        (folder / "evaluation.json").write_text(json.dumps(verdict))
        (folder / "loss.png").write_bytes(b"")
        images = np.random.default_rng(0).uniform(-1, 1, (10, 1, 1, 8, 8))
        plots.sample_grid(images, range(10), folder / "samples.png")
    return sweep


def test_the_table_holds_what_lies_in_the_folders(sweep, tmp_path):
    table = tables.collect(sweep, {"small-seed0": Plan(2**21, 2**30, 0.5)})
    first, _, _, failed, dit, _ = table.to_pylist()
    assert (first["point"], first["variant"], first["seed"], first["state"]) == (
        "small-seed0",
        "small",
        0,
        "done",
    )
    assert (first["compression.fixed"], failed["compression.fixed"]) == ("1x2x2", "1x4x4")
    assert (first["ratio"], failed["ratio"], dit["ratio"], dit["window"]) == (4, 16, None, None)
    assert first["planned_mib"] == 2
    assert first["step_seconds"] == pytest.approx(0.35)
    assert first["images_per_second"] == pytest.approx(16 / 0.35)
    assert (first["run_seconds"], first["attempts"], first["peak_rss_mib"]) == (10, 3, 100)
    assert first["loss"] == pytest.approx((1 / 11 + 1 / 12) / 2)
    assert first["loss_steps"] == list(range(1, 13))
    assert first["loss_curve"] == pytest.approx([1 / step for step in range(1, 13)])
    assert (failed["state"], failed["error"]) == ("failed", "failed: disk <full> (exit code 1)")
    assert failed["frechet_distance"] is None
    assert failed["macs"] > 0

    tables.write(table, tmp_path)
    assert pyarrow.parquet.read_table(tmp_path / "table.parquet").equals(table)
    flat = pyarrow.csv.read_csv(tmp_path / "table.csv")
    assert flat.column_names == table.column_names
    assert json.loads(flat["loss_curve"][0].as_py()) == first["loss_curve"]
    assert flat["step_seconds"][0].as_py() == first["step_seconds"]


def test_long_losses_are_means_of_stretches(sweep):
    folder = sweep.folder("small-seed0")
    values = np.random.default_rng(0).uniform(size=1000)
    rows = [f"{step},{value}" for step, value in enumerate(values, 1)]
    (folder / "metrics.csv").write_text("\n".join(["step,loss", *rows, ""]))
    row = tables.collect(sweep, {}).to_pylist()[0]
    np.testing.assert_allclose(row["loss_curve"], values.reshape(100, 10).mean(axis=1))
    np.testing.assert_allclose(row["loss_steps"], np.arange(100) * 10 + 5.5)
    assert row["loss"] == pytest.approx(values[-100:].mean())


class Page(html.parser.HTMLParser):
    """Tags that are open, what is linked, and the tables."""

    VOID = ("meta", "img", "br")

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.tables, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):  # noqa: D102
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag == "td":
            self.tables[-1][-1].append(dict(attrs)["data-value"])

    def handle_endtag(self, tag):  # noqa: D102
        assert self.open.pop() == tag

    def handle_data(self, data):  # noqa: D102
        self.text.append(data)


def test_the_report_is_one_whole_file(sweep, tmp_path):
    report.write(sweep, tables.collect(sweep, {}))
    text = (tmp_path / "report.html").read_text()
    page = Page()
    page.feed(text)
    page.close()
    assert not page.open
    assert page.sources
    assert all(source.startswith("data:image/") for source in page.sources)
    assert not re.search(r"https?://|@import|url\(", re.sub(r'src="data:[^"]*"', "", text))
    assert sum(source.startswith("data:image/svg") for source in page.sources) == 6
    names = {"frechet_distance_cost", "recognition_cost", "loss"}
    names |= {f"{column}_ratio" for column in ("frechet_distance", "recognition", "step_seconds")}
    assert {file.name for file in (tmp_path / "figures").iterdir()} == {f"{name}.svg" for name in names}
    assert sum(source.startswith("data:image/png") for source in page.sources) == 5
    assert "Of &lt;few&gt; steps." in text
    shown = "".join(page.text)
    assert "5 of 6 runs are done.  Failed: point wide-seed1." in shown
    by_variant, all_runs = page.tables
    assert [row[0] for row in by_variant[1:]] == ["1", "2", "3"]
    assert len(all_runs) == 7
    report.write(sweep, tables.collect(sweep, {}))
    assert (tmp_path / "report.html").read_text() == text


def test_findings_are_those_of_the_table(sweep):
    made = [
        variants.Variant(number, name, [{"macs": macs, "frechet_distance": value} for value in FRECHET[name]])
        for number, (name, macs) in enumerate((("small", 5), ("wide", 4), ("dit", 9)), 1)
    ]
    (sentence,) = variants.findings(made, {"frechet_distance": "lower"})
    assert sentence == (
        "Fréchet distance (lower is better): best dit with 1.05 (1 to 1.1), worst wide with 2.7 (2.4 to 3).  "
        "Not apart from the best: none.  Nothing is as cheap and better than: wide, small, dit."
    )
    (sentence,) = variants.findings(made[:2], {"frechet_distance": "lower"})
    assert "Not apart from the best: wide." in sentence
    once = [variants.Variant(1, "a", made[0].rows[:1])]
    assert "trained once" in variants.findings(once, {"frechet_distance": "lower"})[-1]


@pytest.mark.parametrize("direction", ["lower", "higher"])
def test_the_pareto_front_is_that_of_a_loop(direction):
    rng = np.random.default_rng(0)
    made = [
        variants.Variant(i, str(i), [{"macs": int(macs), "metric": float(value)}])
        for i, (macs, value) in enumerate(rng.integers(0, 8, (40, 2)))
    ]
    sign = 1 if direction == "lower" else -1
    facts = {(variant["macs"], sign * variant["metric"]) for variant in made}

    def dominated(fact):
        return any(a <= fact[0] and b <= fact[1] and (a, b) != fact for a, b in facts)

    expected = sorted(fact for fact in facts if not dominated(fact))
    assert [(v["macs"], sign * v["metric"]) for v in variants.pareto(made, "metric", direction)] == expected


def test_variants_that_differ_in_the_ratio_alone_make_a_line():
    def variant(number, ratio, extraction="average"):
        row = {"ratio": ratio, "model.extraction": extraction, "compression.fixed": str(ratio)}
        return variants.Variant(number, str(number), [row])

    made = [variant(1, 16), variant(2, 4), variant(3, 4, "random"), variant(4, None)]
    (line,) = variants.ratio_lines(made, ["compression.fixed", "model.extraction"])
    assert [one.number for one in line] == [2, 1]


def test_progress_is_read_from_the_folder(sweep, tmp_path):
    done, failed = sweep.points[0], sweep.points[3]
    assert runs.progress(sweep, done).state == "done"
    assert runs.progress(sweep, done).loss == pytest.approx(1 / 12)
    assert runs.progress(sweep, failed).state == "failed"
    (sweep.folder(done.name) / "evaluation.json").unlink()
    assert runs.progress(sweep, done).state == "started"
    with (sweep.folder(done.name) / "metrics.csv").open("a") as file:
        file.write("13,0.")  # a row that is being written
    assert runs.progress(sweep, done).step == 12
