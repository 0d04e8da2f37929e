"""What a recipe file may be, and what is known to be wrong before the first stage starts."""

from pathlib import Path

import numpy as np
import pytest

import configs.recipes
from ptdit_jax import cli
from ptdit_jax.parallel.chips import Machine
from ptdit_jax.stages import checks, recipe
from tests.stages.conftest import FIELDS
from tests.training.runs import ROOT

RECIPES = sorted(
    path.stem
    for path in Path(configs.recipes.__file__).parent.glob("*.py")
    if path.stem not in ("__init__", "common")
)
TREE = [
    ("t2mv", "t2i_2", {"seed": 4}),  # before what it starts from
    ("t2i_1", "", {}),
    ("t2i_2", "t2i_1", {"seed": 2}),
    ("t2v", "t2i_1", {"seed": 3}),
]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_valid(name):
    made = recipe.load(f"configs/recipes/{name}.py")
    checks.check_configs(made)
    assert made.workdir == Path("runs") / name
    assert len(made.runs) >= 2
    assert [run.name for run in made.runs.values() if made.before(run) is None] == [next(iter(made.runs))]


def test_the_documented_recipe_is_valid(tmp_path):
    text = (ROOT / "docs" / "stages.md").read_text()
    file = tmp_path / "mine.py"
    file.write_text(text.split("```python\n")[1].split("```")[0])
    made = recipe.load(str(file))
    checks.check_configs(made)
    assert made.workdir == Path("runs/mine")


def test_stages_follow_those_that_they_start_from_and_else_the_file(recipe_file, tmp_path):
    made = recipe.load(recipe_file(TREE), workdir=tmp_path)
    assert list(made.runs) == ["t2i_1", "t2i_2", "t2mv", "t2v"]
    assert {
        run.name: before and before.name for run in made.runs.values() for before in [made.before(run)]
    } == {
        "t2i_1": None,
        "t2i_2": "t2i_1",
        "t2mv": "t2i_2",
        "t2v": "t2i_1",
    }
    assert made.following("t2i_1") == ["t2i_1", "t2i_2", "t2mv", "t2v"]
    assert made.following("t2i_2") == ["t2i_2", "t2mv"]
    assert made.following("t2v") == ["t2v"]


def test_a_stage_is_the_run_that_its_command_line_describes(recipe_file, tmp_path):
    extra = ["--config.seed=7", "--t2v.data.batch=8"]
    made = recipe.load(recipe_file(TREE), extra, workdir=tmp_path)
    for run in made.runs.values():
        config, _, _ = cli.parse(["train", *run.arguments], "")
        assert config.to_dict() == run.config.to_dict()
        assert config.seed == 7
        assert config.data.batch == (8 if run.name == "t2v" else FIELDS["data.batch"])
        assert run.folder == tmp_path / run.name
    starts = {run.name: run.config.train.init_from for run in made.runs.values()}
    assert starts == {
        "t2i_1": "",
        "t2i_2": str(tmp_path / "t2i_1"),
        "t2mv": str(tmp_path / "t2i_2"),
        "t2v": str(tmp_path / "t2i_1"),
    }


WRONG = {
    "a name twice": ([("a", "", {}), ("a", "", {})], "stage a: 2 stages have this name"),
    "no such stage": ([("a", "b", {})], "stage a: init_from='b' is no other stage; those are none"),
    "itself": ([("a", "a", {}), ("c", "", {})], "stage a: init_from='a' is no other stage; those are c"),
    "a circle": (
        [("r", "", {}), ("a", "b", {}), ("b", "a", {})],
        "stages a, b start from each other; one must start from none",
    ),
    "a name that is none": ([("A b", "", {})], "stage 'A b' must be named by up to 30 small letters"),
    "a field that is none": (
        [("a", "", {"train.step": 3})],
        "stage a: --config.train.step: there is no such field",
    ),
    "two starts": (
        [("a", "", {}), ("b", "a", {"train.init_from": "x"})],
        "stage b: train.init_from must be left out with init_from='a'",
    ),
    "nothing": ([], "get_recipe() returns nothing; it must return stages"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_recipe_is_a_line(recipe_file, tmp_path, case):
    stages, message = WRONG[case]
    with pytest.raises(ValueError) as raised:
        recipe.load(recipe_file(stages), workdir=tmp_path)
    (line,) = str(raised.value).splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("STAGES = []", "it has no function get_recipe()"),
        ("def get_recipe(): return [3]", "get_recipe() returns 3; it must return stages"),
        (
            "from configs.recipes.common import Stage\ndef get_recipe(): return [Stage(name='a', form='b')]",
            "tiny.py:2: get_recipe(): TypeError: Stage.__init__() got an unexpected keyword argument 'form'",
        ),
        (
            "from configs.recipes.common import Stage\ndef get_recipe(): return [Stage(name='a', config='no.py')]",
            "stage a: --config=no.py: there is no such file",
        ),
        (
            "from configs.recipes.common import Stage\ndef get_recipe(): return [Stage(name='a', config=3)]",
            "name, config and init_from must be texts, fields a dict",
        ),
    ],
)
def test_a_file_that_is_no_recipe_is_a_line(tmp_path, text, message):
    file = tmp_path / "tiny.py"
    file.write_text(text)
    with pytest.raises(ValueError) as raised:
        recipe.load(str(file))
    (line,) = str(raised.value).splitlines()
    assert message in line
    assert "tiny.py" in line or "stage a" in line


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("--t2x.seed=1", "fields of all stages are --config.FIELD=VALUE, those of one --STAGE.FIELD=VALUE"),
        ("--job=3", "'--job=3' is no option"),
        ("--config.train.init_from=x", "stage t2i_2: --config.train.init_from=x must be left out"),
    ],
)
def test_a_wrong_field_of_the_command_line_is_a_line(recipe_file, tmp_path, extra, message):
    with pytest.raises(ValueError, match=message):
        recipe.load(recipe_file(TREE), [extra], workdir=tmp_path)


