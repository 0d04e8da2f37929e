"""The comparisons as files: a picture and a table of each, and the page that shows them beside the paper's figures."""

import csv
from collections.abc import Sequence
from pathlib import Path

from ptdit_jax import plots
from ptdit_jax.cost.figures import Figure, Row
from ptdit_jax.cost.memory import ERROR
from ptdit_jax.cost.peers import PEERS
from ptdit_jax.cost.published_report import NEAR
from ptdit_jax.cost.report import difference
from ptdit_jax.files import write
from ptdit_jax.text_tables import table


def save(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """Write every figure's picture and table, and the page that shows them; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for figure in figures:
        picture, data = folder / f"{figure.name}.png", folder / f"{figure.name}.csv"
        write(picture, lambda draft, f=figure: draw(f, draft))
        write(data, lambda draft, f=figure: write_csv(f.rows, draft))
        files += [picture, data]
    page = folder / "README.md"
    write(page, lambda draft: draft.write_text(page_of(figures)))
    return [*files, page]


def draw(figure: Figure, path: Path) -> None:
    """The picture."""
    plots.panels(
        figure.panels,
        path,
        thin="without the products of attention",
        markers="the paper",
        log_x=figure.log_x,
        note=figure.note,
    )


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """A header and the rows."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def page_of(figures: Sequence[Figure]) -> str:
    """The page: every figure, what it was counted with, and the figures of the paper beside ours."""
    lines = ["# The paper's comparisons, counted", "Written by `python -m ptdit_jax.cost --figures`."]
    for figure in figures:
        lines += [f"## {figure.title}", f"![{figure.title}]({figure.name}.png)", figure.note]
        lines.append(f"Hollow: the paper.  All numbers: [{figure.name}.csv]({figure.name}.csv).")
        lines.append(beside_paper(figure))
    peers = "\n".join(
        f"- {p.name}: {p.source}.  {p.matrices / 1e6:,.1f} M parameters in its matrices, published {p.parameters:,g} M "
        f"({difference(p.matrices / 1e6, p.parameters)})."
        for p in PEERS.values()
    )
    return "\n\n".join([*lines, "## Networks counted from their public architecture", peers]) + "\n"


def beside_paper(figure: Figure) -> str:
    """Those rows for which the paper has a figure; what differs by more than `NEAR` percent is marked."""
    rows = []
    for line in figure.rows:
        if line["paper"] == "":
            continue
        what = f"{line['network']} {line['unit']} {line.get('against') or line.get('part', '')}".strip()
        gap = float(line["difference_percent"])
        size = str(line["pixels"]) + (f", {line['frames']} frames" if "frames" in line else "")
        without = line.get("ours_without_attention_products", "")
        mark = f"**more than {NEAR:g}%**" if abs(gap) > NEAR else ""
        if line["unit"] == "GiB":  # the paper says that it fits, not how much is left
            near = abs(gap) <= ERROR
            mark = "at the limit, within our error" if near else "**does not fit**" if gap > 0 else "fits"
        rows.append(
            [
                what,
                size,
                f"{line['ours']:,g}",
                f"{without:,g}" if without else "",
                f"{line['paper']:,g}",
                f"{gap:+.1f}%",
                mark,
            ]
        )
    return table(["", "px", "ours", "linear", "paper", "difference", ""], rows)
