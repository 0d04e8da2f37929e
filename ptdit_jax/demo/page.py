"""The page: what a visitor fills in, and the pictures that appear step by step."""

import json
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.themes import Soft

from ptdit_jax import plots
from ptdit_jax.demo import bounds
from ptdit_jax.demo.bounds import Asked
from ptdit_jax.demo.painter import Painter, Shown
from ptdit_jax.experiment.generate import NotFinite

SMALL = 256  # pixels of a side, below which pictures are enlarged without smoothing
KEPT = 3600  # seconds that files stay, looked at so often
CSS = """
footer {display: none !important}
.pictures img {width: 100%; object-fit: contain}
.small img {image-rendering: pixelated}
"""
THEME = Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
"""With fonts of the visitor's machine, so that the page asks nobody else for anything."""


def build(painter: Painter, title: str, *, size: str | None = None) -> gr.Blocks:
    """The page of a model.

    Args:
      painter: it draws.
      title: of the page.
      size: that the page starts with, within the bounds; None: that of training.
    """
    config, limits = painter.config, painter.bounds
    kind, sampling = config.model.condition, config.sampling
    sizes = bounds.size_choices(config, limits)
    if size is not None:
        sizes = list(dict.fromkeys([size, *sizes]))
    is_small = max(bounds.trained_size(config)) < SMALL
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(KEPT, KEPT)) as page:
        gr.Markdown(f"# {title}")
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                prompt = gr.Textbox(
                    label="Prompt",
                    lines=2,
                    max_length=bounds.LETTERS,
                    visible=kind == "text",
                    elem_id="prompt",
                )
                label = gr.Dropdown(
                    list(range(config.model.classes if kind == "class" else 1)),
                    value=0,
                    label="Class",
                    visible=kind == "class",
                    elem_id="label",
                )
                button = gr.Button("Draw", variant="primary", elem_id="draw")
                stop = gr.Button("Stop", elem_id="stop")
                with gr.Row():
                    seed = gr.Number(value=0, label="Seed", precision=0, minimum=0, min_width=120)
                    chance = gr.Checkbox(value=True, label="Another seed each time", min_width=120)
                guidance = gr.Slider(
                    0,
                    bounds.GUIDANCE,
                    value=sampling.guidance,
                    step=0.1,
                    label="Guidance",
                    visible=kind != "none",
                )
                steps = gr.Slider(
                    1, limits.steps, value=min(sampling.steps, limits.steps), step=1, label="Steps"
                )
                count = gr.Slider(1, limits.count, value=min(4, limits.count), step=1, label="Samples")
                size_field = gr.Dropdown(
                    sizes, value=sizes[0], label="Height x width", allow_custom_value=True, elem_id="size"
                )
                ratio = gr.Dropdown(
                    bounds.ratios(config),
                    value=bounds.AS_TRAINED,
                    label="Compression ratio: tokens of a proxy (frames, rows, columns)",
                    visible=config.model.family == "ptdit",
                )
                negative = gr.Textbox(
                    label="What to avoid",
                    max_length=bounds.LETTERS,
                    visible=kind == "text",
                    elem_id="negative",
                )
            with gr.Column(scale=3, min_width=280):
                pictures = gr.Gallery(
                    label="Pictures",
                    columns=2,
                    object_fit="contain",
                    height="auto",
                    elem_id="pictures",
                    elem_classes=["pictures", *(["small"] if is_small else [])],
                )
                said = gr.Markdown("", elem_id="said")
                how = gr.Code(label="How they were made", language="json", elem_id="how")

        def draw(
            prompt: str, negative: str, label: int, seed: int, chance: bool, *numbers: Any
        ) -> Iterator[tuple[Any, ...]]:
            seed = secrets.randbelow(2**32) if chance else seed
            yield seed, gr.skip(), "waiting for those before ...", ""
            asked = asked_for(prompt, negative, label, seed, *numbers)
            try:
                yield from ((seed, *each) for each in shown(painter, asked, speed=config.encode.fps))
            except (ValueError, NotFinite) as error:
                raise gr.Error(str(error), duration=None) from error

        inputs = [prompt, negative, label, seed, chance, guidance, steps, count, size_field, ratio]
        outputs = [seed, pictures, said, how]
        begun: list[Any] = [
            event(draw, inputs, outputs, api_name=name, trigger_mode="once", show_progress="hidden")
            for event, name in ((button.click, "draw"), (prompt.submit, None))
        ]
        stop.click(None, cancels=begun)
    page.queue(max_size=limits.waiting, default_concurrency_limit=1)
    return page


def asked_for(prompt: Any, negative: Any, label: Any, seed: Any, *numbers: Any) -> Asked:
    """What the fields of the page hold; whatever is no number there becomes an error of its own.

    Raises:
      gr.Error: a field is empty.
    """
    guidance, steps, count, size, ratio = numbers
    try:
        return Asked(
            str(prompt or ""),
            str(negative or ""),
            int(label or 0),
            int(seed),
            float(guidance),
            int(steps),
            int(count),
            str(size),
            str(ratio),
        )
    except (TypeError, ValueError) as error:
        raise gr.Error(f"a field is empty or no number: {error}") from error


def shown(painter: Painter, asked: Asked, *, speed: float) -> Iterator[tuple[Any, str, str]]:
    """Pictures, a line about them and their settings, as they appear.

    The last pictures are files that hold their settings, PNG, or GIF for what moves.

    Args:
      painter: it draws.
      asked: for what.
      speed: frames a second of what moves; 0 for the usual one.
    """
    with tempfile.TemporaryDirectory(prefix="ptdit-jax-") as folder:
        for now in painter.draw(asked):
            share = f"step {now.done} of {now.total}, {now.seconds:.1f} s"
            if now.how is None:
                yield [middle(picture) for picture in now.pictures], share, ""
                continue
            found = written(now, Path(folder), speed or plots.SPEED)
            each = now.seconds / len(found)
            yield found, f"{share}, {each:.2g} s each", json.dumps(now.how, indent=2, ensure_ascii=False)


def written(now: Shown, folder: Path, speed: float) -> list[str]:
    """The files of finished samples."""
    found = []
    for number, picture in enumerate(now.pictures):
        frames = plots.frames_of(picture)
        path = folder / f"{number:04d}{'.png' if len(frames) == 1 else '.gif'}"
        how = (now.how or {}) | {"sample": number}
        plots.save(frames, path, frames_per_second=speed, settings=how)
        found.append(str(path))
    return found


def middle(picture: np.ndarray) -> np.ndarray:
    """The middle frame (H, W, 3) uint8 of a sample (C, F, H, W)."""
    frame = plots.to_uint8(np.moveaxis(picture[:, picture.shape[1] // 2], 0, -1))
    return np.repeat(frame, 3, axis=-1) if frame.shape[-1] == 1 else frame
