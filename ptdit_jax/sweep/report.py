"""The report of a sweep: one HTML file with figures, samples and the table, that needs nothing else."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import jinja2
import pyarrow as pa

from ptdit_jax import evaluation, files
from ptdit_jax.sweep import drawings, points
from ptdit_jax.sweep.columns import number, scaled, title
from ptdit_jax.sweep.points import Sweep
from ptdit_jax.sweep.variants import Metrics, Row, Variant, findings, spread

SHOWN = 2  # metrics that have figures of their own, and stand beside samples
UNSEEN = ("loss_steps", "loss_curve", "error")  # columns that are no cells of the table of all runs


def write(sweep: Sweep, table: pa.Table) -> None:
    """Write `report.html`, and its figures into `figures/`, in the sweep's folder.

    Args:
      sweep: its points.
      table: of `tables.collect`.
    """
    rows = [row for row in table.to_pylist() if row["state"] == "done"]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["variant"], []).append(row)
    variants = [Variant(number, name, group) for number, (name, group) in enumerate(groups.items(), 1)]
    metrics: Metrics = {
        name: direction
        for name, direction in better(sweep).items()
        if any(variant.values(name) for variant in variants)
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ptdit_jax.sweep", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    shown = list(metrics)[:SHOWN]
    pictures = drawings.draw(variants, {name: metrics[name] for name in shown}, sweep.varied)
    text = environment.get_template("report.html.jinja").render(
        name=sweep.name,
        about=paragraphs(sweep.about),
        state=state(table),
        findings=findings(variants, metrics),
        figures=pictures,
        variants=variant_table(variants, metrics),
        samples=[
            {"source": drawings.data_uri("image/png", file.read_bytes()), "caption": caption(row, shown)}
            for row in rows
            if (file := sweep.folder(row["point"]) / "samples.png").exists()
        ],
        runs=run_table(table),
    )
    folder = sweep.workdir / "figures"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for picture in pictures:
        (folder / f"{picture.name}.svg").write_bytes(picture.svg)
    files.write(sweep.workdir / "report.html", lambda draft: draft.write_text(text))


def better(sweep: Sweep) -> Metrics:
    """Figures that the runs are ranked by, the most telling first, and which direction is better."""
    sections = {p.config.evaluation.to_json(): p.config.evaluation for p in sweep.points}
    found = [evaluation.find(section) for section in sections.values()]
    named: Metrics = {name: way for one in found if one is not None for name, way in one.better.items()}
    return named


def paragraphs(text: str) -> list[dict[str, Any]]:
    """Of a docstring; those that are indented are code."""
    blocks = [block.strip("\n") for block in text.split("\n\n")]
    return [
        {"text": textwrap.dedent(block), "is_code": True}
        if block.startswith(" ")
        else {"text": " ".join(block.split()), "is_code": False}
        for block in blocks
    ]


def state(table: pa.Table) -> str:
    """How many runs there are, and what those that are not done are."""
    rows = table.to_pylist()
    done = sum(row["state"] == "done" for row in rows)
    text = f"{done} of {len(rows)} runs are done."
    for what in dict.fromkeys(row["state"] for row in rows if row["state"] != "done"):
        names = [row["point"] for row in rows if row["state"] == what]
        text += f"  {what.capitalize()}: {points.some(names, 8)}."
    return text


def variant_table(variants: Sequence[Variant], metrics: Iterable[str]) -> dict[str, Any]:
    """A row a variant: cost, speed and quality."""
    columns = ["parameters", "macs", "step_seconds", "images_per_second", "peak_rss_mib", "loss", *metrics]
    rows = [
        [
            _cell(f"{variant.number} {variant.name}", variant.number),
            _cell(len(variant.rows)),
            *(_cell(spread(variant, column), variant.mean(column)) for column in columns),
        ]
        for variant in variants
    ]
    return {"header": ["variant", "seeds", *map(title, columns)], "rows": rows}


def run_table(table: pa.Table) -> dict[str, Any]:
    """A row a run: every column but curves."""
    columns = [name for name in table.column_names if name not in UNSEEN]
    return {
        "header": [title(name) for name in columns],
        "rows": [[_cell(scaled(name, row[name])) for name in columns] for row in table.to_pylist()],
    }


def caption(row: Row, metrics: Iterable[str]) -> str:
    """What to know of a run beside its samples."""
    return ", ".join(
        [row["point"], *(f"{title(name).lower()} {number(row[name])}" for name in metrics if name in row)]
    )


def _cell(content: Any, value: Any = None) -> dict[str, Any]:
    """A cell as it is shown and as it sorts."""
    value = content if value is None else value
    if content is None or (isinstance(value, float) and math.isnan(value)):
        return {"text": "" if content is None else content, "value": ""}
    is_number = isinstance(content, (int, float)) and not isinstance(content, bool)
    return {"text": number(content) if is_number else str(content), "value": value}
