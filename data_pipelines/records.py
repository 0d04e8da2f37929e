"""Records of any number of ArrayRecord files, a bounded number of which are open."""

import bisect
import functools
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_pipelines.arrays import named

OPEN = 128  # files that are open at a time
OPTIONS = "readahead_buffer_size:0,max_parallelism:0"  # of records read at random nothing is to be read ahead
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
        return self.read([record])[0]

    def read(self, records: Sequence[int]) -> list[bytes]:
        """Reads records by their numbers, those of a file together, from any thread.

        Raises:
            ValueError: a file cannot be read; names the file.
        """
        contents: list[bytes] = [b""] * len(records)
        wanted: dict[int, list[int]] = {}
        for turn, record in enumerate(records):
            wanted.setdefault(bisect.bisect_right(self._starts, record) - 1, []).append(turn)
        for number, turns in wanted.items():
            path, skip, take = self._files[number]
            places = [skip + records[turn] - self._starts[number] for turn in turns]
            name = f"record {places[0]}" if len(places) == 1 else f"records {min(places)} to {max(places)}"
            with named(path, name):
                reader = self._reader(path, skip + take)
                found = reader.read(places)
                if len(found) < len(places) or not all(
                    found
                ):  # none is empty; of some damage it says nothing
                    raise ValueError("cannot be read: the file is damaged, or was cut since it was opened")
            for turn, content in zip(turns, found, strict=True):
                contents[turn] = content
        return contents


def _open(path: Path, records: int) -> Any:
    """Returns a reader of a file that has at least so many records."""
    from array_record.python.array_record_module import ArrayRecordReader

    if not path.is_file():  # a pipe would be waited for
        raise ValueError("is no file")
    reader = ArrayRecordReader(str(path), options=OPTIONS, file_reader_buffer_size=BUFFER)
    if reader.num_records() < records:
        raise ValueError(f"the file has {reader.num_records()} records, must have at least {records}")
    return reader
