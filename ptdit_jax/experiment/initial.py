"""The parameters that a new run starts with: those of another run, or of converted weights (`train.init_from`).

Nothing of a sample's size is a parameter: a window, frames and positions in time come from the config, so that a video
starts with the network of an image.  Only `injection="linear"` has a Linear for each token of the window.
"""

import dataclasses
import difflib
import fnmatch
from pathlib import Path
from typing import Any

from flax import nnx

from ptdit_jax import files
from ptdit_jax.experiment.build import build
from ptdit_jax.training import checkpoint, integrity, partial
from ptdit_jax.training.state import ema_name

SHOWN = 3  # names in a line of progress


@dataclasses.dataclass(frozen=True)
class Initial:
    """What a new run takes of a checkpoint.

    Attributes:
      step: the folder of the checkpoint.
      part: "params", or the name of an average.
      fresh: names of the tensors that do not fit and that `train.init_skip` allows for: they start as without
        `train.init_from`.
    """

    step: Path
    part: str
    fresh: tuple[str, ...]

    @property
    def line(self) -> str:
        """What is taken, in a line of progress."""
        more = f" and {len(self.fresh) - SHOWN} more" if len(self.fresh) > SHOWN else ""
        fresh = f", fresh are {', '.join(self.fresh[:SHOWN])}{more}" if self.fresh else ""
        return f"from {self.part} of {self.step}{fresh}"

    def load(self, params: Any) -> Any:
        """The parameters to start with, in the place of random ones, and where these lie.

        Raises:
          CheckpointError: they cannot be read.
        """
        return partial.load(self.step, self.part, params, self.fresh)


def find_initial(config: Any) -> Initial:
    """What a new run starts with, by `train.init_from`, `train.init_ema` and `train.init_skip`, and whether it fits.

    Raises:
      ValueError: there is no such checkpoint or average, a tensor does not fit and is not named in `train.init_skip`,
        or one is named that does not exist.
      CheckpointError: it is damaged.
    """
    train = config.train
    step = checkpoint.find(files.path(train.init_from, "train.init_from"), "train.init_from")
    part = ema_name(train.init_ema)
    there = integrity.parts_of(step)
    if train.init_ema and part not in there:
        decays = [name.removeprefix("ema_") for name in there if name.startswith("ema_")]
        raise ValueError(
            f"train.init_ema={train.init_ema}: {step} has {_averages(decays)}; 0 takes its raw parameters"
        )
    integrity.require_whole(step, (part,))
    integrity.require_parts(step, (part,))
    found = partial.shapes(step, part)
    abstract = partial.named(nnx.to_pure_dict(build(config).abstract))
    wanted = {name: tuple(leaf.shape) for name, leaf in abstract.items()}
    wrong, fresh = compare(found, wanted, train.init_skip)
    if wrong:
        lines = [f"  {name}: {_shape(found, name)} found, {_shape(wanted, name)} wanted" for name in wrong]
        rule = (
            f"train.init_from={step}: {len(wrong)} of the tensors in {part} do not fit this network; use its own "
            "config, or name them, or patterns like 'final_layer.*', in train.init_skip to start them fresh:"
        )
        raise ValueError("\n".join([rule, *lines]))
    return Initial(step, part, fresh)


def compare(
    found: partial.Shapes, wanted: partial.Shapes, skip: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What of a network's parameters does not fit another's.

    Args:
      found: shapes of the parameters that there are.
      wanted: shapes of those that a network takes.
      skip: names and patterns of tensors that need not fit (`train.init_skip`).

    Returns:
      Names of the tensors, of either, that do not fit and should; and of those wanted that start fresh.

    Raises:
      ValueError: one of `skip` is the name of no tensor, or nothing would be taken.
    """
    _check_patterns(skip, [*wanted, *found])
    unfit = [name for name in dict.fromkeys([*wanted, *found]) if wanted.get(name) != found.get(name)]
    wrong = [name for name in unfit if not any(fnmatch.fnmatchcase(name, pattern) for pattern in skip)]
    fresh = tuple(name for name in unfit if name in wanted)
    if not wrong and len(fresh) == len(wanted):
        raise ValueError(f"train.init_skip={skip} leaves nothing of the parameters to start with")
    return tuple(wrong), fresh


def _check_patterns(patterns: tuple[str, ...], names: list[str]) -> None:
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            (close,) = difflib.get_close_matches(pattern, names, 1, 0) or names[:1]
            raise ValueError(
                f"train.init_skip: {pattern!r} is the name of no tensor, here or there, and no pattern of one; a name "
                f"is like {close!r}"
            )


def _averages(decays: list[str]) -> str:
    return f"averages of decay {', '.join(decays)} alone" if decays else "no averages"


def _shape(shapes: partial.Shapes, name: str) -> str:
    return str(shapes[name]) if name in shapes else "none"
