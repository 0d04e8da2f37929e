"""The whole of sampling against the release: its network, guidance, shifted times and Euler steps."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.common import get_config
from ptdit_jax import diffusion
from ptdit_jax.diffusion import guidance, samplers
from tests.models.golden import Golden

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "rectified_flow.npz")


@pytest.fixture(scope="module")
def step():
    """One jitted guided Euler step for all sizes: the times are in the rows."""
    network = Golden("masked_w144_p122_same_t")
    objective = diffusion.make(**get_config().diffusion)
    method = samplers.make_sampler(objective, "euler", steps=1)
    text, mask = jnp.asarray(GOLDEN["text"]), jnp.asarray(GOLDEN["mask"])  # two prompts, then two empty ones

    def run(model, key, state, row):
        denoise = guidance.classifier_free(
            lambda x, t, condition: model(x, t, condition, **network.call),
            (text[:2], mask[:2]),
            (text[2:], mask[2:]),
            float(GOLDEN["cfg_scale"]),
        )
        return method.step(key, denoise, state, row)

    jitted = jax.jit(run)
    return lambda *args: jitted(network.model, *args)


@pytest.mark.parametrize("side", [256, 512, 1024])
def test_guided_samples_match_the_release(step, side):
    objective = diffusion.make(
        **dict(get_config().diffusion) | {"shift": "released"},
        height_px=side,
        width_px=side,
        latent_frames=1,
        pixel_frames=1,
    )
    method = samplers.make_sampler(objective, "euler", steps=int(GOLDEN["steps"]))
    state = method.start(jnp.asarray(GOLDEN["z0"]))
    for row in method.rows():
        state = step(jax.random.key(0), state, row)
    np.testing.assert_allclose(state.x, GOLDEN[f"sample_px{side}"], rtol=0, atol=1e-4)
