"""Why a sample is left out: a short code of a closed list, and a line that says what exactly was found."""

REASONS = {
    "animated": "an animation",
    "aspect": "the longer side is more than --max-aspect times the shorter one",
    "bad_metadata": "a .json that is no JSON object, or is too large",
    "bad_path": "a name in a tar that is absolute or has '..'",
    "bytes_duplicate": "the same bytes as a sample before it",
    "caption_not_text": "a caption that is not UTF-8 text",
    "caption_too_long": "a caption longer than --max-caption-chars or --max-caption-words, or 1 MiB",
    "caption_too_short": "a caption shorter than --min-caption-chars or --min-caption-words",
    "damaged": "a file that ends early, or that its decoder cannot read",
    "empty": "a file without bytes",
    "missing": "a file or a row that is named, and is not there",
    "near_duplicate": "looks like a better sample (--dedupe perceptual)",
    "no_caption": "no caption, where a filter asks for one",
    "no_file": "a link, a device or a pipe where a file was expected",
    "no_media": "a sample without picture or film",
    "no_score": "no number in a column of --min-score or --max-score",
    "not_an_image": "bytes that are no picture of a known format",
    "not_a_video": "bytes that are no film of a known format, or a film without a frame",
    "pixels_duplicate": "the same pixels as a sample before it",
    "score_too_high": "a score above --max-score",
    "score_too_low": "a score below --min-score",
    "several_media": "a sample with more than one picture or film",
    "source_damaged": "a tar or Parquet file, or the rest of one, that cannot be read",
    "too_large": "more than --max-pixels or --max-bytes",
    "too_small": "a side below --min-side, or fewer pixels than --min-pixels",
    "unreadable": "a file that this user may not read",
}
"""Every reason by its code."""

LONGEST = 300  # characters of a line; libraries quote whole headers


class LeftOut(Exception):
    """A sample is left out.

    Attributes:
        reason: a key of `REASONS`.
        text: what exactly was found, in one line.
    """

    def __init__(self, reason: str, text: object) -> None:
        """Takes the code, and what was found: a text, or an exception."""
        if reason not in REASONS:
            raise KeyError(reason)
        line = " ".join(str(text).split()) or type(text).__name__
        super().__init__(f"{reason}: {line}")
        self.reason, self.text = reason, line[:LONGEST]
