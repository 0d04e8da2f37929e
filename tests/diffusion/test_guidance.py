"""Guidance against numbers worked out by hand, on networks that are one line."""

import jax.numpy as jnp
import numpy as np
import pytest

from ptdit_jax.diffusion.guidance import classifier_free

X = jnp.ones((2, 3, 1, 1, 1))
LABEL, NULL = jnp.array([1, 2]), jnp.array([10, 10])
CHANNEL = jnp.arange(1.0, 4.0).reshape(1, 3, 1, 1, 1)


def network(x, t, label):
    """(B, 3, 1, 1, 1): the label times the channel's number, plus t."""
    return label.reshape(-1, 1, 1, 1, 1) * CHANNEL * x + t.reshape(-1, 1, 1, 1, 1)


def test_every_channel_is_guided():
    output = classifier_free(network, LABEL, NULL, 4.0)(X, jnp.array([0.5, 0.25]))
    # null 10 c + t, condition label c + t: 10 c + 4 (label - 10) c + t
    np.testing.assert_allclose(output[0].ravel(), [-25.5, -51.5, -77.5])
    np.testing.assert_allclose(output[1].ravel(), [-21.75, -43.75, -65.75])


def test_interval_includes_both_ends_and_is_per_sample():
    guided = classifier_free(network, LABEL, NULL, 4.0, interval=(0.1, 0.3))
    plain = network(X, jnp.array([0.3, 0.301]), LABEL)
    full = classifier_free(network, LABEL, NULL, 4.0)
    for times, inside in {
        (0.1, 0.3): (True, True),
        (0.3, 0.301): (True, False),
        (0.0999, 1.0): (False, False),
    }.items():
        t = jnp.array(times)
        for sample, guide in enumerate(inside):
            expected = (full(X, t) if guide else network(X, t, LABEL))[sample]
            np.testing.assert_allclose(guided(X, t)[sample], expected)
    assert not np.allclose(full(X, jnp.array([0.3, 0.301])), plain)  # so the two cases do differ


@pytest.mark.parametrize(("scale", "batches"), [(1, [2]), (1.0, [2]), (1.5, [4]), (0.0, [4])])
def test_one_call_of_the_network_with_a_doubled_batch_or_a_plain_one(scale, batches):
    seen = []

    def recording(x, t, label):
        assert len(x) == len(t) == len(label)
        seen.append(len(x))
        return network(x, t, label)

    output = classifier_free(recording, LABEL, NULL, scale)(X, jnp.array([0.5, 0.25]))
    assert seen == batches
    if scale == 1:
        np.testing.assert_array_equal(output, network(X, jnp.array([0.5, 0.25]), LABEL))
    if scale == 0:
        np.testing.assert_allclose(output, network(X, jnp.array([0.5, 0.25]), NULL), rtol=1e-6)


def test_text_and_mask_are_joined_leaf_by_leaf():
    def text_network(x, t, condition):
        text, mask = condition
        return x * (text * mask).sum(axis=1).reshape(-1, 1, 1, 1, 1)

    condition = (jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[1, 0], [1, 1]]))
    null = (jnp.full((2, 2), 0.5), jnp.array([[1, 0], [1, 0]]))
    output = classifier_free(text_network, condition, null, 3.0)(X, jnp.ones(2))
    np.testing.assert_allclose(output[:, 0].ravel(), [0.5 + 3 * 0.5, 0.5 + 3 * 6.5])


def test_a_learned_variance_stays_the_conditions():
    def with_variance(x, t, label):
        return jnp.concatenate([network(x, t, label), 0.1 * network(x, t, label)], axis=1)

    t = jnp.array([0.5, 0.25])
    output = classifier_free(with_variance, LABEL, NULL, 4.0)(X, t)
    np.testing.assert_allclose(output[:, :3], classifier_free(network, LABEL, NULL, 4.0)(X, t))
    np.testing.assert_allclose(output[:, 3:], 0.1 * network(X, t, LABEL))


@pytest.mark.parametrize("guided", [1, 2, 3])
def test_the_first_channels_can_be_guided_alone(guided):
    """As DiT's published code: the others and a learned variance stay what the network says with the condition."""
    t = jnp.array([0.5, 0.25])

    def with_variance(x, t, label):
        return jnp.concatenate([network(x, t, label), 0.1 * network(x, t, label)], axis=1)

    conditional, null = np.asarray(with_variance(X, t, LABEL)), np.asarray(with_variance(X, t, NULL))
    expected = conditional.copy()
    expected[:, :guided] = null[:, :guided] + 4 * (conditional[:, :guided] - null[:, :guided])
    output = classifier_free(with_variance, LABEL, NULL, 4.0, channels=guided)(X, t)
    np.testing.assert_allclose(output, expected, rtol=1e-6)
    np.testing.assert_array_equal(output[:, guided:], conditional[:, guided:])


def test_errors():
    for channels in (-1, 4):
        guided = classifier_free(network, LABEL, NULL, 2.0, channels=channels)
        with pytest.raises(ValueError, match=rf"guidance_channels is {channels}; it must be 0 \(all\) to 3"):
            guided(X, jnp.ones(2))
    for interval in [(0.5, 0.4), (-0.1, 1.0), (0.0, 1.1)]:
        with pytest.raises(ValueError, match="guidance_interval"):
            classifier_free(network, LABEL, NULL, 2.0, interval)
    with pytest.raises(ValueError, match="without a condition"):
        classifier_free(network, None, None, 2.0)
    assert classifier_free(lambda x, t, condition: x, None, None, 1.0)(X, jnp.ones(2)) is X
