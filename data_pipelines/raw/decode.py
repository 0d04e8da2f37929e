"""Records to pixels: `decode` and `fit`, for every kind.

Shapes: F frames (of an object its views), H rows, W columns.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from data_pipelines.raw import films, pictures
from data_pipelines.raw.clips import Clip
from data_pipelines.raw.media import Media, Pixels
from data_pipelines.raw.pictures import MAX_PIXELS
from data_pipelines.raw.problems import Unusable
from data_pipelines.raw.records import RawRecord

ANIMATED = ("first", "refuse")

Shape = tuple[int, int] | Callable[[int, int], tuple[int, int]]


def decode(
    record: RawRecord,
    *,
    frames: int = 1,
    fps: float = 0.0,
    stride: int = 1,
    start: float | str = 0.0,
    min_side: int = 0,
    max_pixels: int = MAX_PIXELS,
    animated: str = "first",
    shape: Shape | None = None,
) -> np.ndarray:
    """Decodes a record, from any thread.

    Args:
        record: of a `RawSource`.
        frames: of a film; a picture has one, an object has its views.
        fps: frames a second of a film; 0 for the film's own.
        stride: without `fps`, every so many-th frame of the film.
        start: seconds into the film, or "middle": the clip lies in its middle.
        min_side: rows and columns must be at least so many.
        max_pixels: rows times columns of a picture or frame may be at most so many; asked before it is decoded.
        animated: of an animated picture the "first" frame is taken, or "refuse".
        shape: rows and columns that every frame is `fit` to as soon as it is decoded, which bounds the memory of a
            film; or what gives them for the rows and columns that a frame has.

    Returns:
        (F, H, W, 3) uint8, upright, RGB, on white where it was transparent.

    Raises:
        Unusable: the record has a problem, or what it holds cannot be used; `problems.REASONS` lists why.
        ValueError: an argument is wrong.
        OSError: the machine failed, which trying again may mend.
    """
    if animated not in ANIMATED:
        raise ValueError(f"animated={animated!r} must be one of {', '.join(ANIMATED)}")
    clip = Clip(frames, fps, stride, start)
    if record.problem is not None:
        raise record.problem
    limits = {"min_side": min_side, "max_pixels": max_pixels}

    def make(picture: np.ndarray) -> np.ndarray:
        if shape is None:
            return picture
        return fit(picture[None], *(shape(*picture.shape[:2]) if callable(shape) else shape))[0]

    if record.kind == "video":
        return _film(record.media[0], clip, make, limits)
    views = [_picture(media, limits, animated) for media in record.media]
    if sizes := {view.shape[:2] for view in views} - {views[0].shape[:2]}:
        other, first = sorted(sizes)[0], views[0].shape[:2]
        raise Unusable(
            "views_differ", f"has views of {first[1]} x {first[0]} and {other[1]} x {other[0]} pixels"
        )
    return np.stack([make(view) for view in views])


def measure(record: RawRecord) -> tuple[int, int]:
    """Returns (H, W) of a record, upright: of a picture by its header alone, of a film by its first frame.

    Raises:
        Unusable: the record has a problem, or cannot be read so far.
        OSError: the machine failed.
    """
    if record.problem is not None:
        raise record.problem
    media = record.media[0]
    if isinstance(media, Pixels):
        return media.frames.shape[1], media.frames.shape[2]
    with media.open() as file:
        return (films.size if record.kind == "video" else pictures.size)(file)


def fit(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes frames to cover a shape and cuts off what is too much on both sides, in one antialiased step.

    Args:
        frames: (F, H, W, 3) uint8.
        height: rows of the result.
        width: columns of it.

    Returns:
        (F, height, width, 3) uint8.
    """
    rows, columns = frames.shape[1:3]
    if (rows, columns) == (height, width):
        return frames
    scale = max(height / rows, width / columns)
    cut_rows, cut_columns = height / scale, width / scale  # what is kept of a frame
    top, left = (rows - cut_rows) / 2, (columns - cut_columns) / 2
    box = (max(left, 0.0), max(top, 0.0), min(left + cut_columns, columns), min(top + cut_rows, rows))
    made = [
        np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC, box=box))
        for frame in frames
    ]
    return np.stack(made)


def _film(media: Media, clip: Clip, make: films.Make, limits: dict[str, int]) -> np.ndarray:
    if not isinstance(media, Pixels):
        with media.open() as file:
            return films.read(file, clip, make, **limits)
    if clip.fps or clip.start:
        raise ValueError(f"fps={clip.fps:g}, start={clip.start}: these films have no times; use stride alone")
    pictures.check_size(*media.frames.shape[1:3], **limits)
    kept = media.frames[:: clip.stride][: clip.frames]
    if len(kept) < clip.frames:
        raise Unusable(
            "short_video", f"has {len(kept)} frames, {clip.stride} apart; {clip.frames} are wanted"
        )
    return np.stack([make(frame) for frame in kept])


def _picture(media: Media, limits: dict[str, int], animated: str) -> np.ndarray:
    if isinstance(media, Pixels):
        pictures.check_size(*media.frames.shape[1:3], **limits)
        return media.frames[0]
    with media.open() as file:
        return pictures.read(file, animated=animated, **limits)
