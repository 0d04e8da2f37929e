"""Input pipelines: `sources` (where records come from), `transforms`, and the `loader` that batches them."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_pipelines.loader import check_captions, check_text, make_loader
    from data_pipelines.sources import SOURCES, Source, open_source

__all__ = ["SOURCES", "Source", "check_captions", "check_text", "make_loader", "open_source"]


def __getattr__(name: str) -> Any:
    """Imports what is asked for: `data_pipelines.ingest` has to run where neither grain nor scikit-learn is."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = "loader" if name in ("check_captions", "check_text", "make_loader") else "sources"
    return getattr(importlib.import_module(f"{__name__}.{room}"), name)
