"""What a config must say for batches of other shapes than that of its samples."""

import copy
from collections.abc import Iterable, Iterator

from ptdit_jax.config import by_time
from ptdit_jax.config.derived import Config, architecture, layout, make_objective
from ptdit_jax.config.size import training_problems
from ptdit_jax.models.proxy import check_injection
from ptdit_jax.models.variants import IMAGE_FAMILIES
from ptdit_jax.parallel.chips import Machine


def shape_problems(
    config: Config, shapes: Iterable[tuple[int, ...]], machine: Machine | None
) -> Iterator[str]:
    """Why a network cannot be trained on samples (C, F, H, W) of these shapes, a line each.

    Args:
      config: the whole config, valid for the size in `data`.
      shapes: of the data.
      machine: see `training_problems`.
    """
    data, arch = config.data, architecture(config)
    for _, frames, height, width in shapes:
        if (frames, height, width) == (data.frames, data.height, data.width):
            continue
        where = f"records of {frames}x{height}x{width} in data.name={data.name!r}"
        sized = copy.deepcopy(config)
        sized.data.update({"frames": frames, "height": height, "width": width})
        if arch.family in IMAGE_FAMILIES and frames > 1:
            yield f"{where}: model.family={arch.family!r} is for one frame; 'full3d' and 'factorized' take more"
            continue
        try:
            for part in by_time.parts(sized):
                _, tokens = layout(part.config)
                if arch.giim:
                    check_injection(arch.injection, tokens, arch.linear_tokens)
            make_objective(config, frames=frames, height=height, width=width)
        except ValueError as error:
            yield f"{where}: {error}"
            continue
        for problem in training_problems(sized, machine):
            yield f"{where}: {problem}"
