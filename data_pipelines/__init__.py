"""Input pipelines: `sources` (where records come from), `transforms`, and the `loader` that batches them."""

from data_pipelines.loader import check_captions, check_text, make_loader
from data_pipelines.sources import SOURCES, Source, open_source

__all__ = ["SOURCES", "Source", "check_captions", "check_text", "make_loader", "open_source"]
