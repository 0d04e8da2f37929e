"""Pictures of a run: curves, maps, grids of samples, film strips, animations and films."""

from ptdit_jax.plots.curves import COLOURS, Curve, Panel, loss_curve, panels, running_mean
from ptdit_jax.plots.heat_maps import Box, heat_maps
from ptdit_jax.plots.samples import (
    CAPTION,
    FASTEST,
    LARGEST,
    MOVING,
    SPEED,
    STILL,
    TILE,
    animation,
    check_size,
    frames_of,
    pages,
    sample_grid,
    save,
    to_uint8,
)

__all__ = [
    "CAPTION",
    "COLOURS",
    "FASTEST",
    "LARGEST",
    "MOVING",
    "SPEED",
    "STILL",
    "TILE",
    "Box",
    "Curve",
    "Panel",
    "animation",
    "check_size",
    "frames_of",
    "heat_maps",
    "loss_curve",
    "pages",
    "panels",
    "running_mean",
    "sample_grid",
    "save",
    "to_uint8",
]
