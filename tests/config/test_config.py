"""Every rule of a config, its storage, and what the command line says about mistakes."""

import importlib
import re
from pathlib import Path

import pytest

import configs
from configs import c2i_digits, common, video_digits
from data_pipelines import open_source
from ptdit_jax import cli
from ptdit_jax import config as rules
from ptdit_jax.config import validation

CONFIGS = sorted(
    p.stem for p in Path(configs.__file__).parent.glob("*.py") if p.stem not in ("__init__", "common")
)


FIXED = {  # so that the rules' messages do not depend on how the default run is tuned
    "model.depth": 6,
    "model.width": 96,
    "model.patch": 1,
    "model.unroll": 1,
    "data.batch": 128,
    "optimizer.learning_rate": 1e-3,
    "sampling.sampler": "euler",
    "sampling.guidance_interval": (0.0, 1.0),
}


def changed(base=c2i_digits, **fields):
    """A config with `section__field=value` overrides."""
    config = base.get_config()
    config.update_from_flattened_dict(FIXED if base is c2i_digits else {})
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return config


@pytest.mark.parametrize("name", CONFIGS)
def test_every_experiment_is_valid(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    rules.validate(
        config,
        devices=1,
        check_data=not config.data.path and config.data.name not in ("arrays", "tfds", "shards"),
    )
    assert config.is_locked
    assert not list(rules.warnings(config))


def test_the_defaults_are_valid_but_for_their_data():
    rules.validate(common.get_config(), check_data=False)


WRONG = [
    ({"seed": -1}, "seed=-1 must be in"),
    ({"model__width": 100}, "model.width=100 must be a multiple of 16"),
    ({"model__heads": 5}, "model.width=96 must be a multiple of model.heads=5"),
    ({"model__variant": "XXL"}, "model.variant='XXL' is unknown; it is one of"),
    ({"model__family": "unet"}, "model.family='unet' is unknown"),
    ({"model__family": "dam", "data__frames": 4}, "data.frames=4 must be 1 with model.family='dam'"),
    ({"model__depth": 0}, "model.depth=0 must be at least 1"),
    ({"model__shift_every": 4}, "model.shift_every=4 must divide the depth 6"),
    ({"model__patch": 3}, "data.height=8 must be a positive multiple of model.patch=3"),
    ({"model__patch": 0}, "data.height=8 must be a positive multiple of model.patch=0"),
    ({"model__condition": "image"}, "model.condition='image' is unknown"),
    ({"model__condition": "text", "evaluation__name": "none"}, "model.condition='text' needs text states"),
    ({"model__condition": "text", "data__name": "captioned_digits"}, "model.text_dim=4096 must be 288, the features"),
    ({"model__condition": "text", "data__name": "captioned_digits", "model__text_dim": 288, "model__text_length": 31},
     "model.text_length=31 must be at least 32, the text states of the longest caption"),
    ({"model__condition": "text"}, "evaluation.name='digits' judges data.name='digits' with model.condition='class'"),
    ({"model__channels": 3}, "model.channels=3 must be 1"),
    ({"model__classes": 9}, "model.classes=9 must be at least 10"),
    ({"model__out_channels": 5}, "model.out_channels=5 must be 0 or 1 or 2"),
    ({"model__compute_dtype": "float16"}, "model.compute_dtype='float16' is unknown"),
    ({"model__remat": "all"}, "model.remat='all' is unknown"),
    ({"model__unroll": 2}, "model.unroll=2 must divide the 3 groups"),
    ({"model__modulated": ("norm",)}, "model.modulated='norm' is unknown"),
    ({"model__injection": "interpolate", "compression__fixed": (1, 4, 4), "compression__proxy": (1, 2, 2)},
     "injection='interpolate' takes one proxy a window"),
    ({"compression__fixed": (1, 2)}, "compression.fixed=(1, 2) must be three integers"),
    ({"compression__fixed": (1, 0, 2)}, "compression.fixed=(1, 0, 2) must be three integers of at least 1"),
    ({"compression__px512": (1, 4.5, 4)}, "compression.px512=(1, 4.5, 4) must be three integers"),
    (
        {"compression__fixed": (1, 4, 4), "compression__proxy": (1, 3, 2)},
        "compression.proxy=(1, 3, 2) must divide the window (1, 4, 4)",
    ),
    ({"compression__video_frames": 0}, "compression.video_frames=0 must be at least 1"),
    ({"data__name": "letters", "evaluation__name": "none"}, "data.name = 'letters': must be one of"),
    ({"data__height": 16}, "data.frames, data.height, data.width = (1, 16, 8)"),
    ({"data__batch": 0}, "data.batch=0 must be at least 1"),
    ({"diffusion__path": "ve"}, "diffusion.path is 've'"),
    ({"diffusion__prediction": "eps"}, "diffusion.prediction is 'eps'"),
    ({"diffusion__learn_variance": True}, "diffusion.learn_variance is True; only path 'vp'"),
    ({"diffusion__path": "vp", "diffusion__prediction": "v", "diffusion__times": "uniform"},
     "sampling.sampler is 'euler'; a model trained with diffusion.path 'vp'"),
    ({"diffusion__path": "vp", "diffusion__prediction": "eps", "diffusion__times": "uniform",
      "sampling__sampler": "ddpm", "diffusion__learn_variance": True, "model__out_channels": 1},
     "model.out_channels=1 must be 0 or 2 with model.channels=1 and diffusion.learn_variance=True"),
    ({"optimizer__schedule": "step"}, "optimizer.schedule='step' is unknown; it is one of 'constant'"),
    ({"optimizer__warmup_steps": 10**6}, "optimizer.warmup_steps=1000000 must be below train.steps"),
    ({"optimizer__learning_rate": 0.0}, "optimizer.learning_rate=0.0 must be positive"),
    ({"optimizer__b2": 1.0}, "optimizer.b2=1.0 must be in [0, 1)"),
    ({"optimizer__accumulate": 3}, "optimizer.accumulate=3 must divide data.batch=128"),
    ({"train__ema_decays": (1.5,)}, "train.ema_decays=(1.5,) must be different numbers in (0, 1)"),
    ({"train__ema_decays": (0.9, 0.9)}, "train.ema_decays=(0.9, 0.9) must be different"),
    ({"train__init_from": "runs/a", "train__init_ema": 1.0}, "train.init_ema=1.0 must be in [0, 1) (0 for the raw"),
    ({"train__init_ema": 0.5}, "train.init_ema=0.5 needs train.init_from, the run or checkpoint"),
    ({"train__init_skip": ("blocks.*",)}, "train.init_skip=('blocks.*',) needs train.init_from"),
    ({"train__on_nonfinite": "ignore"}, "train.on_nonfinite='ignore' is unknown; it is one of 'stop'"),
    ({"checkpoint__on_damage": "skip"}, "checkpoint.on_damage='skip' is unknown; it is one of 'stop', 'previous'"),
    ({"train__explode_factor": 0.5}, "train.explode_factor=0.5 must be above 1, or 0"),
    ({"train__condition_dropout": 1.0}, "train.condition_dropout=1.0 must be in [0, 1)"),
    ({"train__condition_dropout": 0.0}, "sampling.guidance=2.0 must be 1 with train.condition_dropout=0"),
    ({"checkpoint__every": 0}, "checkpoint.every=0 must be at least 1"),
    ({"sampling__ema": 0.5}, "sampling.ema=0.5 must be one of train.ema_decays=(0.999,)"),
    ({"sampling__sampler": "ddim"}, "sampling.sampler is 'ddim'; a model trained with diffusion.path 'flow'"),
    ({"sampling__steps": 0}, "sampling.steps is 0"),
    ({"sampling__guidance_interval": (0.9, 0.1)}, "sampling.guidance_interval=(0.9, 0.1) must be (low,"),
    ({"sampling__guidance_channels": 2}, "sampling.guidance_channels=2 must be at most model.channels=1; 0 guides all"),
    ({"sampling__guidance_channels": -1}, "sampling.guidance_channels=-1 must be at least 0 (0 for all channels)"),
    ({"sampling__time_grid": "leading"}, "sampling.time_grid is 'leading'; with sampling.sampler='euler' it must"),
    ({"sampling__sde_last_step": "Mean"}, "sampling.sde_last_step is 'Mean'; it must be one of euler, mean, tweedie,"),
    ({"sampling__sde_last_step_size": 1.5}, "sampling.sde_last_step_size is 1.5; it must be in (0, 1), or 0"),
    ({"model__condition": "none", "evaluation__name": "none"}, "sampling.guidance=2.0 must be 1 with"),
    ({"evaluation__name": "faces"}, "evaluation.name='faces' is unknown"),
    ({"evaluation__count": 19}, "evaluation.count=19 must be at least 20"),
    ({"model__condition": "none", "sampling__guidance": 1.0}, "evaluation.name='digits' judges"),
    ({"mesh__data": -1, "mesh__fsdp": -1}, "mesh.tensor=1, mesh.context=1: each must be at least 1, and one"),
    ({"mesh__data": 3}, "mesh.tensor=1, mesh.context=1: the product must be the number of devices, 8"),
    ({"mesh__fsdp": 3}, "mesh.context=1: the product must divide the number of devices, 8"),
    ({"data__batch": 12, "optimizer__accumulate": 3}, "must be a multiple of the replicas, mesh.data=8"),
    ({"model__width": 48, "mesh__fsdp": 32}, "mesh.fsdp=32 times mesh.context=1 must divide the width 48"),
    ({"model__width": 48, "mesh__context": 4, "mesh__fsdp": 8}, "times mesh.context=4 must divide the width 48"),
    ({"model__width": 48, "model__heads": 3, "mesh__tensor": 2}, "mesh.tensor=2 must divide the 3 heads"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "message"), WRONG, ids=[message[:45] for _, message in WRONG])
def test_a_wrong_field_is_named_with_its_value_and_what_would_be_right(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        rules.validate(changed(**fields), devices=8)


def test_all_problems_are_reported_at_once():
    config = changed(model__width=100, optimizer__accumulate=3, sampling__ema=0.5)
    with pytest.raises(ValueError) as caught:
        rules.validate(config)
    assert len(str(caught.value).splitlines()) == 3


def test_every_rule_is_about_a_field_that_exists():
    fields = set(rules.flatten(common.get_config()))
    assert set(rules.LIMITS) <= fields
    assert set(rules.CHOICES) <= fields
    assert all(any(field.startswith(name) for field in fields) for name in rules.HARMLESS)


def test_an_average_that_has_not_forgotten_the_start_is_warned_of():
    config = c2i_digits.get_config()
    config.train.steps = 1200
    (line,) = rules.warnings(config)
    assert line.startswith("sampling.ema=0.999: after train.steps=1200 this average is still 30% the random")
    config.train.init_from = "runs/other"
    assert not list(rules.warnings(config))
    config.train.init_from, config.sampling.ema = "", 0.0
    assert not list(rules.warnings(config))


def test_linear_injection_takes_the_window_clipped_to_one_frame():
    config = changed(model__injection="linear", compression__fixed=(4, 2, 2))
    rules.validate(config)
    assert rules.layout(config)[0] == (1, 2, 2)


def test_layout_of_the_data_and_of_another_size():
    config = video_digits.get_config()
    window, tokens = rules.layout(config)
    assert (window, tokens.grid) == ((4, 2, 2), (16, 8, 8))
    window, tokens = rules.layout(config, frames=1, height=12)
    assert (window, tokens.grid) == ((1, 2, 2), (1, 6, 8))
    with pytest.raises(ValueError, match=r"data.width=7 must be a positive multiple of model.patch=2"):
        rules.layout(config, width=7)


def test_the_objective_knows_the_size():
    config = changed(diffusion__shift="latent_frames", data__pixels_per_latent=8)
    assert rules.make_objective(config).shift_ratio == pytest.approx(64 / 512)
    assert rules.make_objective(config, height=32).shift_ratio == pytest.approx(128 / 512)


@pytest.mark.parametrize("name", CONFIGS)
def test_json_round_trip(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    config.train.ema_decays = (0.999, 0.5)
    back = rules.from_json(rules.to_json(config))
    assert rules.flatten(back) == rules.flatten(config)
    assert [type(v) for v in rules.flatten(back).values()] == [
        type(v) for v in rules.flatten(config).values()
    ]
    assert back.is_locked


def test_json_of_another_version():
    text = rules.to_json(changed())
    older = text.replace('  "seed": 0,\n', "")
    assert older != text
    assert rules.flatten(rules.from_json(older)) == rules.flatten(changed())
    with pytest.raises(ValueError, match=r"model\.magic='yes' is no field of this version"):
        rules.from_json(text.replace('"depth": 6', '"magic": "yes"'))
    for wrong in ("[1, 2", "[1, 2]", "3", "null"):
        with pytest.raises(ValueError, match="this is no config"):
            rules.from_json(wrong)


def test_what_a_resumed_run_may_change():
    config = changed(optimizer__schedule="constant")
    harmless = {"train__steps": 9999, "train__log_every": 1, "checkpoint__every": 3, "sampling__steps": 5}
    assert rules.conflicts(config, changed(optimizer__schedule="constant", **harmless)) == []
    other = changed(optimizer__schedule="constant", optimizer__learning_rate=0.5, data__batch=64)
    lines = rules.conflicts(config, other)
    assert lines == ["data.batch=64, was 128", "optimizer.learning_rate=0.5, was 0.001"]


def test_positions_of_a_resumed_run_are_compared_by_what_they_mean():
    """Runs of before "auto" have "grid", which it is for all families but PixArt's."""
    old = changed(model__positions="grid")
    assert rules.conflicts(old, changed()) == []
    pixart = {"model__family": "pixart", "model__condition": "text"}
    assert rules.conflicts(changed(model__positions="rescaled", **pixart), changed(**pixart)) == []
    (line,) = rules.conflicts(changed(model__positions="grid", **pixart), changed(**pixart))
    assert line == "model.positions='rescaled', was 'grid'"


def test_one_step_of_a_respaced_chain_is_warned_about():
    fields = {"diffusion__path": "vp", "diffusion__prediction": "v", "diffusion__times": "uniform"}
    fields |= {"sampling__sampler": "ddim", "sampling__steps": 1}
    (line,) = rules.warnings(changed(**fields))
    assert "sampling.steps=1" in line
    for other in ({"sampling__steps": 2}, {"sampling__time_grid": "trailing"}):
        assert list(rules.warnings(changed(**fields | other))) == []


def test_a_schedule_that_depends_on_the_steps_fixes_them():
    config = changed(optimizer__schedule="cosine", train__steps=500)
    (line,) = rules.conflicts(config, changed(optimizer__schedule="cosine", train__steps=600))
    assert "train.steps=600, was 500" in line
    assert "cosine" in line


def test_the_data_are_not_opened_when_not_asked_for(monkeypatch):
    def fail(data):
        raise AssertionError

    monkeypatch.setattr(validation, "open_source", fail)
    rules.validate(c2i_digits.get_config(), check_data=False)
    monkeypatch.setattr(validation, "open_source", open_source)
    rules.validate(c2i_digits.get_config())


FILE = "--config=" + str(Path(configs.__file__).parent / "video_digits.py")


def test_command_line_overrides():
    argv = ["train", FILE, "--config.compression.fixed=(2,2,4)", "--config.sampling.guidance=3", "--debug"]
    config, workdir, debug = cli.parse(argv, "")
    assert config.compression.fixed == (2, 2, 4)
    assert config.sampling.guidance == 3.0
    assert workdir == Path("runs/video_digits")
    assert debug
    assert cli.parse(["train"], "")[1] == Path("runs/c2i_digits")
    assert cli.parse(["train", "--workdir=/x/y"], "")[1] == Path("/x/y")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.model.widht=3", "--config.model.widht: there is no such field; did you mean model.width?"),
        ("--config.modle.width=3", "did you mean model.width?"),
        ("--config.qqqqqqq=3", "configs/common.py lists the fields"),
        ("--config.model.width=wide", "--config.model.width=wide: invalid literal for int"),
        ("--config.model.giim=maybe", "--config.model.giim=maybe"),
        ("--config=configs/nothing.py", "--config=configs/nothing.py: there is no such file"),
        ("--workdri=x", "Unknown command line flag 'workdri'"),
        ("here", "'here' is no flag"),
    ],
)
def test_command_line_mistakes(argument, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        cli.parse(["train", argument], "")


def test_errors_are_lines_and_exit_codes(capsys):
    def fail(error):
        raise error

    assert cli.run(lambda: 0) == 0
    assert cli.run(lambda: fail(ValueError("a=1 is wrong\nb=2 too"))) == 2
    assert capsys.readouterr().err == "error: a=1 is wrong\nerror: b=2 too\n"
    assert cli.run(lambda: fail(OSError(28, "No space left on device", "/x"))) == 1
    assert "/x" in capsys.readouterr().err
    with pytest.raises(ValueError):
        cli.run(lambda: fail(ValueError("x")), debug=True)
    with pytest.raises(TypeError):  # our own mistakes keep their stack trace
        cli.run(lambda: fail(TypeError("x")))
