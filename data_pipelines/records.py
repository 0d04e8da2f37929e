"""Records of any number of ArrayRecord files, a bounded number of which are open."""

import bisect
import functools
import itertools
from collections.abc import Sequence
from typing import Any

OPEN = 128  # files that are open at a time


class ArrayRecords:
    """The bytes of records by number, file after file; a file is opened when one of its records is first read."""

    def __init__(self, files: Sequence[Any]) -> None:
        """Takes what says which records of which file: `filename`, `skip`, `take` (TFDS's `FileInstruction`)."""
        self._files = list(files)
        self._starts = [0, *itertools.accumulate(file.take for file in self._files)]
        self._reader = functools.lru_cache(maxsize=OPEN)(self._open)

    def __len__(self) -> int:
        """Returns the records of all files."""
        return self._starts[-1]

    def __getitem__(self, record: int) -> bytes:
        """Reads record number `record`, from any thread.

        Raises:
            ValueError: its file cannot be read; names the file.
        """
        number = bisect.bisect_right(self._starts, record) - 1
        try:
            return self._reader(number)[record - self._starts[number]]
        except Exception as error:  # whatever the reader makes of a damaged file
            name = self._files[number].filename
            raise ValueError(
                f"{name}: record {record - self._starts[number]} cannot be read: {error}"
            ) from error

    def _open(self, number: int) -> Any:
        """Returns a reader of one file, which is closed when nobody uses it any more."""
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        return ArrayRecordDataSource([self._files[number]])
