"""What a new run starts with: `train.init_from`, `train.init_ema`, `train.init_skip`; from images to videos."""

import importlib
import json
import re
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from ptdit_jax import cli, train
from ptdit_jax import config as rules
from ptdit_jax.convert import storage
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.generate import generate, labels_in_turn
from ptdit_jax.experiment.initial import find_initial
from ptdit_jax.parallel.mesh import make_mesh
from tests.training import runs

FRAMES = 5  # of the videos; the last windows are padded


def flat(tree) -> dict[str, Any]:
    return {".".join(map(str, path)): leaf for path, leaf in flatten_dict(tree).items()}


@pytest.fixture(scope="module")
def saved(trained):
    """Everything in the checkpoint of an image run."""
    return runs.contents(trained / "checkpoints" / "6")


@pytest.fixture(scope="module")
def video(tiny, tmp_path_factory):
    """A function: the config of a video run with the network of `trained`, and the command line that says the same."""
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 1, FRAMES, 8, 8), np.float32)
    np.savez(folder / "part.npz", x=x, label=np.arange(4))
    fields = {
        "data__name": "arrays",
        "data__path": str(folder),
        "data__frames": FRAMES,
        "data__batch": 4,
        "compression__fixed": (4, 2, 2),
        "evaluation__name": "none",
        "sampling__count": 1,
        "sampling__batch": 1,
        "train__steps": 1,
    }
    return lambda **more: tiny(**fields | more)


def test_at_one_frame_a_video_model_draws_what_the_image_model_draws(tiny, video):
    """Bit for bit, with weights that are zero nowhere, so that every part of the network counts."""
    image, film = tiny(sampling__sampler="sde", sampling__steps=3)[0], video()[0]
    drawn = {}
    for name, config, frames in (("image", image, 0), ("film", film, 1)):
        mesh = make_mesh(config.mesh)
        experiment = build(config, mesh=mesh, frames=frames)
        leaves, tree = jax.tree.flatten(experiment.init(jax.random.key(0)))
        keys = jax.random.split(jax.random.key(1), len(leaves))
        noisy = [
            leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)
        ]
        params = jax.tree.unflatten(tree, noisy)
        drawn[name] = generate(
            experiment, params, labels_in_turn(4, 10), sampling=image.sampling, seed=3, mesh=mesh
        )
    assert rules.layout(film)[1].window == (4, 2, 2)
    assert drawn["image"].shape == (4, 1, 1, 8, 8)
    assert drawn["image"].std() > 0.1
    np.testing.assert_array_equal(drawn["film"], drawn["image"])


@pytest.mark.parametrize(
    ("earlier", "later"),
    [("t2i_xl_256", "t2i_xl_2048"), ("t2i_xl_256", "t2v_xl_512"), ("t2i_xl_512", "t2mv_xl_512")],
)
def test_the_stages_of_the_paper_have_one_network(earlier, later):
    shapes = []
    for name in (earlier, later):
        abstract = build(importlib.import_module(f"configs.{name}").get_config()).abstract
        shapes.append({name: leaf.shape for name, leaf in flat(nnx.to_pure_dict(abstract)).items()})
    assert shapes[0] == shapes[1]


@pytest.mark.full  # trains two runs
def test_a_video_run_starts_with_an_average_of_an_image_run_and_goes_on_without_it(
    trained, saved, video, tmp_path, capsys
):
    source = tmp_path / "image"
    shutil.copytree(trained, source)
    fields = {"train__init_from": str(source), "train__init_ema": 0.99, "optimizer__learning_rate": 1e-30}
    assert train.main(video(**fields)[0], tmp_path / "run") == 0
    assert f"from ema_0.99 of {source}/checkpoints/6" in capsys.readouterr().out
    ours = runs.contents(tmp_path / "run" / "checkpoints" / "1")
    wanted, raw = flat(saved["ema_0.99"]), flat(saved["params"])
    assert any((wanted[name] != raw[name]).any() for name in wanted)
    for part in ("params", "ema_0.9", "ema_0.99"):
        found = flat(ours[part])
        assert found.keys() == wanted.keys()
        for name, leaf in found.items():
            np.testing.assert_allclose(leaf, wanted[name], rtol=0, atol=1e-25, err_msg=name)
    shutil.rmtree(source)
    assert train.main(video(**fields | {"train__steps": 2})[0], tmp_path / "run") == 0
    assert runs.checkpoints(tmp_path / "run") == {"1", "2"}


def test_an_average_that_is_not_there_is_a_line_with_those_that_are(trained, tiny, tmp_path, capsys):
    config = tiny(train__init_from=str(trained), train__init_ema=0.5)[0]
    assert cli.run(lambda: train.main(config, tmp_path / "run")) == cli.USER_ERROR
    assert capsys.readouterr().err == (
        f"error: train.init_ema=0.5: {trained}/checkpoints/6 has averages of decay 0.9, 0.99 alone; 0 takes its raw "
        "parameters\n"
    )
    assert runs.checkpoints(tmp_path / "run") == set()