def test_every_field_that_is_wrong_is_told_at_once_with_its_stage(recipe_file, tmp_path):
    stages = [("a", "", {"data.batch": 0}), ("b", "a", {"sampling.ema": 0.5}), ("c", "a", {})]
    with pytest.raises(ValueError) as raised:
        checks.check_configs(recipe.load(recipe_file(stages), workdir=tmp_path))
    first, second = str(raised.value).splitlines()
    assert first.startswith("stage a: data.batch=0 must be")
    assert second.startswith("stage b: sampling.ema=0.5 must be one of")


def test_devices_are_asked_for_before_the_first_stage(recipe_file, tmp_path):
    made = recipe.load(recipe_file([("a", "", {}), ("b", "a", {"mesh.fsdp": 4})]), workdir=tmp_path)
    with pytest.raises(ValueError, match=r"^stage b: .*the product must divide the number of devices, 2$"):
        checks.check_configs(made, machine=Machine(2, 2**34, 1, 2**34))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model.depth": 3}, r"^stage b: tensors of another shape: .*\(3, .* in a \(2, "),
        (
            {"model.condition": "none", "sampling.guidance": 1.0},
            r"^stage b: there is no place for these of a: ",
        ),
        ({"model.zero_linears": "yes"}, "^stage b: a has none of "),
        (
            {"train.init_skip": ("block.*",)},
            r"^stage b: train.init_skip: 'block\.\*' is the name of no tensor",
        ),
    ],
)
def test_a_stage_that_does_not_fit_names_its_tensors(recipe_file, tmp_path, fields, message):
    made = recipe.load(recipe_file([("a", "", {}), ("b", "a", fields)]), workdir=tmp_path)
    with pytest.raises(ValueError, match=message):
        checks.check_configs(made)


def test_size_frames_and_window_are_no_tensors(recipe_file, tmp_path):
    size = {"data.frames": 4, "data.height": 16, "data.width": 16, "compression.fixed": (4, 4, 4)}
    made = recipe.load(recipe_file([("a", "", {}), ("b", "a", size)]), workdir=tmp_path)
    checks.check_configs(made)
    a, b = (checks.tensors(run.config) for run in made.runs.values())
    assert a == b
    assert all(np.prod(shape) > 0 for shape in a.values())


def test_data_have_to_be_there_when_their_stage_starts(recipe_file, tmp_path):
    wrong = {"data.name": "arrays", "data.path": str(tmp_path / "later")}
    stages = [("a", "", {}), ("b", "a", wrong), ("c", "", wrong)]
    made = recipe.load(recipe_file(stages), workdir=tmp_path)
    checks.check_configs(made)
    notes = checks.check_data(made, {"a", "b", "c"})
    assert notes == [f"stage {n}: data.path={tmp_path}/later: there is no such folder yet" for n in "bc"]
    with pytest.raises(ValueError, match=r"^stage b: data.path = .*must be an existing folder of "):
        checks.check_data(made, {"b", "c"})
    (tmp_path / "later").mkdir()
    np.savez(tmp_path / "later" / "x.npz", x=np.zeros((4, 3, 8, 8), np.float32), label=np.zeros(4, np.int32))
    with pytest.raises(ValueError) as raised:
        checks.check_data(made, {"a", "b"})
    assert str(raised.value) == ("stage b: model.channels=1 must be 3, the channels of data.name='arrays'")
