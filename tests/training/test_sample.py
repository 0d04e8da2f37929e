"""Samples are functions of seed and label; the command, its files and its errors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import c2i_digits
from ptdit_jax import cli
from ptdit_jax.diffusion.samplers import make_sampler
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.generate import NotFinite, labels_in_turn, sample_keys
from ptdit_jax.experiment.generate import generate as generate_samples
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.sample import __main__ as sample


def network(params, x, t, label, keys):
    """Pulls every sample towards a grey that its label says."""
    grey = 0.0 if label is None else label[:, None, None, None, None] / 10.0
    return (grey - x) * params * (1 + t[:, None, None, None, None])


def generate(labels, *, classes=10, seed=0, network=network, params=0.9, shape=(1, 2, 4, 6), **fields):
    config = c2i_digits.get_config()
    path = {"path": "vp", "prediction": "v", "times": "uniform"}
    config.diffusion.update(path if fields.get("sampler") == "ddpm" else {})
    config.sampling.update({"steps": 4, "batch": 8, "guidance": 1.5} | fields)
    experiment = dataclasses.replace(
        build(config),
        shape=shape,
        classes=classes,
        network=network,
        unrolled=False,  # its parameters are one number
    )
    return generate_samples(
        experiment,
        np.float32(params),
        np.asarray(labels, np.int32),
        sampling=config.sampling,
        seed=seed,
        mesh=make_mesh(config.mesh),
        description=None,
    )


@pytest.mark.parametrize("sampler", ["euler", "heun", "sde", "ddpm"])
def test_a_sample_does_not_depend_on_what_it_is_made_with(sampler):
    labels = labels_in_turn(13, 5)
    together = generate(labels, sampler=sampler)
    assert together.shape == (13, 1, 2, 4, 6)
    np.testing.assert_allclose(generate(labels, sampler=sampler, batch=3), together, atol=1e-5)
    threes = generate(labels_in_turn(2, 5, only=3), sampler=sampler)
    np.testing.assert_allclose(threes, together[[3, 8]], atol=1e-5)


def test_samples_differ_by_seed_label_and_turn():
    images = generate([0, 1, 0, 1])
    other = generate([0, 1, 0, 1], seed=1)
    everything = np.concatenate([images, other]).reshape(8, -1)
    distances = np.abs(everything[:, None] - everything[None]).max(-1)
    assert distances[~np.eye(8, dtype=bool)].min() > 0.01


def test_unconditional_samples():
    images = generate([0, 0, 0], classes=None, guidance=1.0)
    assert len({image.tobytes() for image in images}) == 3
    with pytest.raises(ValueError, match=r"guidance 1.5 must be 1"):
        generate([0], classes=None)


def test_guidance_goes_to_the_network():
    labels = [4] * 3
    assert np.abs(generate(labels) - generate(labels, guidance=3.0)).max() > 0.01
    none = generate(labels, guidance=1.0)
    np.testing.assert_allclose(generate(labels, guidance=3.0, guidance_interval=(0.0, 0.0)), none, atol=1e-5)


def test_some_channels_are_guided_and_the_others_not():
    """The network treats channels apart, so that the first three are those of guidance, the fourth of none."""
    labels, shape = [4, 2], (4, 1, 2, 2)
    options = {"shape": shape, "steps": 6, "guidance": 4.0}
    some = generate(labels, guidance_channels=3, **options)
    np.testing.assert_allclose(some[:, :3], generate(labels, **options)[:, :3], atol=1e-6)
    np.testing.assert_allclose(some[:, 3], generate(labels, **options | {"guidance": 1.0})[:, 3], atol=1e-6)
    assert np.abs(some[:, 3] - generate(labels, **options)[:, 3]).max() > 0.01


def test_grids_and_last_steps_reach_the_sampler():
    """The fields of the config, and what they change: nothing where they say what is done anyway."""
    plain = generate([4, 2], sampler="sde")
    for fields, same in (
        ({"time_grid": "even"}, True),
        ({"sde_last_step": "tweedie"}, True),
        ({"sde_last_step": "mean"}, False),
        ({"sde_last_step": "mean", "sde_last_step_size": 0.04}, False),
    ):
        samples = generate([4, 2], sampler="sde", **fields)
        assert (np.abs(samples - plain).max() < 1e-5) == same, fields
    grids = [generate([4, 2], time_grid=grid) for grid in ("auto", "sit", "flow_match_euler")]
    assert all(np.isfinite(samples).all() for samples in grids)
    assert len({samples.tobytes() for samples in grids}) == 3


def test_labels_in_turn():
    np.testing.assert_array_equal(labels_in_turn(5, 3), [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(labels_in_turn(2, 3, only=2), [2, 2])
    for label in (-1, 3):
        with pytest.raises(ValueError, match=f"--label={label} must be in"):
            labels_in_turn(2, 3, only=label)


def command(trained, *arguments):
    return sample.main(sample.parse(["--checkpoint", str(trained), *map(str, arguments)]))


def test_the_command_writes_a_grid_and_the_evaluators_file(trained, tmp_path, capsys):
    assert command(trained, "--count", 12, "--npz", tmp_path / "a.npz", "--out", tmp_path / "a.png") == 0
    assert "ema_0.9 of" in capsys.readouterr().out
    assert Image.open(tmp_path / "a.png").format == "PNG"
    arrays = np.load(tmp_path / "a.npz")
    assert (arrays["arr_0"].dtype, arrays["arr_0"].shape) == (np.uint8, (12, 8, 8, 1))
    np.testing.assert_array_equal(arrays["arr_1"], [*range(10), 0, 1])

    # the same samples from one step's folder, by label and beside others
    step = trained / "checkpoints" / "6"
    assert command(step, "--label", 1, "--count", 2, "--npz", tmp_path / "b.npz") == 0
    both = np.stack([arrays["arr_0"][[1, 11]], np.load(tmp_path / "b.npz")["arr_0"]]).astype(int)
    assert np.abs(both[0] - both[1]).max() <= 1

    assert command(trained, "--count", 12, "--ema", 0, "--npz", tmp_path / "c.npz") == 0
    assert "params of" in capsys.readouterr().out
    assert not np.array_equal(np.load(tmp_path / "c.npz")["arr_0"], arrays["arr_0"])


def test_another_size(trained, tmp_path):
    size = ("--size", "12x10", "--frames", 2)
    assert (
        command(trained, "--count", 2, *size, "--npz", tmp_path / "a.npz", "--out", tmp_path / "a.gif") == 0
    )
    assert np.load(tmp_path / "a.npz")["arr_0"].shape == (2, 2, 12, 10, 1)
    assert Image.open(tmp_path / "a.gif").n_frames == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--label", 10), r"--label=10 must be in \[0, 10\)"),
        (("--text", "a.npz"), "--text=a.npz must not be given: the model has model.condition='class'"),
        (("--prompt", "a three"), "must not be given: the model has model.condition='class'"),
        (("--count", 0), "--count=0 must be at least 1"),
        (("--seed", -1), "--seed=-1 must be in"),
        (("--sampler", "ddim"), "'ddim'; a model trained with diffusion.path 'flow'"),
        (("--ema", 0.5), "sampling.ema=0.5 must be one of"),
        (("--steps", 0), "sampling.steps is 0"),
        (("--batch", 0), "sampling.batch=0 must be at least 1"),
        (("--guidance-channels", 2), "sampling.guidance_channels=2 must be at most model.channels=1"),
        (
            ("--time-grid", "leading"),
            "sampling.time_grid is 'leading'; with .*'euler' it must be one of",
        ),
        (
            ("--sde-last-step", "none", "--sde-last-step-size", 0.1),
            "sampling.sde_last_step_size is 0.1; with",
        ),
    ],
)
def test_mistakes(trained, arguments, message):
    with pytest.raises(ValueError, match=message):
        command(trained, *arguments)


def test_what_is_not_there(trained, tmp_path, capsys):
    assert cli.run(lambda: command(tmp_path)) == cli.USER_ERROR
    assert f"--checkpoint={tmp_path} holds no checkpoint" in capsys.readouterr().err
    assert cli.run(lambda: command(trained, "--out", tmp_path / "no" / "a.png")) == cli.FAILURE
    assert f"{tmp_path}/no does not exist" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        sample.parse(["--label", "3"])
    assert "--checkpoint" in capsys.readouterr().err


def test_keys_are_those_of_the_label_and_its_turn():
    keys = np.asarray(jax.random.key_data(sample_keys(5, np.array([2, 7, 2, 2], np.int32), "threefry2x32")))
    alone = np.asarray(jax.random.key_data(sample_keys(5, np.array([2, 2, 2], np.int32), "threefry2x32")))
    np.testing.assert_array_equal(keys[[0, 2, 3]], alone)
    assert len({tuple(key) for key in keys.tolist()}) == 4


def bad_below(limit):
    """The network, but what it says of class 3 is no number at times below a limit."""

    def bad(params, x, t, label, keys):
        is_bad = (label == 3) & (t < limit)
        return jnp.where(is_bad[:, None, None, None, None], jnp.nan, network(params, x, t, label, keys))

    return bad


@pytest.mark.parametrize("sampler", ["heun", "ddpm"])
def test_samples_that_are_not_finite_are_an_error_with_where_it_began(sampler):
    """The third of the batches has class 3, and the network fails from an evaluation on."""
    objective = build(c2i_digits.get_config()).objective
    if sampler == "ddpm":
        objective = dataclasses.replace(objective, path=None, prediction="v")
    times = np.float32(make_sampler(objective, sampler, steps=4).table["t"])
    number = int(np.flatnonzero(times < times[2])[0])
    labels = [0, 1, 2, 4, 5, 3, 6]
    with pytest.raises(NotFinite) as caught:
        generate(labels, network=bad_below(times[2]), sampler=sampler, batch=2)
    assert str(caught.value) == (
        "1 of 2 samples made together are not finite, the first (label 3) since evaluation "
        f"{number + 1} of {len(times)}, at t = {times[number]:.4g} ({sampler}, 4 steps, guidance 1.5); the guidance "
        "may be too large"
    )
    assert caught.value.code == cli.FAILURE
    before = generate(labels[:4], sampler=sampler, batch=2)
    np.testing.assert_allclose(caught.value.samples, before, atol=1e-6)


def test_parameters_that_are_not_finite_are_named():
    with pytest.raises(
        NotFinite, match=r"^2 of 2 samples .* evaluation 1 of 7.*; nor are the parameters$"
    ) as caught:
        generate([0, 1], params=np.inf)
    assert caught.value.samples.shape == (0, 1, 2, 4, 6)
