"""What samples are written as: one file for all, a folder with a file for each, arrays.

Shapes: N samples, n of a batch, C channels, F frames, H rows, W columns of pictures.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ptdit_jax import files, plots
from ptdit_jax.plots import films
from ptdit_jax.plots.settings import FILM
from ptdit_jax.sample import one_file, settings
from ptdit_jax.sample.conditions import Conditions

SHEET = "sheet.png"
ON_SHEET = 64  # samples that a sheet shows at most
THUMBNAIL = 256  # pixels of the longer side of a sample on a sheet
STILLS = 6  # frames of a film on a sheet


def names_of(conditions: Conditions, moving: bool) -> list[str]:
    """The files of samples in a folder, see `one_file.name`; films are .mp4."""
    wanted = conditions.wanted
    turns = wanted.turns
    assert turns is not None
    end = FILM if moving else ".png"
    return [one_file.name(label, turn, end) for label, turn in zip(wanted.labels, turns, strict=True)]


class Folder:
    """A file for each sample, written as soon as it is made, and a sheet of the first ones."""

    def __init__(
        self,
        folder: Path,
        conditions: Conditions,
        shape: Sequence[int],
        *,
        frames_per_second: float,
    ):
        """Make the folder.

        Args:
          folder: it may exist.
          conditions: of the samples.
          shape: (C, F, H, W) of a picture.
          frames_per_second: of films.

        Raises:
          ValueError: two samples would have one name, or a file is there already.
          OSError: it cannot be written.
        """
        files.make_folder(folder, "--out")
        self._folder, self._conditions, self._speed = folder, conditions, frames_per_second
        self._names = names_of(conditions, moving=shape[1] > 1)
        if len(set(self._names)) < len(self._names):
            raise ValueError(
                f"--out={folder}/: two prompts have the same number, and so the same names of files"
            )
        for name in (SHEET, *self._names):
            if (folder / name).exists():
                raise ValueError(f"--out={folder}/ holds {name} already; name another folder, or remove it")
        self._thumbnails: list[np.ndarray] = []

    def add(self, numbers: np.ndarray, pictures: np.ndarray, shared: dict[str, Any]) -> None:
        """Write some samples (n, C, F, H, W)."""
        for number, picture in zip(numbers.tolist(), pictures, strict=True):
            path, how = (
                self._folder / self._names[number],
                settings.of_sample(shared, self._conditions, number),
            )
            files.write(path, self._writer(picture, how))
            if len(self._thumbnails) < ON_SHEET:
                self._thumbnails.append(thumbnail(picture))

    def _writer(self, picture: np.ndarray, how: dict[str, Any]) -> Callable[[Path], None]:
        frames = plots.frames_of(picture)
        if len(frames) == 1:
            return lambda draft: plots.save(frames, draft, settings=how)
        return lambda draft: films.write(frames, draft, frames_per_second=self._speed, settings=how)

    def kept(self) -> str:
        """What to say of the files that were written before an error."""
        there = sum((self._folder / name).exists() for name in self._names)
        return f"; the {there} made before are in {self._folder}/" if there else ""

    def finish(self, shared: dict[str, Any]) -> None:
        """Write the sheet."""
        shown, given = len(self._thumbnails), self._conditions
        wanted = given.wanted
        per_prompt = len(wanted.labels) // max(len(given.prompts), 1)
        names = None if given.names is None else given.names[:shown]
        legend = given.legend[: -(-shown // per_prompt)] if given.prompts else []
        columns = per_prompt if given.prompts and 1 < per_prompt <= 16 else None
        how = settings.of_all(shared, given)
        files.write(
            self._folder / SHEET,
            lambda draft: plots.sample_grid(
                np.stack(self._thumbnails), names, draft, columns=columns, legend=legend, settings=how
            ),
        )


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """A picture (C, F, H, W) with a few of its frames, and no side longer than `THUMBNAIL`."""
    frames = plots.frames_of(picture)
    frames = [
        frames[i] for i in np.linspace(0, len(frames) - 1, min(len(frames), STILLS)).round().astype(int)
    ]
    scale = THUMBNAIL / max(frames[0].size)
    if scale < 1:
        width, height = (max(round(side * scale), 1) for side in frames[0].size)
        frames = [frame.resize((width, height), Image.Resampling.LANCZOS) for frame in frames]
    stack = np.stack([np.asarray(frame).reshape(*frame.size[::-1], -1) for frame in frames])
    return np.moveaxis(stack, -1, 0).astype(np.float32) / 127.5 - 1


def write_one(
    path: Path, pictures: np.ndarray, conditions: Conditions, how: dict[str, Any], frames_per_second: float
) -> None:
    """Write all samples (N, C, F, H, W) into one picture, animation or film.

    One sample that can be seen as it is, is written so; others, side by side with the prompts below.
    """
    suffix = path.suffix.lower()
    moving = suffix not in plots.STILL
    speed: dict[str, Any] = {"frames_per_second": frames_per_second} if moving else {}
    page = {"columns": columns_of(conditions), "legend": conditions.legend, "settings": how}
    names = conditions.names
    if is_alone(pictures.shape, moving):
        frames = plots.frames_of(pictures[0])
        save = films.write if suffix == FILM else plots.save
        files.write(path, lambda draft: save(frames, draft, settings=how, **speed))
    elif suffix == FILM:
        frames = plots.pages(pictures, names, columns=page["columns"], legend=page["legend"])
        files.write(path, lambda draft: films.write(frames, draft, settings=how, **speed))
    else:
        draw = plots.animation if moving else plots.sample_grid
        files.write(path, lambda draft: draw(pictures, names, draft, **page, **speed))


def is_alone(shape: Sequence[int], moving: bool) -> bool:
    """Whether samples (N, C, F, H, W) are one that is written pixel for pixel."""
    return shape[0] == 1 and min(shape[3:]) >= plots.TILE and (moving or shape[2] == 1)


def columns_of(conditions: Conditions) -> int | None:
    """Samples a row of a grid: with several prompts those of one prompt; None: what `plots` makes of it."""
    count = len(conditions.wanted.labels) // max(len(conditions.prompts), 1)
    return count if len(conditions.prompts) > 1 else None


def check_size(path: Path, shape: Sequence[int], conditions: Conditions) -> None:
    """Refuse a picture that would be too large for its format; see `plots.check_size`."""
    if path.suffix.lower() != FILM:
        plots.check_size(
            path, shape, conditions.names, columns=columns_of(conditions), legend=conditions.legend
        )


def keep_some(path: Path | None, latents: np.ndarray) -> str:
    """Keep the samples that were made before some that are not finite, beside a file; returns what to say of it."""
    if path is None or not len(latents):
        return ""
    kept = path.with_name(f"{path.stem}.first-{len(latents)}.npy")
    try:
        files.write(kept, lambda draft: write_npy(draft, latents))
    except OSError as error:
        return f"; the {len(latents)} made before are lost: {error}"
    return f"; the {len(latents)} made before are in {kept}"


def write_npy(path: Path, latents: np.ndarray) -> None:
    """Write samples (N, C, F, H, W) as they are."""
    with path.open("wb") as file:  # np.save would add a suffix
        np.save(file, latents)


def write_npz(path: Path, pictures: np.ndarray, labels: np.ndarray | None) -> None:
    """Write samples as the evaluator of ADM (arXiv 2105.05233) and its successors read them.

    Args:
      path: the file.
      pictures: (N, C, F, H, W) in [-1, 1]; arr_0 is uint8 (N, H, W, C), of videos (N, F, H, W, C).
      labels: (N,), arr_1; None leaves it out.
    """
    pixels = plots.to_uint8(np.moveaxis(pictures, 1, -1))  # (N, F, H, W, C)
    arrays: dict[str, Any] = {"arr_0": pixels[:, 0] if pixels.shape[1] == 1 else pixels}
    if labels is not None:
        arrays["arr_1"] = labels
    with path.open("wb") as file:  # np.savez would add a suffix
        np.savez(file, **arrays)
