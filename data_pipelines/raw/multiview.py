"""Renders of objects from all sides: a folder an object, or the layout of G-Objaverse.

V views of an object at V azimuths in equal steps, 360 / V degrees, all at one elevation and one distance.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.arrays import named
from data_pipelines.raw import captions as texts
from data_pipelines.raw import listing
from data_pipelines.raw.folder import SUFFIXES
from data_pipelines.raw.media import Stored
from data_pipelines.raw.problems import Unusable
from data_pipelines.raw.records import RawRecord

VIEWS = 24  # of an object, as the paper has it
CAPTION = "caption.txt"  # of an object, in its folder; or OBJECT.txt beside the folder
FOLDERS = 40  # of an object of G-Objaverse: 24 views around, one of them again, 2 poles, 12 and one again from below
LEVEL = "campos_512_v4"  # a folder between object and views, which some downloads leave out
CAP3D = "text_captions_cap3d.json"
INDEX = ("gobjaverse_280k_index_to_objaverse.json", "gobjaverse_index_to_objaverse.json")
ANGLE, LENGTH = 1.0, 0.02  # degrees, and share of the distance, by which cameras may be off
_NUMBER = re.compile(r"(?:.*\D)?(\d+)")


class MultiviewSource:
    """Folders with V pictures each, numbered in the order of their azimuths; other pictures in a folder are refused.

    View k of `OBJECT/` is the picture whose name ends in the k-th number.  The caption is `OBJECT/caption.txt`, or
    `OBJECT.txt` beside the folder.
    """

    kind = "multiview"
    classes: int | None = None

    def __init__(
        self,
        path: str,
        *,
        views: int = VIEWS,
        captions: str = "auto",
        max_caption: int = texts.LONGEST,
        outside: bool = False,
    ) -> None:
        """Lists the folders.

        Args:
            path: of the folders, at any depth.
            views: V.
            captions: "required"; "optional"; "none"; "auto" is required where any object has one.
            max_caption: characters of a caption.
            outside: pictures may lie outside the folder, by links.

        Raises:
            ValueError: an option is wrong, or no folder has a picture.
        """
        texts.check_option(captions)
        if views < 1:
            raise ValueError(f"multiview: views={views} must be 1 or more")
        name = f"multiview: {path}"
        self._root = listing.check_folder(name, path)
        self._views, self._max_caption, self._outside = views, max_caption, outside
        self._pictures: dict[str, list[str]] = {}
        known = set()
        for file, what in listing.counted(listing.walk(self._root, outside=outside), name):
            folder, base = os.path.split(file)
            suffix = os.path.splitext(base)[1].lower()
            if what == "file" and suffix in SUFFIXES["image"] and folder:
                self._pictures.setdefault(folder, []).append(base)
            elif what == "file" and suffix == ".txt":
                known.add(file)
        if not self._pictures:
            raise ValueError(f"{name}: has no folder with pictures; each object needs one")
        self._objects = sorted(self._pictures)
        self._texts = {
            folder: next((text for text in (f"{folder}/{CAPTION}", f"{folder}.txt") if text in known), None)
            for folder in self._objects
        }
        some = any(self._texts.values())
        self._captions = ("required" if some else "none") if captions == "auto" else captions
        self.notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Returns the number of objects."""
        return len(self._objects)

    def __getitem__(self, record: int) -> RawRecord:
        """Returns object number `record`, its azimuths in degrees in `facts["azimuth"]`."""
        key = self._objects[record]
        try:
            names = self._pictures[key]
            numbers = {name: _NUMBER.fullmatch(os.path.splitext(name)[0]) for name in names}
            if odd := [name for name, match in numbers.items() if match is None]:
                raise Unusable("views_missing", f"has the picture {odd[0]}, which has no number")
            ordered = sorted(names, key=lambda name: int(numbers[name][1]))  # pyright: ignore[reportOptionalSubscript]
            found = [int(numbers[name][1]) for name in ordered]  # pyright: ignore[reportOptionalSubscript]
            if len(found) != self._views or found != list(range(found[0], found[0] + self._views)):
                raise Unusable(
                    "views_missing", f"has {len(found)} views, must have {self._views} with numbers in turn"
                )
            media = [
                Stored(listing.within(self._root, f"{key}/{name}", outside=self._outside)) for name in ordered
            ]
            azimuth = [360 * view / self._views for view in range(self._views)]
            return RawRecord(key, self.kind, tuple(media), self._caption(key), facts={"azimuth": azimuth})
        except Unusable as problem:
            return RawRecord(key, self.kind, problem=problem)

    def _caption(self, key: str) -> str | None:
        if self._captions == "none":
            return None
        if file := self._texts[key]:
            return texts.read(
                Stored(listing.within(self._root, file, outside=self._outside)), self._max_caption
            )
        if self._captions == "required":
            raise Unusable("no_caption", texts.MISSING)
        return None


