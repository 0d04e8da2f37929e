"""`make`: every field, and an error that names it for what cannot be."""

import pytest

from configs.common import get_config
from ptdit_jax import diffusion
from ptdit_jax.diffusion.paths import Flow, VariancePreserving

FLOW = dict(get_config().diffusion)
VP = FLOW | {"path": "vp", "prediction": "eps", "times": "uniform"}
SIZE = {"height_px": 1024, "width_px": 1024, "latent_frames": 4, "pixel_frames": 13}


def test_the_default_config_is_the_plain_flow():
    assert diffusion.make(**FLOW) == diffusion.Objective(
        path=Flow(),
        prediction="velocity",
        learn_variance=False,
        times="logit_normal",
        shift_ratio=1.0,
        weighting="uniform",
        min_snr_gamma=5.0,
    )


def test_vp():
    objective = diffusion.make(**VP | {"learn_variance": True, "weighting": "min_snr", "min_snr_gamma": 3.0})
    assert objective.path == VariancePreserving()
    assert objective.learn_variance
    assert (objective.weighting, objective.min_snr_gamma) == ("min_snr", 3.0)
    assert hash(objective) != hash(diffusion.make(**VP))


def test_shift():
    assert diffusion.make(**FLOW | {"shift": "latent_frames"}, **SIZE).shift_ratio == pytest.approx(4)
    both = FLOW | {"shift": "latent_frames", "shift_scale": 0.5}
    assert diffusion.make(**both, **SIZE).shift_ratio == pytest.approx(2)
    assert diffusion.make(**FLOW, **SIZE).shift_ratio == 1


@pytest.mark.parametrize(
    ("base", "change", "message"),
    [
        (FLOW, {"path": "ddpm"}, "path is 'ddpm'; it must be one of flow, vp"),
        (FLOW, {"prediction": "eps"}, "prediction is 'eps'; it must be one of velocity with path 'flow'"),
        (
            VP,
            {"prediction": "velocity"},
            "prediction is 'velocity'; it must be one of eps, x0, v with path 'vp'",
        ),
        (FLOW, {"learn_variance": True}, "learn_variance is True"),
        (FLOW, {"times": "normal"}, "times is 'normal'"),
        (VP, {"times": "logit_normal"}, "times is 'logit_normal'; it must be one of uniform with path 'vp'"),
        (FLOW, {"shift": "yes"}, "shift is 'yes'"),
        (VP, {"shift": "latent_frames"}, "shift is 'latent_frames'; it must be one of none with path 'vp'"),
        (FLOW, {"shift": "latent_frames"}, "needs the sample's height_px"),
        (FLOW, {"shift": "released", **SIZE}, "every time at 0 for 13 decoded frames"),
        (FLOW, {"shift_scale": 2.0}, "shift_scale is 2.0; without a shift it must be 1"),
        (FLOW, {"shift": "latent_frames", "shift_scale": 0.0, **SIZE}, "shift_scale is 0.0"),
        (FLOW, {"weighting": "snr"}, "weighting is 'snr'"),
        (FLOW, {"weighting": "min_snr", "min_snr_gamma": 0.0}, "min_snr_gamma is 0.0"),
    ],
)
def test_impossible_combinations_are_named(base, change, message):
    with pytest.raises(ValueError, match=message):
        diffusion.make(**base | change)
