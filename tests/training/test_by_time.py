"""A ratio by time: a single one is what a fixed one is, several are drawn without bias, resumed and sampled."""

import contextlib
import io
import itertools
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from scipy import stats

from ptdit_jax import config as rules
from ptdit_jax import train
from ptdit_jax.experiment import by_time
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.generate import generate, sample_keys
from ptdit_jax.experiment.program import make_program
from ptdit_jax.experiment.sampling_steps import Steps
from ptdit_jax.parallel.mesh import make_mesh
from tests.training import runs

RATIOS = ((0, 0.3, (1, 2, 2)), (0.3, 0.8, (1, 4, 4)), (0.8, 1, (1, 2, 2)))
RUN = {
    "model__depth": 1,
    "train__steps": 8,
    "train__ema_decays": (0.9,),
    "evaluation__name": "none",
    "sampling__count": 2,
    "sampling__batch": 2,
    "sampling__guidance": 1.0,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny):
    """A run of two ratios from its start to its end: its folder, and what it printed."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    config, _ = tiny(**RUN, compression__by_time=RATIOS)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        assert train.main(config, workdir) == 0
    return workdir, output.getvalue()


def read(workdir):
    return np.genfromtxt(workdir / "metrics.csv", delimiter=",", names=True)


def test_both_ratios_are_told_and_compiled_before_the_first_step_and_then_used(whole, tiny):
    workdir, output = whole
    before = output[: output.index("first step")] if "first step" in output else output
    assert "2 compression ratios by time, each with a compiled step (t = 1 is noise):" in before
    assert "t from 0 to 0.3 and 0.8 to 1: window (1, 2, 2), 28.1% of the batches" in before
    assert "t from 0.3 to 0.8: window (1, 4, 4), 71.9% of the batches" in before
    assert output.count("compiling the training step") == 1
    experiment = build(tiny(**RUN, compression__by_time=RATIOS)[0])
    wanted = [(4, 16)[by_time.key_of_batch(experiment, 0, step)[1]] for step in range(1, 9)]
    assert read(workdir)["window_tokens"].tolist() == wanted
    assert set(wanted) == {4, 16}


def test_a_run_goes_on_as_if_it_had_never_ended(whole, tmp_path, tiny):
    workdir = tmp_path / "run"
    config, _ = tiny(**RUN | {"train__steps": 3}, compression__by_time=RATIOS)
    assert train.main(config, workdir) == 0
    config.train.steps = 8
    assert train.main(config, workdir) == 0
    assert (workdir / "metrics.csv").read_bytes() == (whole[0] / "metrics.csv").read_bytes()


def test_another_by_time_is_another_run(whole, tiny):
    config, _ = tiny(**RUN, compression__by_time=RATIOS)
    saved = rules.from_json(rules.to_json(config))
    assert rules.conflicts(saved, config) == []
    config.compression.by_time = ((0, 1, (1, 2, 2)),)
    assert [line.split("=")[0] for line in rules.conflicts(saved, config)] == ["compression.by_time"]


def test_one_ratio_at_all_times_is_a_fixed_one_bit_for_bit(tiny):
    texts, networks = [], []
    for fields in ({"compression__by_time": ((0.0, 1.0, (1, 4, 4)),)}, {"compression__fixed": (1, 4, 4)}):
        config, _ = tiny(**RUN, **fields)
        mesh = make_mesh(config.mesh)
        experiment = build(config, mesh=mesh)
        assert list(by_time.split({experiment.shape: experiment})) == [(experiment.shape, 0)]
        assert by_time.key_of_batch(experiment, 0, 7) == (experiment.shape, 0)
        assert list(by_time.lines(experiment)) == []
        program = make_program(config, experiment, mesh)
        texts.append(program.lower().as_text())  # the program of a step: the same text computes the same bits
        sampler = Steps(experiment, config.sampling, mesh)
        networks.append((sampler.rows, str(jax.make_jaxpr(experiment.network)(*called(program, experiment)))))
    assert texts[0] == texts[1]
    assert networks[0] == networks[1]


def called(program, experiment):
    """What the network of a class-conditional experiment is called with, abstract."""
    x = jax.ShapeDtypeStruct((2, *experiment.shape), np.float32)
    t, labels = jax.ShapeDtypeStruct((2,), np.float32), jax.ShapeDtypeStruct((2,), np.int32)
    return program.state.params, x, t, labels, None


def test_ratios_are_drawn_as_often_as_times_lie_in_theirs(tiny):
    experiment = build(tiny(**RUN, compression__by_time=RATIOS)[0])
    masses = by_time.masses(experiment)
    bounds = stats.norm.cdf(np.log(np.array([0.3, 0.8]) / np.array([0.7, 0.2])))
    np.testing.assert_allclose(masses[1], bounds[1] - bounds[0], rtol=1e-12)
    drawn = [by_time.key_of_batch(experiment, 0, step)[1] for step in range(2000)]
    assert stats.chisquare(np.bincount(drawn), 2000 * masses).pvalue > 0.01
    assert stats.pearsonr(drawn[:-1], drawn[1:]).pvalue > 0.01  # a step says nothing of the next
    other = [by_time.key_of_batch(experiment, 1, step)[1] for step in range(2000)]
    assert stats.pearsonr(drawn, other).pvalue > 0.01
    # and the times of whole batches, ratio after ratio, as all times
    draws = [jax.jit(lambda key, part=part: part.objective.draw_times(key, 1)) for part in experiment.parts]
    t = np.concatenate([draws[k](jax.random.key(n)) for n, k in enumerate(drawn)])
    assert stats.kstest(t, lambda x: stats.norm.cdf(np.log(x) - np.log1p(-x))).pvalue > 0.01


def test_samples_are_those_of_a_loop_that_picks_the_network_by_time(tiny):
    config, _ = tiny(**RUN, compression__by_time=RATIOS, sampling__sampler="heun", sampling__steps=5)
    mesh = make_mesh(config.mesh)
    experiment = build(config, mesh=mesh)
    # Parameters with nothing at zero, so that every part of the network counts.
    params = experiment.init(jax.random.key(0))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    params = tree.unflatten(
        [p + 0.1 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)]
    )
    labels = np.arange(2, dtype=np.int32)
    made = generate(experiment, params, labels, sampling=config.sampling, seed=0, mesh=mesh, description=None)

    networks = {}  # each ratio, built from a config that knows no other
    for ratio in ((1, 2, 2), (1, 4, 4)):
        networks[ratio] = jax.jit(build(tiny(**RUN, compression__fixed=ratio)[0]).network)

    def velocity(x, t):
        ratio = (1, 4, 4) if 0.3 <= t < 0.8 else (1, 2, 2)
        used.append(ratio)
        return np.asarray(networks[ratio](params, x, np.full(2, t, np.float32), labels, None))

    used, noise_keys = [], sample_keys(0, labels, experiment.prng)
    x = np.stack([jax.random.normal(key, experiment.shape) for key in noise_keys])
    times = 1 - np.arange(6) / 5
    for t, after in itertools.pairwise(times):
        u = velocity(x, t)
        if after > 0:
            u = (u + velocity(x + (t - after) * u, after)) / 2  # the second evaluation has its own time
        x = x + (t - after) * u
    assert set(used) == set(networks)
    np.testing.assert_allclose(made, x, rtol=1e-4, atol=1e-4)
    first, second = (
        network(params, x, np.full(2, 0.5, np.float32), labels, None) for network in networks.values()
    )
    assert np.abs(first - second).max() > 1e-2  # the ratio does matter


@pytest.mark.full
def test_processes_and_mesh_axes_take_the_same_ratios(whole, tmp_path, tiny):
    _, arguments = tiny(**RUN, compression__by_time=RATIOS, mesh__data=1, mesh__context=2)
    workdir = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "ptdit_jax.train",
        "--config=configs/c2i_digits.py",
        f"--workdir={workdir}",
    ]
    done = subprocess.run(
        [sys.executable, "launch/processes.py", "--processes=2", "--", *command, *arguments],
        cwd=runs.ROOT,
        env=os.environ | {"XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for column in ("window_tokens", "loss"):
        np.testing.assert_allclose(read(workdir)[column], read(whole[0])[column], rtol=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"compression.by_time": ((0, 0.5, (1, 2, 2)),)},
            r"times from 0\.5 to 1 have no ratio \(after \(0, 0\.5",
        ),
        ({"compression.by_time": ((0.1, 1, (1, 2, 2)),)}, r"from 0 to 0\.1 have no ratio \(at its start\)"),
        (
            {"compression.by_time": ((0, 0.5, (1, 2, 2)), (0.4, 1, (1, 4, 4)))},
            r"times from 0\.4 to 0\.5 have two ratios",
        ),
        ({"compression.by_time": ((0, 1, (1, 2)),)}, r"must have three integers of at least 1"),
        ({"compression.by_time": ((0, 1, (1, 2, 0)),)}, r"must have three integers of at least 1"),
        ({"compression.by_time": ((1, 0, (1, 2, 2)),)}, r"must be \(t_from, t_to, \(p_f, p_h, p_w\)\)"),
        ({"compression.by_time": (0,)}, r"by_time: 0 must be \(t_from, t_to"),
        (
            {"compression.by_time": RATIOS, "compression.proxy": (1, 2, 4)},
            r"compression\.proxy=\(1, 2, 4\) must divide the window \(1, 2, 2\)",
        ),
        ({"compression.by_time": RATIOS, "model.family": "dit"}, r"must be \(\) with model\.family='dit'"),
        (
            {"compression.by_time": RATIOS, "model.injection": "linear"},
            r"windows have 4 and 16 tokens; model\.injection='linear' has",
        ),
        (
            {"compression.by_time": RATIOS, "sampling.cache": "global"},
            r"must be \(\) with sampling\.cache='global'",
        ),
        ({"compression.by_time": RATIOS, "data.max_shapes": 1}, r"data\.max_shapes=1 must be at least 2, or"),
    ],
)
def test_mistakes_are_one_line(tiny, fields, message):
    config, _ = tiny()
    config.update_from_flattened_dict(fields)
    with pytest.raises(ValueError, match=message) as error:
        rules.validate(config)
    assert len(str(error.value).splitlines()) == 1


def test_a_ratio_that_no_step_of_the_chain_has_is_refused(tiny):
    config, _ = tiny(diffusion__path="vp", diffusion__prediction="v", diffusion__times="uniform")
    config.sampling.sampler = "ddim"
    config.compression.by_time = ((0, 0.5, (1, 2, 2)), (0.5, 0.9995, (1, 2, 2)), (0.9995, 1, (1, 4, 4)))
    with pytest.raises(ValueError, match=r"no training time lies where the ratio is \(1, 4, 4\)"):
        rules.validate(config)
