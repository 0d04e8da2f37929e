"""The paper's recipes: their figures are those of `plan`, and each builds and splits for its machine."""

import importlib.util
from typing import Any

import jax
import pytest
from jax.sharding import AbstractMesh, AxisType

from benchmarks import recipe_table
from ptdit_jax import config as rules
from ptdit_jax.config import user_file
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.program import make_program
from ptdit_jax.parallel import topology
from ptdit_jax.parallel.axes import AXES, filled
from ptdit_jax.parallel.chips import CHIPS
from ptdit_jax.plan import __main__ as plan

RECIPES = {recipe.name: recipe for recipe in recipe_table.recipes()}
PAPER = {  # Table 3, and A.2: pixels, latent frames, batch, steps, the stage before
    "t2i_xl_256": (256, 1, 10240, 100_000, ""),
    "t2i_xl_512": (512, 1, 768, 50_000, "t2i_xl_256"),
    "t2i_xl_1024": (1024, 1, 512, 50_000, "t2i_xl_512"),
    "t2v_xl_256": (256, 96 // 4, 512, 100_000, "t2i_xl_256"),
    "t2v_xl_512": (512, 96 // 4, 256, 50_000, "t2v_xl_256"),
    "t2mv_xl_512": (512, 24, 128, 20_000, "t2i_xl_512"),
}
RATIO = {256: 2, 512: 4, 1024: 8, 2048: 16}  # Sec. 3.2.3


@pytest.mark.parametrize("name", PAPER)
def test_the_stages_are_those_of_the_paper(name):
    pixels, frames, batch, steps, before = PAPER[name]
    config = user_file.load(str(recipe_table.ROOT / f"configs/{name}.py"))
    data = config.data
    assert (data.height, data.width, data.frames) == (pixels // 8, pixels // 8, frames)
    assert (data.batch, config.train.steps) == (batch, steps)
    assert config.train.init_from == (before and f"runs/{before}")
    assert rules.layout(config)[0] == (1 if frames == 1 else 4, RATIO[pixels], RATIO[pixels])
    arch = rules.architecture(config)
    assert (arch.depth, arch.width, arch.heads) == (28, 1152, 16)
    assert config.model.text_length == 120
    assert (config.diffusion.path, config.diffusion.prediction) == ("vp", "v")
    assert (config.optimizer.learning_rate, config.optimizer.schedule) == (2e-5, "constant")
    assert (config.sampling.steps, config.sampling.guidance) == (50, 6.0)


def test_docstrings_and_page_say_what_plan_found():
    for recipe in RECIPES.values():
        figures = recipe.read()
        line = recipe_table.UNKNOWN if figures is None else recipe_table.planned_line(figures)
        assert recipe.planned == line, recipe.name
        assert figures is None or figures["fits"]
    assert recipe_table.TABLE.findall(recipe_table.PAGE.read_text()) == [recipe_table.page_table()]
    assert {path.stem for path in recipe_table.FOLDER.glob("*")} <= set(RECIPES)


def planned_config(recipe):
    """The config that `plan` compiles for a recipe, and its machine."""
    options, rest = plan.parse(["plan", *recipe.arguments])
    assert rest == ["--config", recipe.config]
    (machine,) = map(topology.parse, options.topology)
    config = user_file.load(str(recipe_table.ROOT / recipe.config))
    (case,) = plan.configs(config, machine, (options.mesh or [{}])[0], options)
    return case, machine


@pytest.mark.parametrize("name", ["c2i_l_256", "t2i_xl_256", "t2v_xl_512", "t2mv_xl_512"])
def test_a_third_build_and_split_over_their_machines(name):
    """Every array of the state is cut into equal parts, and a chip holds what is left of it."""
    config, machine = planned_config(RECIPES[name])
    sizes = filled({axis: config.mesh[axis] for axis in AXES}, machine.chips)
    mesh: Any = AbstractMesh(tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))
    program = make_program(config, build(config, mesh=mesh), mesh)
    for leaf in jax.tree.leaves((program.state, program.batch)):
        leaf.sharding.shard_shape(leaf.shape)  # raises where the mesh does not divide it
    split = sizes["fsdp"] * sizes["context"] * sizes["tensor"]
    whole = 4 * 4 * program.parameters  # of float32: parameters, two moments, an average
    assert whole / split <= program.state_bytes < 1.1 * whole / split  # what is whole everywhere is small
    assert program.state_bytes < CHIPS[machine.kind].hbm_bytes / 4
    if (figures := RECIPES[name].read()) is not None:  # of the compiler: the state, the batch and the key
        batch = figures["memory"]["arguments"] - program.state_bytes
        assert figures["parameters"] == program.parameters
        assert 0 < batch < 0.2 * program.state_bytes


@pytest.mark.full
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu")
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_compiles_for_its_machine_into_the_figures_of_its_docstring(name):
    figures = recipe_table.measure(RECIPES[name])
    assert figures == RECIPES[name].read()
    assert RECIPES[name].planned == recipe_table.planned_line(figures)
