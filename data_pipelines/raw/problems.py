"""Why an input is not used: a short code of a closed list, and a line that says what exactly is wrong."""

from typing import Any

REASONS = {
    "animated": "an animation where a picture was asked for, with animated='refuse'",
    "aspect": "sides too different: the longer over the shorter is above max_aspect",
    "bad_label": "a class label that is no whole number, or outside the classes",
    "bad_metadata": "a line or a value of metadata that cannot be read",
    "bad_path": "a path that is absolute, has '..' or leaves the folder, by a link too",
    "caption_not_text": "a caption that is not UTF-8 text",
    "caption_too_long": "a caption longer than max_caption characters",
    "damaged": "a file that ends early, or that its decoder cannot read",
    "duplicate": "a second file of the same name in a tar, or a second row of the same file",
    "empty": "a file without bytes",
    "empty_caption": "a caption without a character",
    "missing": "a file that is named, and is not there",
    "no_caption": "no caption, where others have one",
    "no_file": "a folder, a link, a device or a pipe where a file was expected",
    "no_frames": "a film without a frame",
    "no_label": "no class label, where others have one",
    "no_media": "a sample without picture or film",
    "no_times": "a film whose frames have no times",
    "no_video": "a film without pictures, such as sound alone",
    "not_an_image": "bytes that are no picture of a known format",
    "not_a_video": "bytes that are no film of a known format",
    "short_video": "a film shorter than the frames that are wanted",
    "slow_video": "a film with fewer than half of the frames that are wanted",
    "tar_damaged": "a part of a tar that cannot be read, or its missing end",
    "too_large": "more pixels than max_pixels, or a larger file than is read at once",
    "too_small": "a picture with a side below min_side, or smaller than what it is to fill",
    "unknown_range": "pixels that are floats or whole numbers of 32 bits, of which nobody says what is white",
    "unreadable": "a file that this user may not read",
    "views_differ": "views of different sizes",
    "views_missing": "an object without all of its views, or with others",
    "views_not_uniform": "views whose cameras do not go around the object in equal steps",
}
"""Every reason for which a record is not used, by its code."""


class Unusable(ValueError):
    """A record cannot be used.

    Attributes:
        reason: a key of `REASONS`.
        text: what exactly is wrong, in one line.
    """

    def __init__(self, reason: str, text: str) -> None:
        if reason not in REASONS:
            raise KeyError(reason)
        text = " ".join(text.split())
        super().__init__(f"{reason}: {text}")
        self.reason, self.text = reason, text

    def __reduce__(self) -> tuple[Any, ...]:
        return Unusable, (self.reason, self.text)
