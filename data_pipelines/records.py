"""Records of any number of ArrayRecord files, a bounded number of which are open."""

import bisect
import functools
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_pipelines.arrays import named

OPEN = 128  # files that are open at a time
OPTIONS = "readahead_buffer_size:0"  # of records that are read at random nothing is to be read ahead
BUFFER = 32768  # bytes


class ArrayRecords:
    """The bytes of records by number, file after file; a file is opened when one of its records is first read.

    array_record's own data source keeps every file open.
    """

    def __init__(self, files: Sequence[Any]) -> None:
        """Takes what says which records of which file: `filename`, `skip`, `take` (TFDS's `FileInstruction`)."""
        self._files = [(Path(file.filename), file.skip, file.take) for file in files]
        self._starts = [0, *itertools.accumulate(take for _, _, take in self._files)]
        self._reader = functools.lru_cache(maxsize=OPEN)(_open)  # closes those that nobody uses any more

    def __len__(self) -> int:
        """Returns the records of all files."""
        return self._starts[-1]

    def __getitem__(self, record: int) -> bytes:
        """Reads record number `record`, from any thread.

        Raises:
            ValueError: its file cannot be read; names the file.
        """
        number = bisect.bisect_right(self._starts, record) - 1
        path, skip, take = self._files[number]
        place = skip + record - self._starts[number]
        with named(path, f"record {place}"):
            reader = self._reader(path, skip + take)
            (content,) = reader.read([place])
            if not content and not reader.ok():  # it tells of damage only when asked
                raise ValueError("cannot be read")
            return content


def _open(path: Path, records: int) -> Any:
    """Returns a reader of a file that has at least so many records."""
    from array_record.python.array_record_module import ArrayRecordReader

    if not path.is_file():  # a pipe would be waited for
        raise ValueError("is no file")
    reader = ArrayRecordReader(str(path), options=OPTIONS, file_reader_buffer_size=BUFFER)
    if reader.num_records() < records:
        raise ValueError(f"the file has {reader.num_records()} records, must have at least {records}")
    return reader
