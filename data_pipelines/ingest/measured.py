"""What was found in a unit, a small Parquet file each: a run that is started again measures nothing twice."""

import io
import json
import logging
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_pipelines.ingest import storage
from data_pipelines.ingest.filters import check_text
from data_pipelines.ingest.options import Settings
from data_pipelines.ingest.pictures import measure
from data_pipelines.ingest.reasons import LeftOut
from data_pipelines.ingest.units import Unit, read_unit

FOLDER = "measured"
SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("key", pa.string()),
        ("reason", pa.string()),  # null where it is not left out
        ("text", pa.string()),
        ("offset", pa.int64()),  # of `Found`
        ("size", pa.int64()),
        ("suffix", pa.string()),
        ("bytes", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("stored_width", pa.int32()),
        ("stored_height", pa.int32()),
        ("sha256", pa.string()),
        ("pixels", pa.string()),
        ("phash", pa.uint64()),
        ("caption", pa.string()),
        ("metadata", pa.string()),  # JSON
    ]
)
LOG = logging.getLogger(__name__)


def measure_unit(unit: Unit, settings: Settings) -> list[dict[str, Any]]:
    """Reads all of a unit.

    Args:
        unit: of `units.plan`.
        settings: filters and limits.

    Returns:
        A row of `SCHEMA` a sample, those that are left out too.

    Raises:
        OSError: the machine failed.
    """
    rows = []
    for found in read_unit(unit, settings):
        row = dict.fromkeys(SCHEMA.names) | {
            "source": found.source,
            "key": found.key,
            "offset": found.offset,
            "size": found.size,
        }
        try:
            if found.problem is not None:
                raise found.problem
            check_text(settings, found.caption, found.metadata)
            content = found.read()
            facts = measure(content, found.suffix, settings)
        except LeftOut as problem:
            row |= {"reason": problem.reason, "text": problem.text}
        else:
            row |= vars(facts) | {
                "bytes": len(content),
                "caption": found.caption,
                "metadata": json.dumps(found.metadata),
            }
        rows.append(row)
    return rows


def load_unit(out: str, number: int, unit: Unit, settings: Settings) -> list[dict[str, Any]]:
    """Returns `measure_unit` of a unit, stored in or from `out`."""
    uri = _uri(out, number)
    if storage.exists(uri):
        return read_measured(out, number)
    rows = measure_unit(unit, settings)
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), content)
    storage.write_bytes(uri, out, content.getvalue())
    left_out = sum(row["reason"] is not None for row in rows)
    LOG.info("unit %d, %s: %d samples, %d left out", number, _name(unit), len(rows), left_out)
    return rows


def read_measured(out: str, number: int) -> list[dict[str, Any]]:
    """Returns the rows of a unit that has been measured."""
    return pq.read_table(io.BytesIO(storage.read_bytes(_uri(out, number)))).to_pylist()


def _uri(out: str, number: int) -> str:
    return storage.join(out, FOLDER, f"{number:07d}.parquet")


def _name(unit: Unit) -> str:
    return unit["uri"] if "uri" in unit else f"{len(unit['files'])} files from {unit['files'][0]['key']}"
