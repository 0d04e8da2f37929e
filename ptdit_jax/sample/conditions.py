"""What samples are conditioned on: labels, stored text states, or prompts that are encoded here.

Shapes: N samples, K captions, L text tokens, E text features.
"""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines import captions
from data_pipelines.text import NULL_FILE, pad_all, read_captions
from ptdit_jax.experiment import live_text, null_text
from ptdit_jax.experiment.generate import Text, Wanted, labels_in_turn, turns_of
from ptdit_jax.sample import prompts
from ptdit_jax.sample.prompts import Prompt
from ptdit_jax.training.denoising import null_condition

FLAGS = {"class": ("label",), "text": ("text", "prompt", "prompts", "negative"), "none": ()}
"""Flags that each `model.condition` takes."""


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What is asked for; once it is `encoded`, ready for `generate.batches`.

    Attributes:
      wanted: labels, text and noise of each sample.
      null: the empty caption, for a text-conditional model that has one.
      prompts: those that were given; () without.
      has_classes: labels are classes.
    """

    wanted: Wanted
    null: null_text.NullText | None
    prompts: Sequence[Prompt] = ()
    has_classes: bool = False

    def encoded(self, config: Any) -> "Conditions":
        """The same with the states of its prompts; the text encoder is read, used, and its memory is free again."""
        if not self.prompts:
            return self
        text, negative = encode(config, self.prompts, self.null)
        return dataclasses.replace(
            self, wanted=dataclasses.replace(self.wanted, text=text, negative=negative)
        )

    @property
    def names(self) -> np.ndarray | None:
        """What stands over each sample (N,) in a grid; None where that would say nothing."""
        if self.prompts:
            return self.wanted.labels if len(self.prompts) > 1 else None
        some = self.has_classes or (self.wanted.text is not None and len(self.wanted.text[0]) > 1)
        return self.wanted.labels if some else None

    @property
    def legend(self) -> list[str]:
        """What stands below a grid: the prompts."""
        many = len(self.prompts) > 1
        return [
            f"{prompt.number}: " * many + prompt.text + f"  (not: {prompt.negative})" * bool(prompt.negative)
            for prompt in self.prompts
        ]


def check(args: argparse.Namespace, config: Any) -> None:
    """Refuse conditions that the model does not take, and a text model without text.

    Raises:
      ValueError: there is one.
    """
    kind = config.model.condition
    for name in ("label", "text", "prompt", "prompts", "negative"):
        value = getattr(args, name)
        if value is not None and value != "" and name not in FLAGS[kind]:
            raise ValueError(f"--{name}={value} must not be given: the model has model.condition={kind!r}")
    if kind != "text":
        return
    asked = args.prompt is not None or args.prompts is not None
    if not asked and args.text is None:
        raise ValueError(
            "a model with model.condition='text' needs --prompt or --prompts FILE, or --text FILE.npz, states of its "
            "text encoder"
        )
    if asked and not config.text_encoder.path and config.data.name != "captioned_digits":
        flag = "--prompts" if args.prompt is None else "--prompt"
        raise ValueError(
            f"{flag}={getattr(args, flag[2:])} needs a text encoder, and the config of the run has no "
            "text_encoder.path: name its folder with --text-encoder DIR, or give the model of data.name="
            f"{config.data.name!r} the states of its encoder with --text FILE.npz"
        )
    if args.negative and not asked:
        raise ValueError(
            f"--negative={args.negative} needs --prompt or --prompts; a --text FILE.npz holds null_text"
        )


def make(
    args: argparse.Namespace, config: Any, workdir: Path, null: null_text.NullText | None = None
) -> Conditions:
    """The conditions of a command line, its prompts not encoded yet.

    Args:
      args: the command line.
      config: of the run.
      workdir: folder of the run.
      null: the empty caption, where the run keeps none.

    Raises:
      ValueError: a file cannot be read or does not go with the model, or guidance lacks the empty caption.
    """
    if config.model.condition != "text":
        classes = config.model.classes if config.model.condition == "class" else 1
        labels = labels_in_turn(args.count, classes, args.label)
        has_classes = config.model.condition == "class"
        return Conditions(Wanted(labels, turns=turns_of(labels)), None, has_classes=has_classes)
    if args.text is not None:
        text, null = read_text(args, config, workdir)
        labels = labels_in_turn(args.count, len(text[0]))
        return Conditions(Wanted(labels, text, turns=turns_of(labels)), null)
    null = null_text.of_run(config, workdir) or null
    found = prompts_of(args)
    check_null(config, workdir, null, found)
    return Conditions(wanted(found, args.count, args.seed), null, found)


def prompts_of(args: argparse.Namespace) -> list[Prompt]:
    """Those of `--prompt` or `--prompts`."""
    if args.prompts is not None:
        return prompts.read(args.prompts, args.negative)
    return prompts.given(args.prompt, args.negative)


def wanted(found: Sequence[Prompt], count: int, seed: int, turns: Sequence[int] = ()) -> Wanted:
    """`count` samples of each prompt, one prompt after the other.

    The noise of a sample is a function of the seed, the prompt's number and the sample's among the prompt's, so that
    it is the same whatever else is made.

    Args:
      found: the prompts.
      count: samples of each.
      seed: of prompts without one of their own.
      turns: which samples of each prompt, in place of the first `count`.
    """
    turns = turns or range(count)
    seeds = np.array([seed if prompt.seed is None else prompt.seed for prompt in found], np.uint32)
    return Wanted(
        labels=np.repeat(np.array([prompt.number for prompt in found], np.int64), len(turns)),
        captions=np.repeat(np.arange(len(found)), len(turns)),
        turns=np.tile(np.array(turns, np.uint32), len(found)),
        seeds=np.repeat(seeds, len(turns)) if (seeds != seed).any() else None,
    )


def texts_of(found: Sequence[Prompt]) -> list[str]:
    """The different sentences of prompts that are to be encoded, negative ones last."""
    return list(
        dict.fromkeys([*(p.text for p in found), *(p.negative for p in found if p.negative)]),
    )


def encode(config: Any, found: Sequence[Prompt], null: null_text.NullText | None) -> tuple[Text, Text | None]:
    """`assemble` of prompts; the text encoder is read for that, and its memory is free again."""
    sentences = texts_of(found)
    if config.text_encoder.path:
        states = live_text.unpadded(config, sentences)
    else:
        states = [captions.encode(sentence) for sentence in sentences]
    return assemble(config, found, null, dict(zip(sentences, states, strict=True)))


def assemble(
    config: Any, found: Sequence[Prompt], null: null_text.NullText | None, states: Mapping[str, np.ndarray]
) -> tuple[Text, Text | None]:
    """The states of prompts, and of what guidance leads away from; None where that is the empty caption for all.

    Args:
      config: of the run.
      found: the prompts, K.
      null: the empty caption that the run was trained with, for prompts without a negative one.
      states: (l, E) float32 of each of `texts_of` the prompts.

    Raises:
      ValueError: a prompt is longer than the model takes, see `data_pipelines.text.pad_all`.
    """

    def padded(texts: Sequence[str]) -> Text:
        length, truncate = config.model.text_length, config.data.truncate_text
        return pad_all([states[text] for text in texts], length, truncate=truncate, name="prompt")

    text, mask = padded([prompt.text for prompt in found])
    if not any(prompt.negative for prompt in found):
        return (text, mask), None
    base = null or (np.full(text.shape[1:], np.nan, np.float32), np.arange(text.shape[1]) < 1)
    own = (base[0], None if config.model.null_mask == "caption" else base[1])
    given: Any = null_condition((text, mask), own)
    away = np.array(given[0]), np.array(given[1])
    rows = [row for row, prompt in enumerate(found) if prompt.negative]
    away[0][rows], away[1][rows] = padded([found[row].negative for row in rows])
    return (text, mask), away


def check_null(
    config: Any, workdir: Path, null: null_text.NullText | None, found: Sequence[Prompt] = ()
) -> None:
    """Refuse guidance by an empty caption that is not there, and a negative prompt where nothing is guided.

    Raises:
      ValueError: so it is.
    """
    guidance = config.sampling.guidance
    if guidance == 1:
        if negative := next((prompt.negative for prompt in found if prompt.negative), ""):
            raise ValueError(f"--negative={negative} needs guidance; --guidance is 1, none")
        return
    if null is None and not (found and all(prompt.negative for prompt in found)):
        raise ValueError(
            f"guidance {guidance:g} needs the empty caption: {workdir} has no {NULL_FILE}, so --text FILE.npz must "
            "hold null_text and null_mask, or every prompt a negative one; or use --guidance 1"
        )


def read_text(args: argparse.Namespace, config: Any, workdir: Path) -> tuple[Text, null_text.NullText | None]:
    """The captions of `--text`, and the empty one; see `make`."""
    null = null_text.of_run(config, workdir)
    states, given = read_captions(Path(args.text), config.model.text_dim)
    if given is not None:
        given = null_text.padded(config, given)
        if null is not None and not null_text.equal(null, given):
            raise ValueError(
                f"--text={args.text}: its null_text is not the one that the run was trained with, "
                f"{workdir / NULL_FILE}; leave null_text and null_mask out"
            )
        null = given
    check_null(config, workdir, null)
    text = pad_all(states, config.model.text_length, truncate=config.data.truncate_text, name="caption")
    return text, null