OTHER = {"model__classes": 12, "model__out_channels": 2, "model__giim": False, "model__zero_linears": "yes"}
"""A network with tensors of other shapes, without some, and with some more."""


def misfits(saved, config):
    """The tensors that a checkpoint and a config do not share: {name: (shape there, shape here)}."""
    there = {name: leaf.shape for name, leaf in flat(saved["params"]).items()}
    here = {name: leaf.shape for name, leaf in flat(nnx.to_pure_dict(build(config).abstract)).items()}
    pairs = {name: (there.get(name), here.get(name)) for name in there | here}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def test_all_that_does_not_fit_is_one_error(trained, saved, tiny):
    config = tiny(train__init_from=str(trained), **OTHER)[0]
    unfit = misfits(saved, config)
    kinds = {tuple(shape is None for shape in pair) for pair in unfit.values()}
    assert kinds == {(False, False), (False, True), (True, False)}
    with pytest.raises(ValueError) as caught:
        find_initial(config)
    head, *lines = str(caught.value).splitlines()
    assert head.startswith(f"train.init_from={trained}/checkpoints/6: {len(unfit)} of the tensors in params")
    said = {}
    for line in lines:
        ((name, found, wanted),) = re.findall(r"^  (\S+): (.+) found, (.+) wanted$", line)
        said[name] = tuple(None if text == "none" else tuple(json.loads(f"[{text.strip('(),')}]"))
                           for text in (found, wanted))  # fmt: skip
    assert said == unfit
    config.train.init_skip = tuple(unfit)[:-1]
    with pytest.raises(ValueError, match=r": 1 of the tensors in params"):
        find_initial(config)


def test_what_is_named_starts_fresh_and_all_else_is_taken(trained, saved, tiny, tmp_path):
    """On four devices that split the parameters."""
    patterns = ("class_embedding.*", "final_layer.*", "blocks.*")
    plain = {"evaluation__name": "none", "sampling__count": 1, "train__steps": 1, "mesh__fsdp": 2}
    plain |= {"optimizer__learning_rate": 1e-30, "mesh__tensor": 2, **OTHER}
    four = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"  # compiles sooner
    given = {"train__init_from": trained, "train__init_skip": patterns}
    output = runs.run(tmp_path / "run", tiny(**plain | given)[1], XLA_FLAGS=four)
    assert "4 device(s), from params of" in output
    assert ", fresh are " in output
    config = tiny(**OTHER)[0]
    init_key, _ = jax.random.split(jax.random.key(config.seed, impl=config.numerics.prng))
    random = flat(build(config).init(init_key))
    ours = flat(runs.numbers(tmp_path / "run" / "checkpoints" / "1"))
    theirs, unfit = flat(saved["params"]), misfits(saved, config)
    taken = [name for name in ours if name not in unfit]
    assert {"patch_embedding", "final_layer", "blocks"} <= {name.split(".")[0] for name in taken}
    for name, leaf in ours.items():
        # Random ones are compiled otherwise there.
        expected, rtol = (theirs[name], 0) if name in taken else (random[name], 1e-5)
        np.testing.assert_allclose(leaf, expected, rtol=rtol, atol=1e-25, err_msg=name)
    assert any((theirs[name] != random[name]).any() for name in taken)


def test_a_pattern_of_nothing_and_one_of_everything_are_refused(trained, tiny):
    config = tiny(train__init_from=str(trained), train__init_skip=("final_layer.*", "blocks.0.windo"))[0]
    with pytest.raises(ValueError, match=r"'blocks.0.windo' is the name of no tensor.* like 'blocks\.0\."):
        find_initial(config)
    config.train.init_skip = ("final_layer.*",)  # all of it fits, and is taken
    assert find_initial(config).fresh == ()
    config.model.width, config.model.out_channels, config.train.init_skip = 48, 2, ("*",)  # not a tensor fits
    with pytest.raises(ValueError, match="leaves nothing"):
        find_initial(config)


def test_converted_weights_are_taken_as_those_of_a_run_are(saved, tiny, tmp_path, monkeypatch):
    """As `convert from-torch` writes them: raw parameters alone."""
    monkeypatch.chdir(tmp_path)
    config = tiny(train__init_from="release")[0]
    release = unflatten_dict(
        {path: np.asarray(leaf) + 1 for path, leaf in flatten_dict(saved["params"]).items()}
    )
    storage.save(tmp_path / "release" / "checkpoints", release, json.loads(rules.to_json(config)))
    experiment = build(config)
    zeros = jax.tree.map(jnp.zeros_like, experiment.init(jax.random.key(0)))
    loaded = flat(find_initial(config).load(zeros))
    for name, leaf in flat(saved["params"]).items():
        np.testing.assert_array_equal(loaded[name], np.asarray(leaf) + 1)
    config.train.init_ema = 0.9
    with pytest.raises(
        ValueError, match=r"train\.init_ema=0\.9: .* has no averages; 0 takes its raw parameters"
    ):
        find_initial(config)
