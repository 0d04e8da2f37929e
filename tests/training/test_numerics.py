"""What computes a run's numbers is said by its config, and kept with it."""

import json
import re

import jax
import numpy as np
import pytest

from configs import common
from ptdit_jax import config as rules
from ptdit_jax.experiment import results
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.generate import sample_keys
from ptdit_jax.experiment.program import make_program
from ptdit_jax.parallel.mesh import make_mesh

STORED = {"prng": "threefry2x32", "default_dtype": "float32", "matmul_precision": "default"}


@pytest.mark.parametrize(
    ("wanted", "meant", "surrounding", "remat"),
    [
        ("default", "DEFAULT", "float32", "none"),
        ("tensorfloat32", "HIGH", "bfloat16", "none"),
        ("float32", "HIGHEST", "bfloat16", "none"),
        ("float32", "HIGHEST", "bfloat16", "block"),  # whose MLP has a backward pass of its own
    ],
)
def test_every_product_of_a_step_has_the_precision_of_the_config(tiny, wanted, meant, surrounding, remat):
    """Forward and backward, whatever JAX's own default is."""
    config, _ = tiny(numerics__matmul_precision=wanted, model__remat=remat)
    tokens = config.data.height * config.data.width // config.model.patch**2
    assert 2 * tokens >= rules.architecture(config).width
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    with jax.default_matmul_precision(surrounding):
        text = make_program(config, build(config, mesh=mesh), mesh).lower().as_text()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    found = {match[1] for line in products if (match := re.search(r"precision = \[(\w+), \1\]", line))}
    assert len(products) > 20
    assert all("precision = [" in line for line in products)
    assert found == {meant}


def test_judges_have_float32_whatever_surrounds_them(tiny, tmp_path, monkeypatch):
    config, _ = tiny(evaluation__name="digits", evaluation__count=20)
    seen = []

    class Judge:
        takes, wants = "data", "labels"

        def judge(self, images, labels):
            seen.append(jax.config.values["jax_default_matmul_precision"])
            return self

        def metrics(self):
            return {}

    monkeypatch.setattr(results.evaluation, "find", lambda name: Judge())
    monkeypatch.setattr(results, "generate", lambda *_, **__: np.zeros((20, 1, 1, 8, 8), np.float32))
    (tmp_path / "loss.png").touch()
    with jax.default_matmul_precision("bfloat16"):
        results.finish(config, tmp_path, build(config), None, make_mesh(config.mesh, jax.devices()[:1]))
    assert seen == ["float32"]


def test_keys_are_made_by_name():
    labels = np.array([2, 7, 2], np.int32)
    plain = jax.random.key_data(sample_keys(5, labels, "threefry2x32"))
    with jax.default_prng_impl("rbg"):
        keys = sample_keys(5, labels, "threefry2x32")
        assert np.array_equal(jax.random.key_data(keys), plain)


def test_a_step_takes_keys_of_the_config(tiny):
    config, _ = tiny()
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    with jax.default_prng_impl("rbg"):
        assert str(make_program(config, build(config, mesh=mesh), mesh).key.dtype) == "key<fry>"


def test_a_run_stores_them_and_one_from_before_goes_on():
    config = common.get_config()
    text = rules.to_json(config)
    assert json.loads(text)["numerics"] == STORED
    old = json.loads(text)
    del old["numerics"]
    saved = rules.from_json(json.dumps(old))
    assert rules.conflicts(saved, config) == []
    config.numerics.matmul_precision = "float32"
    assert rules.conflicts(saved, config) == ["numerics.matmul_precision='float32', was 'default'"]


@pytest.mark.parametrize(
    ("field", "value"), [("prng", "rbg"), ("default_dtype", "float64"), ("matmul_precision", "fast")]
)
def test_others_are_refused(field, value):
    config = common.get_config()
    config.numerics[field] = value
    with pytest.raises(
        ValueError, match=rf"^numerics\.{field}='{value}' is unknown; it is one of '{STORED[field]}'"
    ):
        rules.validate(config, check_data=False)
