"""The columns of a sweep's table in words: their titles, units, and numbers as they are shown."""

from collections.abc import Mapping
from typing import Any

TITLES: Mapping[str, str] = {
    "frechet_distance": "Fréchet distance",
    "frechet_real": "Fréchet distance of real samples",
    "macs": "M MACs",
    "step_seconds": "ms a step",
    "images_per_second": "images/s",
    "peak_rss_mib": "peak memory, MiB",
    "planned_mib": "memory of a step, MiB",
    "text_mib": "text encoder, MiB a device",
    "text_share": "text encoder, share of a step",
    "text_terabytes": "text states, TB for 50 M captions",
    "run_seconds": "seconds of the run",
}
UNITS: Mapping[str, float] = {"macs": 1e-6, "step_seconds": 1e3}


def scaled(column: str, value: Any) -> Any:
    """A value in the unit of its title."""
    return value * UNITS[column] if column in UNITS and value is not None else value


def title(column: str) -> str:
    """A column of the table in words."""
    return TITLES.get(column, column if "." in column else column.replace("_", " ").capitalize())


def number(value: float) -> str:
    """Four digits, all of whole numbers."""
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
