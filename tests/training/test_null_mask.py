"""The empty caption counts by its own mask, or, as PixArt-α's code has it, by that of the caption that it replaces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import t2i_digits
from ptdit_jax import config as rules
from ptdit_jax.experiment.build import build
from ptdit_jax.training.denoising import make_draw, null_condition

LENGTH, FEATURES = 4, 3
NULL = np.full((LENGTH, FEATURES), 7, np.float32), np.array([True, True, False, False])


def captions():
    lengths = np.array([[4], [1], [3]])
    text = np.random.default_rng(0).standard_normal((3, LENGTH, FEATURES)).astype(np.float32)
    return jnp.asarray(text), jnp.asarray(np.arange(LENGTH) < lengths)


@pytest.mark.parametrize("mask", ["own", "caption"])
def test_of_a_batch(mask):
    text, given = captions()
    null_text, null_mask = null_condition((text, given), (NULL[0], NULL[1] if mask == "own" else None))
    assert (null_text == 7).all()
    np.testing.assert_array_equal(null_mask, given if mask == "caption" else np.tile(NULL[1], (3, 1)))


@pytest.mark.parametrize("dropout", [0.0, 1.0])
def test_training_keeps_the_captions_mask(dropout):
    """Whether a caption is dropped or not, its mask stays."""
    config = t2i_digits.get_config()
    draw = make_draw(rules.make_objective(config), null=(NULL[0], None), condition_dropout=dropout)
    text, mask = captions()
    inputs = draw(jax.random.key(0), {"x": jnp.zeros((3, 1, 1, 8, 8)), "text": text, "text_mask": mask})
    np.testing.assert_array_equal(inputs.condition[0], np.full_like(text, 7) if dropout else text)
    np.testing.assert_array_equal(inputs.condition[1], mask)


@pytest.mark.parametrize("mask", ["own", "caption"])
def test_a_config_says_which(mask):
    config = t2i_digits.get_config()
    config.model.null_mask = mask
    null = np.zeros((config.model.text_length, config.model.text_dim), np.float32), np.ones(3, bool)
    built = build(config, null_text=null)
    assert (built.null[1] is None) == (mask == "caption")


def test_another_word_is_refused():
    config = t2i_digits.get_config()
    config.model.null_mask = "both"
    with pytest.raises(ValueError, match=r"model.null_mask='both' is unknown; it is one of 'own', 'caption'"):
        rules.validate(config, check_data=False)
