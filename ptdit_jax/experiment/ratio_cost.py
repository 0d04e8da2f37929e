"""What compression ratios by time (`compression.by_time`) cost on average, for the verbs that count."""

from collections.abc import Mapping, Sequence
from typing import Any

from ptdit_jax import config as rules
from ptdit_jax.config.by_time import holds
from ptdit_jax.experiment import by_time
from ptdit_jax.experiment.build import build
from ptdit_jax.models import complexity
from ptdit_jax.text_tables import amount, table, triple

NOTE = """\
One compiled step each.  batches: the share of training steps that have the ratio, the probability of its times.
evaluations: the share of the sampler's evaluations of the network, {count} of {sampler!r} here.  mean: by either."""


def rows_of(config: Any) -> list[dict[str, Any]]:
    """Each ratio of a valid config in plain numbers; none where there is one."""
    parts, arch = rules.parts(config), rules.architecture(config)
    if len(parts) == 1:
        return []
    times = [float(row["t"]) for row in _sampler(config).rows()]
    rows = []
    for part, share in zip(parts, by_time.masses(build(config)), strict=True):
        window, layout = rules.layout(part.config)
        macs = complexity.total(complexity.forward(arch, layout, config.model.text_length)).total
        used = sum(holds(part.spans, t) for t in times) / len(times)
        rows.append(
            {
                "times": part.spans,
                "window": window,
                "macs": macs,
                "batches": float(share),
                "evaluations": used,
            }
        )
    return rows


def report(config: Any, measured: Sequence[Mapping[str, float]] = ()) -> str:
    """A Markdown table of the ratios and their means; "" where there is one.

    Args:
      config: the whole config, valid.
      measured: more figures of a training step of each ratio, by their names.
    """
    rows = rows_of(config)
    if not rows:
        return ""
    unit, name = (1e9, "G MACs") if max(row["macs"] for row in rows) >= 1e10 else (1e6, "M MACs")
    more = list(measured[0]) if measured else []
    lines = [
        [
            " and ".join(f"{low:g} to {high:g}" for low, high in row["times"]),
            triple(row["window"]),
            amount(row["macs"] / unit),
            f"{row['batches']:.1%}",
            f"{row['evaluations']:.1%}",
            *(amount(measured[number][column]) for column in more),
        ]
        for number, row in enumerate(rows)
    ]
    for share in ("batches", "evaluations"):
        of_step = share == "batches"
        means = [sum(row[share] * step[column] for row, step in zip(rows, measured)) for column in more]
        mean = sum(row[share] * row["macs"] for row in rows)
        lines.append(
            [
                f"mean by {share}",
                "",
                amount(mean / unit),
                "",
                "",
                *(amount(m) if of_step else "" for m in means),
            ]
        )
    count = _sampler(config).evaluations
    header = ["t", "ratio", f"{name} a sample", "batches", "evaluations", *more]
    return f"{table(header, lines)}\n\n{NOTE.format(count=count, sampler=config.sampling.sampler)}"


def _sampler(config: Any) -> Any:
    return rules.make_sampling(rules.make_objective(config), config.sampling)
