"""Samples with `sampling.cache`, against loops in plain functions; calibrations and their errors."""

import dataclasses
import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import c2i_digits
from ptdit_jax import cli
from ptdit_jax import config as rules
from ptdit_jax.experiment import caching, generate, sampling_steps
from ptdit_jax.experiment.build import build
from ptdit_jax.parallel.mesh import make_mesh

SHAPE = (1, 1, 8, 8)  # 4 windows of 4 tokens


def blocks(x, t, label):
    """What the blocks of the network of these tests add: (B, m=4, n=4, D=4)."""
    z = x.reshape(len(x), 4, 4, 4)
    grey = label[:, None, None, None] / 10.0
    return (grey - z) * (1 + t[:, None, None, None]) - 0.3


def network(params, x, t, label, keys):
    return (x + params * blocks(x, t, label).reshape(x.shape)) * (1 - t[:, None, None, None, None])


def keeping(keep):
    """Reuses in the place of its blocks, for either kind."""

    def network(params, x, t, label, keys, kept):
        kept = blocks(x, t, label) if kept is None else kept
        return (x + params * kept.reshape(x.shape)) * (1 - t[:, None, None, None, None]), kept

    return network


def make(**fields):
    config = c2i_digits.get_config()
    config.sampling.update(
        {"sampler": "euler", "steps": 7, "batch": 8, "guidance": 1.5, "guidance_interval": (0.0, 1.0)}
    )
    config.sampling.update(fields)
    rules.validate(config, check_data=False)
    made = {"shape": SHAPE, "network": network, "keeping": keeping, "unrolled": False}  # has one number
    experiment = dataclasses.replace(build(config), **made)
    return config, experiment


def samples(labels, *, calibration=None, observe=None, **fields):
    config, experiment = make(**fields)
    options = {"calibration": calibration, "observe": observe, "description": None}
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    arguments = (experiment, jnp.float32(0.8), np.asarray(labels, np.int32))
    return generate.generate(*arguments, sampling=config.sampling, seed=3, mesh=mesh, **options)


def calibrated(ratios, **fields):
    facts = {"sampler": "euler", "time_grid": "auto", "steps": len(ratios), "guidance": 1.5}
    return caching.Calibration(tuple(ratios), **facts | fields, samples=1, checkpoint="x")


def by_loop(labels, reuse, sampler="euler"):
    """The samples, evaluation by evaluation; `reuse` says which take the blocks of the last that does not."""
    config, experiment = make(sampler=sampler)
    method = rules.make_sampling(experiment.objective, config.sampling)
    keys = generate.sample_keys(3, np.asarray(labels), experiment.prng)
    noise = jax.vmap(lambda key: jax.random.normal(key, SHAPE))(keys)
    label, state = np.asarray(labels, np.float32), method.start(noise)
    kept = {}
    for number, row in enumerate(method.rows()):

        def guided(x, t, number=number):
            out = {}
            for name, given in (("condition", label), ("null", np.full_like(label, 10))):
                if not reuse[number]:
                    kept[name] = blocks(x, t, given)
                added = 0.8 * kept[name].reshape(x.shape)
                out[name] = (x + added) * (1 - t[:, None, None, None, None])
            return out["condition"] + 0.5 * (out["condition"] - out["null"])

        state = method.step(keys, guided, state, row)
    return np.asarray(state.x)


LABELS = [3, 1, 7, 3, 9]


@functools.cache
def plain(sampler="euler"):
    return samples(LABELS, sampler=sampler)


@pytest.mark.parametrize("fields", [{"cache": "global", "cache_every": 1}, {"cache": "magcache"}])
def test_a_cache_that_reuses_nothing_changes_no_bit(fields):
    calibration = calibrated([1.0] * 7)
    cached = samples(LABELS, calibration=calibration, cache_threshold=0.0, **fields)
    np.testing.assert_array_equal(cached, plain())


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_global_samples_are_those_of_a_loop(sampler):
    cached = samples(LABELS, cache="global", cache_every=3, sampler=sampler)
    reuse = np.arange(13) % 3 > 0
    np.testing.assert_allclose(cached, by_loop(LABELS, reuse, sampler), atol=1e-5)
    assert np.abs(cached - plain(sampler)).max() > 1e-2


def test_magcache_samples_are_those_of_a_loop():
    ratios = [1.0, 1.0, 0.95, 0.9, 0.99, 0.7, 0.99]
    fields = {"cache": "magcache", "cache_threshold": 0.1, "cache_first": 0.2, "cache_skips": 3}
    cached = samples(LABELS, calibration=calibrated(ratios), **fields)
    # two are computed; 2 adds 0.05; 3 would add 1 - 0.855; 4 adds 0.01; 5 would add 1 - 0.693; 6 adds 0.01.
    reuse = [False, False, True, False, True, False, True]
    np.testing.assert_allclose(cached, by_loop(LABELS, reuse), atol=1e-5)


