"""Bytes of a film to pixels, by PyAV: some frames of it, found by their times and not by decoding from the start.

Shapes: F frames, H rows, W columns.
"""

import bisect
import contextlib
import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import IO, Any

import av
import av.error
import av.stream
import numpy as np

from data_pipelines.raw import kinds_of_bytes
from data_pipelines.raw.clips import Clip
from data_pipelines.raw.pictures import MAX_PIXELS, check_size
from data_pipelines.raw.problems import Unusable

AHEAD = 3.0  # seconds: what lies further ahead is sought again, what is nearer is decoded up to
_UNKNOWN = 2  # colour space of a film that says nothing
HIGH = 720  # rows from which on a film that does not say it has the colours of BT.709
_WITHOUT_TIMES = {
    "avi"
}  # containers whose times are counted from the first packet, and are wrong after a seek
_SAID = 100  # characters of a decoder's own words

Make = Callable[[np.ndarray], np.ndarray]


def read(
    file: IO[bytes], clip: Clip, make: Make, *, min_side: int = 0, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Decodes a clip of a film.

    With `fps` frame k is the one that is shown at start + k / fps, whatever the rate of the film, and however its
    frames are spaced.  Without it the frames are the film's own, `stride` apart, from the one that is shown at `start`.

    Args:
        file: its bytes, open at their begin, and seekable.
        clip: which frames.
        make: of every frame, as soon as it is decoded, (H, W, 3) uint8 upright; the results are stacked.
        min_side: rows and columns must be at least so many.
        max_pixels: rows times columns may be at most so many; known before anything is decoded.

    Returns:
        (F, H, W, 3) uint8.

    Raises:
        Unusable: with reason "damaged", "empty", "no_frames", "no_times", "no_video", "not_a_video", "short_video",
            "slow_video", "too_large" or "too_small".
    """
    for seeking in (True, False):
        try:
            with _opened(file) as (container, stream):
                check_size(stream.height, stream.width, min_side=min_side, max_pixels=max_pixels)
                reader = _Frames(container, stream, max_pixels, seeking)
                return np.stack(list(_sampled(reader, clip, make) if clip.fps else _own(reader, clip, make)))
        except _SeekingFails:
            file.seek(0)
    raise AssertionError("only seeking fails to seek")


def size(file: IO[bytes]) -> tuple[int, int]:
    """Returns (H, W) of the first frame, upright; see `read` for what is raised."""
    with _opened(file) as (container, stream):
        reader = _Frames(container, stream, MAX_PIXELS)
        frame = next(reader.after(None), None)
        if frame is None:
            raise Unusable("no_frames", "has no frame")
        return reader.upright_size(frame)


def count(file: IO[bytes]) -> int:
    """Returns how many frames a film has, by decoding it: what headers say is often wrong; see `read`."""
    with _opened(file) as (container, stream):
        return sum(1 for _ in _Frames(container, stream, MAX_PIXELS)._decoded())


def numbered(file: IO[bytes], wanted: range) -> list[np.ndarray]:
    """Decodes frames by their numbers from the start, and nothing after the last of them.

    Args:
        file: its bytes, open at their begin.
        wanted: numbers that go up, from 0.

    Returns:
        (H, W, 3) uint8 of each frame that there is; fewer than wanted of a film that ends before.

    Raises:
        Unusable: see `read`.
    """
    with _opened(file) as (container, stream):
        reader = _Frames(container, stream, MAX_PIXELS)
        shown = itertools.islice(reader._decoded(), wanted.start, wanted.stop, wanted.step)
        return [reader.pixels(frame) for frame in shown]


def _sampled(reader: "_Frames", clip: Clip, make: Make) -> Iterator[np.ndarray]:
    """The frames shown at times 1 / fps apart."""
    start = reader.start_of(clip, (clip.frames - 1) / clip.fps)
    wanted = [reader.tick(start + k / clip.fps) for k in range(clip.frames)]
    pictures, last, distinct = reader.shown(wanted), None, 0
    made = None
    for frame in pictures:
        if made is None or frame is not last:
            made, last, distinct = make(reader.pixels(frame)), frame, distinct + 1
        yield made
    if 2 * distinct < clip.frames:
        raise Unusable(
            "slow_video", f"has {distinct} frames in the time of {clip.frames} at {clip.fps:g} a second"
        )


def _own(reader: "_Frames", clip: Clip, make: Make) -> Iterator[np.ndarray]:
    """The film's own frames, a stride apart."""
    span = (clip.frames - 1) * clip.stride
    start = reader.tick(reader.start_of(clip, span / float(reader.rate) if reader.rate else 0.0))
    count = 0
    for frame in reader.from_shown(start):
        if count % clip.stride == 0:
            yield make(reader.pixels(frame))
        if count == span:
            return
        count += 1
    if not count and start <= reader.first:
        raise Unusable("no_frames", "has no frame that can be decoded")
    apart = f", {clip.stride} apart" if clip.stride > 1 else ""
    raise Unusable("short_video", f"has {count} frames from there on; {clip.frames}{apart} are wanted")


class _SeekingFails(Exception):
    """A film is to be decoded from its start: what was found behind a key frame is not what was sought."""


class _Frames:
    """The frames of an open film by their times, which are counted in ticks of the stream."""

    def __init__(self, container: Any, stream: Any, max_pixels: int, seeking: bool = False) -> None:
        self._container, self._stream, self._max_pixels = container, stream, max_pixels
        self._seeking = seeking and container.format.name not in _WITHOUT_TIMES
        self._base: Fraction = stream.time_base
        self.first: int = stream.start_time or 0
        self.rate: Fraction | None = stream.average_rate or stream.guessed_rate

    def tick(self, seconds: float) -> int:
        """The tick nearest to a time from the begin: times of frames are such themselves."""
        return self.first + round(Fraction(seconds) / self._base)

    def start_of(self, clip: Clip, span: float) -> float:
        """Seconds from the begin at which a clip of `span` seconds starts."""
        if clip.start != "middle":
            return float(clip.start)
        if self._stream.duration:
            duration = float(self._stream.duration * self._base)
        elif self._container.duration:
            duration = self._container.duration / av.time_base
        else:
            raise Unusable("no_times", "does not say how long it is, so that it has no known middle")
        return max((duration - span) / 2, 0.0)

    def after(self, tick: int | None) -> Iterator[Any]:
        """Frames in the order in which they are shown, from a key frame before `tick`, or from the start."""
        sought = tick is not None and tick > self.first and self._seeking
        if sought:
            try:
                self._container.seek(tick, stream=self._stream, backward=True)
            except OSError as error:
                raise _SeekingFails from error
        for number, frame in enumerate(self._decoded()):
            if frame.pts is None:
                raise Unusable("no_times", "has frames without a time")
            if sought and not number and frame.pts > tick:  # its index is wrong
                raise _SeekingFails
            yield frame

    def _decoded(self) -> Iterator[Any]:
        for frame in self._container.decode(self._stream):
            if frame.is_corrupt:
                raise Unusable("damaged", f"the frame at {frame.time or 0.0:.2f} s is damaged")
            if frame.width * frame.height > self._max_pixels:  # a film may change its size
                check_size(frame.height, frame.width, min_side=0, max_pixels=self._max_pixels)
            yield frame

    def from_shown(self, tick: int) -> Iterator[Any]:
        """The frame shown at a tick, and all after it."""
        held = None
        for frame in self.after(tick):
            if frame.pts <= tick:
                held = frame
                continue
            if held is not None:
                yield held
                held = None
            yield frame
        if held is not None and self._covers(held, tick):
            yield held

    def shown(self, wanted: list[int]) -> Iterator[Any]:
        """The frame shown at each of some ticks, which go up."""
        position, held = 0, None
        while position < len(wanted):
            jump = False
            for frame in self.after(wanted[position] if position or wanted[0] > self.first else None):
                if held is None or frame.pts <= wanted[position]:
                    held = frame
                    if held.pts <= wanted[position]:
                        continue
                # `held` is shown until `frame` comes
                end = bisect.bisect_left(wanted, frame.pts, lo=position)
                for _ in range(position, end):
                    yield held
                position, held = end, frame
                if position == len(wanted):
                    return
                if self._seeking and (wanted[position] - frame.pts) * self._base > AHEAD:
                    jump = True
                    break
            if not jump:
                break
        if held is None:
            raise Unusable("no_frames", "has no frame that can be decoded")
        for number in range(position, len(wanted)):
            if not self._covers(held, wanted[number]):
                seconds = float((held.pts - self.first) * self._base)
                raise Unusable(
                    "short_video",
                    f"ends at {seconds:.2f} s, after {number} of {len(wanted)} frames that are wanted",
                )
            yield held

    def pixels(self, frame: Any) -> np.ndarray:
        """A frame as (H, W, 3) uint8, upright, of square pixels."""
        height, width = self._square_size(frame)
        space = None
        if frame.colorspace == _UNKNOWN and frame.height >= HIGH:  # libav would take BT.601
            space = "ITU709"
        pixels = frame.reformat(width=width, height=height, format="rgb24", src_colorspace=space).to_ndarray()
        return np.ascontiguousarray(np.rot90(pixels, _turns(frame)))

    def upright_size(self, frame: Any) -> tuple[int, int]:
        """(H, W) of a frame's `pixels`."""
        height, width = self._square_size(frame)
        return (width, height) if _turns(frame) % 2 else (height, width)

    def _square_size(self, frame: Any) -> tuple[int, int]:
        ratio = self._stream.sample_aspect_ratio  # width over height of a pixel
        return frame.height, max(round(frame.width * ratio), 1) if ratio else frame.width

    def _covers(self, last: Any, tick: int) -> bool:
        """Whether the last frame of a film is still shown at a tick."""
        duration = last.duration or (round(1 / self.rate / self._base) if self.rate else 0)
        return tick < last.pts + max(duration, 1)


def _turns(frame: Any) -> int:
    """Quarter turns to the left that set a frame upright."""
    return round((frame.rotation or 0) / 90) % 4


@contextlib.contextmanager
def _opened(file: IO[bytes]) -> Iterator[tuple[Any, Any]]:
    """A film and its stream of pictures; whatever libav raises, here or below, becomes a reason."""
    begin = file.read(kinds_of_bytes.BEGIN)
    if not begin:
        raise Unusable("empty", "has no bytes")
    # The format is named: libav's own guess would follow a playlist to any file and address.
    kind = kinds_of_bytes.film(begin)
    if kind is None:
        raise Unusable("not_a_video", f"is {kinds_of_bytes.describe(begin)}")
    if kind == "mp4" and (text := kinds_of_bytes.cut_off(file)):
        raise Unusable("damaged", text)
    file.seek(0)
    try:
        with av.open(file, format=kind, metadata_errors="replace") as container:
            streams = [s for s in container.streams.video if not _is_cover(s)]
            if not streams:
                others = ", ".join(stream.type for stream in container.streams) or "nothing"
                raise Unusable("no_video", f"has no pictures, but {others}")
            stream = streams[0]
            stream.codec_context.thread_count = 1  # the loader has threads enough
            if not stream.width or not stream.height:
                raise Unusable("no_frames", "does not say how large its frames are")
            yield container, stream
    except (Unusable, _SeekingFails):
        raise
    except Exception as error:  # of damaged files libav raises nearly anything
        if isinstance(error, MemoryError) and not isinstance(error, av.error.FFmpegError):
            raise  # ours; libav's is of a header that asks for anything
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unusable("damaged", f"{kind}: {' '.join(str(text).split())[:_SAID]}") from error


def _is_cover(stream: Any) -> bool:
    """Whether a stream is the picture of a record sleeve."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)
