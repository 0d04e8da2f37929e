"""How samples were made: what their files say of it, and what `--show` prints."""

import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptdit_jax.experiment import caching
from ptdit_jax.experiment.decoding import size_text
from ptdit_jax.experiment.origin import Origin
from ptdit_jax.plots import settings as in_files
from ptdit_jax.sample.conditions import Conditions
from ptdit_jax.sample.prompts import Prompt

PACKAGE = "ptdit_jax"


def version() -> str:
    """Of this package; "checkout" where it runs without being installed."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return "checkout"


def common(model: Origin, shape: Sequence[int], *, seed: int, sampling: Any) -> dict[str, Any]:
    """What is the same for all samples of a command.

    Args:
      model: what they are of.
      shape: (C, F, H, W) of a picture.
      seed: of the noise.
      sampling: the `sampling` section of a config, as it was used.
    """
    fields = ("sampler", "steps", "guidance", "time_grid", "guidance_interval", "guidance_channels")
    return {
        in_files.KEY: version(),
        "checkpoint": str(model.path.resolve()),
        "parameters": model.parameters,
        "size": size_text((1, *shape[-2:])),
        "frames": shape[-3],
        "seed": seed,
        **{field: sampling[field] for field in fields},
        **caching.settings(sampling),
    }


def of_prompt(prompt: Prompt) -> dict[str, Any]:
    """What a sample's file says of its prompt."""
    own: dict[str, Any] = {"prompt": prompt.text, "negative": prompt.negative, "number": prompt.number}
    return own if prompt.seed is None else own | {"seed": prompt.seed}


def of_sample(shared: dict[str, Any], conditions: Conditions, number: int) -> dict[str, Any]:
    """The settings of one sample, by its number among all."""
    wanted = conditions.wanted
    own: dict[str, Any] = {"sample": int(wanted.turns[number])} if wanted.turns is not None else {}
    if conditions.prompts and wanted.captions is not None:
        own |= of_prompt(conditions.prompts[int(wanted.captions[number])])
    elif conditions.has_classes:
        own |= {"label": int(wanted.labels[number])}
    elif wanted.text is not None:
        own |= {"caption": int(wanted.labels[number])}
    return shared | own


def of_all(shared: dict[str, Any], conditions: Conditions) -> dict[str, Any]:
    """The settings of a file that holds all samples."""
    count = len(conditions.wanted.labels)
    if count == 1:
        return of_sample(shared, conditions, 0)
    own: dict[str, Any] = {"samples": count}
    if len(conditions.prompts) == 1:
        return of_sample(shared, conditions, 0) | own
    if conditions.prompts:
        own["prompts"] = [of_prompt(prompt) for prompt in conditions.prompts]
    elif conditions.has_classes:
        own["labels"] = conditions.wanted.labels.tolist()
    return shared | own


def show(path: Path) -> None:
    """Print the settings in a file, a line each.

    Raises:
      ValueError: it has none, or is no picture and no film.
      OSError: it cannot be read.
    """
    try:
        found = in_files.read(path)
    except OSError as error:
        raise OSError(f"--show={path} cannot be read: {error.strerror or error}") from error
    if found is None:
        raise ValueError(f"--show={path} does not say how it was made")
    width = max(map(len, found))
    for name, value in found.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        print(f"{name:<{width}}  {text}")
