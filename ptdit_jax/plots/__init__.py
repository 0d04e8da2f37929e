"""Pictures of a run: curves, grids of samples, film strips, animations and films."""

from ptdit_jax.plots.curves import COLOURS, Curve, Panel, loss_curve, panels, running_mean
from ptdit_jax.plots.samples import (
    CAPTION,
    LARGEST,
    MOVING,
    STILL,
    TILE,
    animation,
    check_size,
    pages,
    sample_grid,
    to_uint8,
)

__all__ = [
    "CAPTION",
    "COLOURS",
    "LARGEST",
    "MOVING",
    "STILL",
    "TILE",
    "Curve",
    "Panel",
    "animation",
    "check_size",
    "loss_curve",
    "pages",
    "panels",
    "running_mean",
    "sample_grid",
    "to_uint8",
]
