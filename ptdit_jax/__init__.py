"""Training, scale-out and study of proxy-tokenized diffusion transformers (PT-DiT, arXiv 2409.04005) in JAX."""

import importlib.machinery
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]  # where this package lies, and `configs` and `data_pipelines` beside it
SIBLINGS = ("configs", "data_pipelines")


class _Beside:
    """Finds the two packages of common names where this one is installed.

    `python -m ptdit_jax.VERB` puts the current folder first on `sys.path`, and folders named `configs` are everywhere.
    A finder, unlike a change of `sys.path`, leaves every other import as it is.  It stands here, because each process
    of ours, a sweep's runs and workers too, imports this module before any of those two.
    """

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of one of the two; None for all others."""
        return importlib.machinery.PathFinder.find_spec(name, [str(ROOT)]) if name in SIBLINGS else None


sys.meta_path.insert(0, _Beside)
for _name in SIBLINGS:
    if (_found := sys.modules.get(_name)) is not None:  # by a program that calls this package
        _places = [Path(place).resolve() for place in getattr(_found, "__path__", [])]
        if (ROOT / _name).resolve() not in _places:
            raise ImportError(
                f"a module {_name!r} of {getattr(_found, '__file__', None)} is imported already, and ptdit_jax has one "
                "of this name: import ptdit_jax first, and name yours otherwise"
            )
