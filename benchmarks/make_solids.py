"""Renders the solids of the demonstration of turntables, once: textured solids at 24 azimuths each.

    pip install -r requirements-render.txt      # pyvista, which renders without a screen
    python -m benchmarks.make_solids            # data_pipelines/demos/solids.npz, what the source "solids" reads
    python -m benchmarks.make_solids --folder data/solids --side 64

The second form writes pictures and captions as `data_pipelines.raw.multiview` reads them, for `launch/encode.sh`.

Every solid, `data_pipelines.demos.solids.NAMES`, stands in the middle and is seen from 20 degrees above at azimuths in
steps of 15 degrees.  Its colours are painted on the points of a fine mesh; pictures are rendered at four times their
side and averaged.  One of each shape is rendered between these azimuths, too: what no training sees.
"""

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipelines.demos import solids, words
from ptdit_jax.progress import track

ELEVATION = 20.0  # degrees
DISTANCE = 6.0  # of the camera from the middle; solids have a radius of about 1
VIEW_ANGLE = 25.0  # degrees
DARKER = 0.25  # the second colour of a pattern over the first
LIGHT = {"ambient": 0.35, "diffuse": 0.75}
LARGER = 4  # pixels rendered along a side of a pixel kept
FINE = 48  # parts of an edge or of a round


def mesh_of(shape: str):
    """A fine mesh of a solid, z up, within a sphere of radius 1.3 around the middle."""
    import pyvista as pv

    meshes = {
        "cube": lambda: pv.Cube(x_length=1.4, y_length=1.4, z_length=1.4).triangulate().subdivide(5),
        "ball": lambda: pv.Sphere(radius=1.0, theta_resolution=96, phi_resolution=96),
        "cylinder": lambda: turned([(0, -0.9), (0.7, -0.9), (0.7, 0.9), (0, 0.9)]),
        "cone": lambda: turned([(0, -0.9), (0.95, -0.9), (0, 1.1)]),
        "pyramid": lambda: (
            pv.Pyramid(
                [(-0.9, -0.9, -0.8), (0.9, -0.9, -0.8), (0.9, 0.9, -0.8), (-0.9, 0.9, -0.8), (0, 0, 1.1)]
            )
            .extract_surface(algorithm="dataset_surface")
            .triangulate()
            .subdivide(5)
        ),
        "ring": lambda: pv.ParametricTorus(ringradius=0.8, crosssectionradius=0.35).rotate_x(60),
    }
    return meshes[shape]()


def turned(profile: list[tuple[float, float]]):
    """The solid of a profile of (radius, height) turned around z."""
    import pyvista as pv

    corners = np.array(profile)
    parts = [np.linspace(a, b, FINE, endpoint=False) for a, b in itertools.pairwise(corners)]
    radius, height = np.concatenate([*parts, corners[-1:]]).T
    angle = np.linspace(0, 2 * np.pi, 97)[:, None]
    grid = pv.StructuredGrid(radius * np.cos(angle), radius * np.sin(angle), height + 0 * angle)
    return grid.extract_surface(algorithm="dataset_surface")


def painted(mesh, color: str, pattern: str) -> np.ndarray:
    """Colours (points, 3) uint8 of a pattern in two colours, by the place of each point."""
    x, y, z = np.asarray(mesh.points).T
    turn = np.arctan2(y, x)
    paint = np.array(words.PALETTE[color])
    second = {
        "plain": np.zeros(len(x), bool),
        "striped": np.sin(3 * turn) > 0,
        "checked": (np.sin(3 * turn) > 0) ^ (np.sin(4.5 * z + 0.6) > 0),
        "two-sided": np.cos(turn) < 0,
    }[pattern]
    return np.where(second[:, None], 255 * DARKER * paint, 255 * paint).round().astype(np.uint8)


def render(side: int, names: Sequence[tuple[str, str, str]], first: float = 0.0) -> np.ndarray:
    """Solids (N of `names`) from all sides, the first view at an azimuth in degrees: (N, V, S, S, 3) uint8."""
    import pyvista as pv

    plotter = pv.Plotter(off_screen=True, window_size=[LARGER * side] * 2)
    plotter.set_background("white")
    plotter.show(auto_close=False)  # else screenshots are all of the first camera
    azimuth = np.radians(first + 360 / solids.VIEWS * np.arange(solids.VIEWS))
    up, flat = DISTANCE * np.sin(np.radians(ELEVATION)), DISTANCE * np.cos(np.radians(ELEVATION))
    pictures = []
    for shape, color, pattern in track(names, len(names), "render", "solid"):
        mesh = mesh_of(shape)
        actor = plotter.add_mesh(mesh, scalars=painted(mesh, color, pattern), rgb=True, **LIGHT)
        for angle in azimuth:
            eye = (flat * np.cos(angle), flat * np.sin(angle), up)
            plotter.camera_position = [eye, (0, 0, 0), (0, 0, 1)]
            plotter.camera.view_angle = VIEW_ANGLE
            plotter.reset_camera_clipping_range()
            plotter.render()
            shot = np.asarray(plotter.screenshot(None, return_img=True), np.float32)
            pictures.append(shot.reshape(side, LARGER, side, LARGER, 3).mean((1, 3)).round().astype(np.uint8))
        plotter.remove_actor(actor)
    plotter.close()
    return np.stack(pictures).reshape(len(names), solids.VIEWS, side, side, 3)


def write_folder(folder: Path, views: np.ndarray) -> None:
    """Writes all solids (N, V, S, S, 3), a folder with V pictures and a caption each."""
    for number, (name, pictures) in enumerate(zip(solids.NAMES, views, strict=True)):
        place = folder / "-".join(name)
        place.mkdir(parents=True, exist_ok=True)
        (place / "caption.txt").write_text(solids.caption(number, 0) + "\n")
        for view, picture in enumerate(pictures):
            Image.fromarray(picture).save(place / f"{view:02d}.png")


def main() -> None:
    """Renders and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=solids.FILE, help="the .npz to write")
    parser.add_argument("--folder", type=Path, help="write pictures and captions here instead")
    parser.add_argument("--side", type=int, default=solids.SIDE, help="pixels")
    args = parser.parse_args()
    views = render(args.side, solids.NAMES)
    if args.folder is None:
        plain = [(shape, words.COLORS[0], "plain") for shape in solids.SHAPES]
        between = render(args.side, plain, first=180 / solids.VIEWS)
        np.savez_compressed(args.out, views=views, between=between)
        print(f"{args.out}: {views.shape}, {args.out.stat().st_size / 1e6:.2f} MB")
        return
    write_folder(args.folder, views)
    print(f"{args.folder}: {len(views)} solids of {solids.VIEWS} views")


if __name__ == "__main__":
    main()
