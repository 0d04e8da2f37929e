"""What ratios by time cost: the arithmetic of each, and means by the batches and by the sampler's evaluations."""

import numpy as np
import pytest
from scipy import stats

from configs import c2i_digits, signal_digits
from ptdit_jax import config as rules
from ptdit_jax.convert import conversion
from ptdit_jax.cost.count import measure
from ptdit_jax.experiment import ratio_cost
from ptdit_jax.models import complexity
from ptdit_jax.sweep.counts import count


def test_shares_and_means():
    config = c2i_digits.get_config()
    config.compression.by_time = ((0, 0.4, (1, 2, 2)), (0.4, 0.9, (1, 4, 4)), (0.9, 1, (1, 2, 2)))
    config.sampling.sampler, config.sampling.steps = "euler", 10
    fine, coarse = ratio_cost.rows_of(config)
    below = stats.norm.cdf(np.log(np.array([0.4, 0.9]) / np.array([0.6, 0.1])))
    assert coarse["batches"] == pytest.approx(below[1] - below[0])
    assert fine["batches"] == pytest.approx(1 - coarse["batches"])
    # t is 1, 0.9, 0.8 ... 0.1
    assert (fine["evaluations"], coarse["evaluations"]) == (pytest.approx(0.5), pytest.approx(0.5))
    for row, ratio in ((fine, (1, 2, 2)), (coarse, (1, 4, 4))):
        fixed = c2i_digits.get_config()
        fixed.compression.fixed = ratio
        assert row["macs"] == complexity.total(measure("", fixed, None).sizes[0].parts).total
        assert row["window"] == ratio
    mean = fine["batches"] * fine["macs"] + coarse["batches"] * coarse["macs"]
    known = count(config)
    assert (known.macs, known.ratio) == (round(mean), None)
    text = ratio_cost.report(config, [{"ms": 1.0}, {"ms": 3.0}])
    assert "0 to 0.4 and 0.9 to 1" in text
    assert f"{mean / 1e6:.2f}" in text
    assert f"{1 + 2 * coarse['batches']:.2f}"[:3] in text.split("mean by batches")[1].split("\n")[0]
    config.compression.by_time = ()
    assert ratio_cost.report(config) == ""


def test_a_signal_is_counted_and_refused_by_pytorch_layouts():
    config = signal_digits.get_config()
    rules.validate(config)
    _, layout = rules.layout(config)
    assert (layout.grid, layout.window, layout.windows) == ((1, 1, 32), (1, 1, 4), 8)
    parts = measure("", config, None).sizes[0].parts
    assert parts["patches"].total == 32 * 2 * 128  # tokens of 1x2 values
    with pytest.raises(ValueError, match=r"model\.patch_height=1: .* patches as high as wide, 2x2"):
        conversion.architecture(config)
    config.model.patch_height = 3
    with pytest.raises(
        ValueError, match=r"data\.height=1 must be a positive multiple of model\.patch_height=3"
    ):
        rules.validate(config)
