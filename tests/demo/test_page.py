"""The page: what it allows, that its pictures are those of `sample`, and how it looks in a browser."""

import dataclasses
import os
import shutil
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import sync_playwright

from data_pipelines.text import NULL_FILE, write_null
from ptdit_jax import cli
from ptdit_jax.demo import __main__ as demo
from ptdit_jax.demo import bounds
from ptdit_jax.demo.bounds import AS_TRAINED, Asked
from ptdit_jax.demo.painter import Painter
from ptdit_jax.experiment import live_text, null_text, origin, sampling_steps
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.plots import settings
from ptdit_jax.sample import __main__ as sample
from tests.convert import small
from tests.models import tiny

BROWSER = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
LIMITS = bounds.Bounds(count=3, steps=5, pixels=256, waiting=2)
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
ASKED = Asked("a red seven", "", 0, 3, 2.0, 2, 2, "8x8", AS_TRAINED)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of a text model and of a model of classes, pixels both."""
    place = tmp_path_factory.mktemp("demo")
    fields = {"sampling__ema": 0.0, "sampling__steps": 2, "sampling__guidance": 2.0}
    text = {"model__condition": "text", "model__text_dim": 128, "model__text_length": 16}
    encoder = {"text_encoder__path": "bytes", "text_encoder__dtype": "float32", "data__text": "live"}
    for name, more in (("classes", {}), ("text", text | encoder)):
        config = small.config(**fields, **more)
        small.write_checkpoint(place / name, config, params=small.random_params(config))
    write_null(place / "text" / NULL_FILE, *null_text.padded(config, live_text.null(config)))
    return place


@pytest.fixture(scope="module", autouse=True)
def fast():
    """Programs that compile fast."""
    with pytest.MonkeyPatch.context() as patch:
        jit = jax.jit
        options = {"compiler_options": tiny.FAST}
        patch.setattr(sampling_steps.jax, "jit", lambda f, **more: jit(f, **options | more))
        patch.setattr(cli, "enable_compilation_cache", lambda: None)
        yield


@pytest.fixture(scope="module")
def server(runs):
    """The page of the text model."""
    limits = ("--max-count=3", "--max-steps=5", "--max-pixels=256", "--port=0")
    args = demo.parse([f"--checkpoint={runs / 'text'}", *limits])
    serving = demo.serve(args, wait=False)
    yield serving.local_url
    serving.close()


def words(asked):
    """The inputs of the page, the seed as given."""
    first = (asked.prompt, asked.negative, asked.label, asked.seed, False)
    return (*first, asked.guidance, asked.steps, asked.count, asked.size, asked.ratio)


def pixels(path):
    """A picture (H, W) or (H, W, 3) uint8."""
    with Image.open(path) as image:
        return np.asarray(image)


def test_pictures_appear_and_are_those_of_sample(server, runs, tmp_path):
    job = Client(server, verbose=False).submit(*words(ASKED), api_name="/draw")
    seed, pictures, said, how = job.result(timeout=120)
    assert seed == 3
    assert said.startswith("step 2 of 2, ")
    assert next(line for *_, line, _ in job.outputs()).startswith("waiting")
    assert any(line.startswith("step 1 of 2") for *_, line, _ in job.outputs())
    assert '"prompt": "a red seven"' in how

    command = ["--prompt=a red seven", "--seed=3", "--count=2", f"--out={tmp_path}/out/"]
    assert sample.main(sample.parse([f"--checkpoint={runs / 'text'}", *command])) == 0
    for number, picture in enumerate(pictures):
        same = tmp_path / "out" / f"000000-{number:04d}.png"
        np.testing.assert_array_equal(pixels(picture["image"]), pixels(same))
        assert settings.read(Path(picture["image"])) == settings.read(same)


def test_a_wrong_wish_is_a_line_for_the_visitor(server):
    client = Client(server, verbose=False)
    with pytest.raises(AppError, match=r"size: 24x24 has 576 pixels, and may have 256"):
        client.predict(*words(dataclasses.replace(ASKED, size="24x24")), api_name="/draw")
    *fields, _ = words(ASKED)
    with pytest.raises(AppError, match="not in the list of choices"):
        client.predict(*fields, "1,3,3", api_name="/draw")


@pytest.mark.parametrize(
    ("wish", "line"),
    [
        ({"prompt": "  "}, "the prompt is empty"),
        ({"prompt": "x" * 1001}, "the prompt has 1,001 letters, and may have 1,000"),
        ({"negative": "x" * 1001}, "what to avoid has 1,001 letters"),
        ({"count": 4}, r"samples: 4 must be a whole number in \[1, 3\]"),
        ({"steps": 0}, r"steps: 0 must be a whole number in \[1, 5\]"),
        ({"seed": -1}, "seed: -1 must be"),
        ({"seed": 2**32}, "seed: 4294967296 must be"),
        ({"label": 1}, r"class: 1 must be a whole number in \[0, 0\]"),
        ({"guidance": 21.0}, r"guidance: 21 must be in \[0, 20\]"),
        ({"guidance": float("nan")}, "guidance=nan must be"),
        ({"size": "9999999x9"}, "9999999 has|9999999x9 has"),
        ({"size": "big"}, "must be HEIGHTxWIDTH"),
        ({"ratio": "(1,1,1)"}, "compression ratio: .* must be one of as trained; 1,1,1"),
    ],
)
def test_what_goes_beyond_the_bounds(wish, line):
    config = small.config(model__condition="text", model__text_dim=128, text_encoder__path="bytes")
    bounds.check(ASKED, config, LIMITS)
    with pytest.raises(ValueError, match=line):
        bounds.check(dataclasses.replace(ASKED, **wish), config, LIMITS)


def test_sizes_and_ratios_that_are_offered_are_allowed():
    config = small.config()
    limits = dataclasses.replace(LIMITS, pixels=4 * 64)
    sizes = bounds.size_choices(config, limits)
    assert sizes[0] == "8x8"
    assert {"4x4", "12x12", "16x16", "14x18"} & set(sizes) >= {"4x4", "12x12", "16x16"}
    for size in sizes:
        bounds.check_size(size, config, limits)
    assert bounds.ratios(config) == [AS_TRAINED, "1,1,1", "1,4,4"]
    dit = small.config(model__family="dit", model__patch=2)
    assert bounds.ratios(dit) == [AS_TRAINED]


def test_programs_are_kept_up_to_a_number(runs, monkeypatch):
    monkeypatch.setattr("ptdit_jax.demo.painter.PROGRAMS", 1)
    model = origin.of_checkpoint(runs / "classes")
    painter = Painter(model, LIMITS, make_mesh({"data": -1}, jax.local_devices()[:1]))
    asked = dataclasses.replace(ASKED, label=3, count=1)
    plain = [now.pictures for now in painter.draw(asked)]
    assert len(plain) == 2
    assert not np.array_equal(*plain)
    (steps,) = painter._programs.values()
    guided = [now.pictures for now in painter.draw(dataclasses.replace(asked, guidance=4.0, seed=3))]
    assert list(painter._programs.values()) == [steps]
    assert steps.traces == {True: 1, False: 0}  # another guidance compiles nothing
    assert not np.array_equal(plain[-1], guided[-1])
    other = [now.pictures for now in painter.draw(dataclasses.replace(asked, ratio="1,1,1"))]
    assert not np.array_equal(plain[-1], other[-1])
    assert [key[1] for key in painter._programs] == ["1,1,1"]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ((), "the following arguments are required: --checkpoint"),
        (("--checkpoint=x", "--max-count=0"), "--max-count=0 must be at least 1"),
        (("--checkpoint=x", "--port=70000"), "--port=70000 must be in"),
        (("--checkpoint=x", "--share"), "unrecognized arguments: --share"),
    ],
)
def test_wrong_flags_are_a_line(flags, line, capsys):
    with pytest.raises(SystemExit) as error:
        demo.parse(list(flags))
    assert error.value.code == cli.USER_ERROR
    assert line in capsys.readouterr().err


def test_only_this_machine_by_default(server):
    assert demo.parse(["--checkpoint=x"]).host == "127.0.0.1"
    assert server.startswith("http://127.0.0.1:")


def test_a_visitor_who_leaves_does_not_hold_up_the_next(server):
    """Gone after the first picture; the next one is served."""
    leaving = Client(server, verbose=False)
    job = leaving.submit(*words(dataclasses.replace(ASKED, steps=5)), api_name="/draw")
    until = time.monotonic() + 120
    while len(job.outputs()) < 2 and not job.done():
        assert time.monotonic() < until
        time.sleep(0.02)
    job.cancel()
    next_one = Client(server, verbose=False).submit(*words(ASKED), api_name="/draw")
    assert next_one.result(timeout=120)[2].startswith("step 2 of 2")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here (CHROMIUM names one)")
@pytest.mark.parametrize("width", WIDTHS)
def test_in_a_browser(server, tmp_path, width):
    """At desktop and phone width: nothing is cut, nothing is asked of another host, and a prompt gives pictures."""
    asked = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = browser.new_page(viewport=dict(zip(("width", "height"), WIDTHS[width], strict=True)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(server)
        tab.locator("#prompt textarea").fill("a red seven")
        tab.locator("#draw").click()
        tab.wait_for_selector("#said :text('step 2 of 2')", timeout=120_000)
        tab.wait_for_selector("#pictures img")
        wide = tab.evaluate("document.documentElement.scrollWidth")
        shot = tmp_path / f"{width}.png"
        tab.screenshot(path=shot, full_page=True)
        boxes = [tab.locator(name).first.bounding_box() for name in ("#prompt", "#draw", "#pictures img")]
        browser.close()
    assert wide <= WIDTHS[width][0]
    assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= WIDTHS[width][0] for box in boxes)
    assert boxes[2]["width"] > 40
    assert [url for url in asked if not url.startswith((server, "data:", "blob:", server.rstrip("/")))] == []
    assert pixels(shot).std() > 5
