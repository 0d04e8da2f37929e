"""Raw records in: pictures, films and rendered objects with captions and labels, as people and tools store them."""

from data_pipelines.raw.decode import decode, fit, measure
from data_pipelines.raw.problems import REASONS, Unusable
from data_pipelines.raw.records import KINDS, RawRecord, RawSource
from data_pipelines.raw.sources import RAW, open_raw, options_of

__all__ = [
    "KINDS",
    "RAW",
    "REASONS",
    "RawRecord",
    "RawSource",
    "Unusable",
    "decode",
    "fit",
    "measure",
    "open_raw",
    "options_of",
]
