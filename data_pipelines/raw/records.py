"""What a raw source gives: a record with its caption, its label and where its picture or film lies, not yet read.

Nothing that was found is dropped without a word: what cannot be used is a record too, whose `problem` says why, and
`decode` raises it.  So whoever goes through a source meets every input once, and lists what was wrong.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from data_pipelines.raw.media import Media
from data_pipelines.raw.problems import Unusable

KINDS = ("image", "video", "multiview")


@dataclasses.dataclass(frozen=True)
class RawRecord:
    """One sample.

    Attributes:
        key: its name, unique in its source, the same whenever the source is opened.
        kind: "image", "video" or "multiview".
        media: where its bytes are: one for a picture or a film, one a view for an object.
        caption: None without one.
        label: its class, None without one.
        facts: what its source knows besides: columns of a table, fields of a JSON, angles of cameras.
        problem: why it cannot be used, or None.
    """

    key: str
    kind: str
    media: tuple[Media, ...] = ()
    caption: str | None = None
    label: int | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    problem: Unusable | None = None


class RawSource(Protocol):
    """Records by number, from any thread; nothing of the media is read before `decode`."""

    @property
    def kind(self) -> str:
        """What its records are; of a mixed one, what its first are."""
        ...

    @property
    def classes(self) -> int | None:
        """Number of classes (every label is in [0, classes)), or None without labels."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Lines about what was found when it was opened, and is no record."""
        ...

    def __len__(self) -> int:
        """Returns the number of records, those with a problem too."""
        ...

    def __getitem__(self, record: int) -> RawRecord:
        """Returns record number `record`, in [0, len); never raises for what is in a record."""
        ...