class GObjaverse:
    """`ROOT/GROUP/OBJECT/[campos_512_v4/]000NN/000NN.{png,json}`, of which views 0 to 23 go around the object.

    Their cameras are read from the JSON files: what does not go around in equal steps at one height and one distance
    is refused.  Captions are Cap3D's, in files beside the groups.
    """

    kind = "multiview"
    classes: int | None = None

    def __init__(
        self,
        path: str,
        *,
        views: int = VIEWS,
        captions: str = "auto",
        cap3d: str = "",
        index: str = "",
        max_caption: int = texts.LONGEST,
        outside: bool = False,
    ) -> None:
        """Lists the groups and the objects, and reads the captions.

        Args:
            path: ROOT.
            views: a divisor of 24; fewer are those in equal steps.
            captions: "required"; "optional"; "none"; "auto" is required where there is a file of captions.
            cap3d: the JSON of captions; "" is `text_captions_cap3d.json` in ROOT.
            index: the JSON of Objaverse's name of each object; "" is `gobjaverse_280k_index_to_objaverse.json` in ROOT.
            max_caption: characters of a caption.
            outside: pictures may lie outside the folder, by links.

        Raises:
            ValueError: an option is wrong, or there is no object.
        """
        texts.check_option(captions)
        if views < 1 or VIEWS % views:
            raise ValueError(f"gobjaverse: views={views} must divide {VIEWS}")
        name = f"gobjaverse: {path}"
        self._root = listing.check_folder(name, path)
        self._views, self._max_caption, self._outside = views, max_caption, outside
        groups = [entry for entry in _folders(self._root)]
        objects = listing.counted((f"{g}/{o}" for g in groups for o in _folders(self._root / g)), name)
        self._objects = list(objects)
        if not self._objects:
            raise ValueError(f"{name}: has no folder GROUP/OBJECT")
        texts_file = Path(cap3d).expanduser() if cap3d else self._root / CAP3D
        usual = (self._root / file for file in INDEX)
        index_file = Path(index).expanduser() if index else next((f for f in usual if f.is_file()), None)
        if captions == "auto":
            captions = "required" if cap3d or texts_file.is_file() else "none"
        self._captions = captions
        self._texts = _json(texts_file) if captions != "none" and (cap3d or texts_file.is_file()) else {}
        self._names = _json(index_file) if self._texts and index_file else {}
        self.notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Returns the number of objects."""
        return len(self._objects)

    def __getitem__(self, record: int) -> RawRecord:
        """Returns object number `record`; `facts` has azimuths, elevation (degrees), distance, and field of view."""
        key = self._objects[record]
        try:
            level = f"{key}/{LEVEL}" if (self._root / key / LEVEL).is_dir() else key
            pictures, cameras = [], []
            for view in range(VIEWS):
                place = f"{level}/{view:05d}/{view:05d}"
                picture, camera = (
                    Stored(listing.within(self._root, place + suffix, outside=self._outside))
                    for suffix in (".png", ".json")
                )
                if missing := [file.path for file in (picture, camera) if not file.path.is_file()]:
                    raise Unusable("views_missing", f"has no {missing[0].relative_to(self._root / key)}")
                pictures.append(picture)
                cameras.append(_camera(camera))
            facts = around(np.array([camera["origin"] for camera in cameras], np.float64))
            step = VIEWS // self._views
            facts["azimuth"] = facts["azimuth"][::step]
            facts["x_fov"] = cameras[0].get("x_fov")
            caption = self._caption(key)
            return RawRecord(key, self.kind, tuple(pictures[::step]), caption, facts=facts)
        except Unusable as problem:
            return RawRecord(key, self.kind, problem=problem)

    def _caption(self, key: str) -> str | None:
        if self._captions == "none":
            return None
        other = str(self._names.get(key, key)).removesuffix(".glb")
        for name in (key, other, f"{other}.glb", other.rpartition("/")[2]):
            if name in self._texts:
                return texts.checked(self._texts[name], self._max_caption)
        if self._captions == "required":
            raise Unusable("no_caption", f"Cap3D has no caption of {other} (captions='optional' allows it)")
        return None


def around(origins: np.ndarray) -> dict[str, Any]:
    """Says how cameras (V, 3) go around the origin, whichever axis is up: the one in which they agree.

    Returns:
        `azimuth`, V degrees from the first view, growing whichever way the views go; `elevation` in degrees, up or
        down as the axis is; `distance`.

    Raises:
        Unusable: with reason "views_not_uniform".
    """
    views = len(origins)
    if not np.isfinite(origins).all():
        raise Unusable("views_not_uniform", "has cameras at places that are no numbers")
    up = int(np.argmin(np.ptp(origins, axis=0)))
    flat = np.delete(origins, up, axis=1)
    radius, distance = np.linalg.norm(flat, axis=1), np.linalg.norm(origins, axis=1)
    if not radius.min() > 0 or np.ptp(distance) > LENGTH * distance.mean():
        raise Unusable("views_not_uniform", f"has cameras {distance.min():.3g} to {distance.max():.3g} away")
    elevation = np.degrees(np.arcsin(origins[:, up] / distance))
    if np.ptp(elevation) > ANGLE:
        raise Unusable(
            "views_not_uniform", f"has cameras at {elevation.min():.1f} to {elevation.max():.1f} degrees"
        )
    angles = np.degrees(np.unwrap(np.arctan2(flat[:, 1], flat[:, 0])))
    azimuth = np.abs(angles - angles[0])
    wanted = 360 / views * np.arange(views)
    if np.abs(azimuth - wanted).max() > ANGLE:
        off = int(np.argmax(np.abs(azimuth - wanted)))
        raise Unusable(
            "views_not_uniform", f"has view {off} at {azimuth[off]:.1f} degrees, must be at {wanted[off]:.1f}"
        )
    return {
        "azimuth": azimuth.tolist(),
        "elevation": float(elevation.mean()),
        "distance": float(distance.mean()),
    }


def _camera(file: Stored) -> Mapping[str, Any]:
    try:
        camera = json.loads(file.read())
        if np.shape(camera["origin"]) != (3,) or not all(
            isinstance(v, int | float) for v in camera["origin"]
        ):
            raise ValueError("its origin is no place")
        return camera
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, Unusable):
            raise
        raise Unusable("bad_metadata", f"{file.path.name}: {type(error).__name__} {error}") from error


def _folders(folder: Path) -> Sequence[str]:
    with os.scandir(folder) as scan:
        return sorted(entry.name for entry in scan if entry.is_dir() and not entry.name.startswith("."))


def _json(path: Path) -> Mapping[str, Any]:
    with named(path):
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("must be an object of JSON")
        return found