def test_a_cached_sample_does_not_depend_on_what_it_is_made_with():
    together = samples(LABELS, cache="global")
    np.testing.assert_allclose(samples(LABELS, cache="global", batch=2), together, atol=1e-6)


def test_two_programs_are_compiled_however_many_samples_and_scales():
    config, experiment = make(cache="global")
    steps = sampling_steps.Steps(experiment, config.sampling, make_mesh(config.mesh, jax.devices()[:1]))
    for labels in ([1, 2], [3] * 9):
        wanted = generate.Wanted(np.asarray(labels, np.int32))
        for _ in generate.batches(steps, jnp.float32(0.8), wanted, seed=0, description=None):
            pass
    assert steps.traces == {True: 2, False: 0}


def test_a_calibration_is_the_mean_ratio_of_the_blocks_magnitudes(tmp_path):
    config, experiment = make()
    seen = []
    meter = caching.Meter(experiment)

    def observe(number, residual):
        seen.append(np.asarray(residual))
        meter(number, residual)

    measured = samples(LABELS, observe=observe, cache="magcache")
    np.testing.assert_array_equal(measured, plain())  # what is measured reuses nothing
    assert seen[0].shape == (2 * len(LABELS), 4, 4, 4)  # condition and null condition
    found = meter.calibration(config.sampling, samples=len(LABELS), checkpoint="here")
    norms = [np.linalg.norm(residual, axis=-1) for residual in seen]
    expected = [1.0] + [np.mean(now / before) for before, now in itertools.pairwise(norms)]
    np.testing.assert_allclose(found.ratios, expected, rtol=1e-5)
    assert caching.load(tmp_path) is None
    assert json.loads(caching.save(found, tmp_path).read_text())["sampler"] == "euler"
    assert caching.load(tmp_path) == found


def test_padding_has_no_part_in_a_calibration():
    config = c2i_digits.get_config()
    config.data.update({"height": 6, "width": 6})  # 3x3 tokens in windows of 2x2
    experiment = build(config)
    valid = experiment.layout.valid  # (4, 4)
    meter, rng = caching.Meter(experiment), np.random.default_rng(0)
    first, second = rng.standard_normal((2, 2, *valid.shape, 8)).astype(np.float32)
    meter(0, jnp.asarray(first))
    meter(1, jnp.asarray(second * np.where(valid, 1, 99)[None, ..., None]))
    norms = [np.linalg.norm(residual, axis=-1)[:, valid] for residual in (first, second)]
    np.testing.assert_allclose(meter.ratios[1], np.mean(norms[1] / norms[0]), rtol=1e-5)


def test_errors_name_the_field_and_what_would_be_right(tmp_path):
    with pytest.raises(
        ValueError, match=r"sampling.cache='magcache' needs magcache.json .* --calibrate-cache"
    ):
        samples([1], cache="magcache")
    with pytest.raises(ValueError, match=r"was measured with sampling.sampler='heun', not 'euler'"):
        samples([1], cache="magcache", calibration=calibrated([1.0], sampler="heun"))
    with pytest.raises(
        ValueError, match=r"sampling.cache='fora' is unknown; it is one of 'none', 'magcache'"
    ):
        make(cache="fora")
    with pytest.raises(ValueError, match=r"sampling.cache_every=0 must be at least 1"):
        make(cache_every=0)
    config = c2i_digits.get_config()
    config.model.family, config.sampling.cache = "dit", "global"
    with pytest.raises(ValueError, match=r"sampling.cache='global' .* model.family='dit' .* has none"):
        rules.validate(config, check_data=False)
    for text in ("{", "[]", '{"ratios": [1, 2]}', '{"ratios": "x"}'):
        (tmp_path / caching.FILE).write_text(text)
        with pytest.raises(ValueError, match=r"magcache.json is no calibration of MagCache"):
            caching.load(tmp_path)
    (tmp_path / caching.FILE).write_text(json.dumps(dataclasses.asdict(calibrated([1.0, -1.0]))))
    with pytest.raises(ValueError, match=r"its ratios must be positive and finite"):
        caching.load(tmp_path)
    config, experiment = make()
    meter = caching.Meter(experiment)
    for number in range(2):
        meter(number, jnp.zeros((2, 4, 4, 8)))
    with pytest.raises(cli.RunError, match=r"add nothing"):
        meter.calibration(config.sampling, samples=1, checkpoint="x")
