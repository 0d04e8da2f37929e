"""The caption of each sample: of a file, or what the samples say of themselves."""

from pathlib import Path

from ptdit_jax.plots import settings
from ptdit_jax.sample import prompts


def of_samples(files: tuple[Path, ...], count: int, path: Path | None) -> list[str]:
    """The captions of the first samples.

    Args:
      files: of the samples; () of an `.npz`.
      count: samples that count.
      path: a prompt a line, or .jsonl, for as many samples each as the numbers say; None: those in the files.

    Raises:
      ValueError: there are too few or too many, or a file says none.
      OSError: a file cannot be read.
    """
    if path is not None:
        texts = [prompt.text for prompt in prompts.read(path, "")]
        each, rest = divmod(count, len(texts))
        if rest or not each:
            raise ValueError(
                f"--captions={path} has {len(texts):,} captions for {count:,} samples; it must have one of each, or of "
                "every so many"
            )
        return [texts[number // each] for number in range(count)]
    if not files:
        raise ValueError("--captions is missing: an .npz does not say what its samples are of")
    found = []
    for file in files[:count]:
        told = settings.read(file) or {}
        if not isinstance(told.get("prompt"), str):
            raise ValueError(f"{file} does not say its prompt; give --captions")
        found.append(told["prompt"])
    return found
