"""Protocols of FVD: which frames are seen, and how they are resized."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest
import torch

from ptdit_jax.evaluation import clips
from ptdit_jax.evaluation.clips import Clips
from tests.models.tiny import FAST

OFTEN = 400
network_sees = jax.jit(clips.network_sees, static_argnums=1, compiler_options=FAST)


def side(**options):
    """The options of films that are judged."""
    return Clips(**options).side(reference=False)


def test_presets_are_the_published_ones_and_fit_json():
    by_name = {name: json.loads(json.dumps(dataclasses.asdict(each))) for name, each in clips.PRESETS.items()}
    assert by_name["stylegan_v"] == {
        "frames": 16,
        "stride": 1,
        "offset": "first",
        "reference_offset": "random",
        "resize": "bilinear_whole",
        "covariance": "biased",
        "count": 2048,
        "reference_count": 2048,
        "pick": "first",
        "seed": 0,
    }
    assert by_name["make_a_video"]["count"] == 10_000
    assert by_name["common_metrics"]["resize"] == "short_side_crop"
    assert by_name["common_metrics"]["covariance"] == "unbiased"
    assert clips.preset("stylegan_v", count=8).reference_count == 2048


def test_frames_of_an_offset_and_a_stride():
    assert list(side(frames=9, stride=3).places(None, 0, "a")) == list(range(0, 25, 3))
    assert list(side(frames=9, stride=2, offset="middle").places(30, 0, "a")) == list(range(6, 23, 2))
    assert list(side(frames=9, offset="middle").places(9, 0, "a")) == list(range(9))
    assert Clips(frames=9, stride=3).span == 25


def test_random_starts_are_all_alike_and_of_the_seed():
    drawn = [side(frames=9, offset="random").places(13, number, "a") for number in range(OFTEN)]
    starts = np.bincount([each.start for each in drawn])
    assert len(starts) == 5  # 0 to 4
    assert abs(starts - OFTEN / 5).max() < 4 * math.sqrt(OFTEN / 5)
    assert all(each == range(each.start, each.start + 9) for each in drawn)
    again = [side(frames=9, offset="random").places(13, number, "a") for number in range(OFTEN)]
    other = [side(frames=9, offset="random", seed=1).places(13, number, "a") for number in range(OFTEN)]
    assert drawn == again
    assert drawn != other


def test_sides_differ_in_offset_and_count():
    both = clips.preset("stylegan_v", count=3, reference_count=4)
    judged, reference = both.side(reference=False), both.side(reference=True)
    assert (judged.offset, reference.offset) == ("first", "random")
    assert judged.chosen(10, "a").tolist() == [0, 1, 2]
    assert reference.chosen(10, "a").tolist() == [0, 1, 2, 3]


def test_films_at_random_are_different_ones_in_order():
    chosen = side(count=5, pick="random").chosen(50, "a")
    assert len(set(chosen.tolist())) == 5
    assert (np.diff(chosen) > 0).all()
    assert chosen.tolist() != list(range(5))
    assert chosen.tolist() == side(count=5, pick="random").chosen(50, "a").tolist()
    assert chosen.tolist() != side(count=5, pick="random", seed=1).chosen(50, "a").tolist()


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: Clips(frames=8), "frames=8 must be at least 9"),
        (lambda: Clips(stride=0), "stride=0 must be at least 1"),
        (lambda: Clips(seed=-1), "seed=-1 must be at least 0"),
        (lambda: Clips(offset="last"), "offset=last must be of first, middle, random"),
        (lambda: Clips(reference_offset="last"), "reference_offset=last must be of first"),
        (lambda: Clips(resize="pil"), "resize=pil must be of bilinear_whole, short_side_crop"),
        (lambda: Clips(covariance="n"), "covariance=n must be of biased, unbiased"),
        (lambda: Clips(pick="last"), "pick=last must be of first, random"),
        (lambda: Clips(count=1), "count=1 must be at least 2"),
        (lambda: clips.preset("latte"), "protocol latte must be of stylegan_v, make_a_video, common_metrics"),
        (lambda: side(count=5).chosen(4, "a"), "a has 4 films; 5 are wanted"),
        (lambda: side().chosen(1, "a"), "a has 1 films; 2 are wanted"),
        (lambda: side(stride=2).places(30, 0, "a.mp4"), "a.mp4 has 30 frames; 16 with a stride of 2 need 31"),
        (lambda: side(offset="middle").places(None, 0, "a.mp4"), "a.mp4: an offset of middle needs"),
    ],
)
def test_what_is_wrong_is_a_line(call, line):
    with pytest.raises(ValueError, match=line):
        call()


def of_torch(shown, size):
    """(n, F, H, W, 3) resized by PyTorch."""
    flat = torch.from_numpy(shown.reshape(-1, *shown.shape[2:]).transpose(0, 3, 1, 2)).float()
    made = torch.nn.functional.interpolate(flat, size=size, mode="bilinear", align_corners=False)
    return made.numpy().transpose(0, 2, 3, 1).reshape(*shown.shape[:2], *size, 3)


def shown(rows, columns):
    """uint8 (1, 2, rows, columns, 3)."""
    return np.random.default_rng(rows).integers(0, 256, (1, 2, rows, columns, 3)).astype(np.uint8)


@pytest.mark.parametrize("shape", [(64, 64), (240, 320)])
def test_bilinear_whole_is_a_resize_of_torch(shape):
    films = shown(*shape)
    wanted = of_torch(films, (224, 224)) / 255 * 2 - 1
    found = network_sees(films, "bilinear_whole")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((64, 64), (224, 224)),
        ((48, 80), (224, 374)),
        ((80, 47), (382, 224)),
        ((240, 320), (224, 299)),
        ((224, 230), (224, 230)),
        ((50, 50), (225, 224)),  # 224 / 50 * 50 is above 224 in float64
    ],
)
def test_short_side_crop_is_a_resize_of_torch_and_its_middle(shape, size):
    films = shown(*shape)
    top, left = (size[0] - 224) // 2, (size[1] - 224) // 2
    wanted = of_torch(films, size)[:, :, top : top + 224, left : left + 224] / 255 * 2 - 1
    np.testing.assert_allclose(network_sees(films, "short_side_crop"), wanted, atol=1e-4, rtol=0)


def test_options_of_ones_own_stand_in_the_name():
    found = clips.parse("stylegan_v?stride=2&reference_count=all&offset=middle&seed=3", count=7)
    wanted = clips.preset("stylegan_v", stride=2, reference_count=None, offset="middle", seed=3, count=7)
    assert found == wanted
    assert clips.parse("common_metrics") == clips.PRESETS["common_metrics"]
    for text, line in (
        ("fvd", "protocol fvd must be of stylegan_v"),
        ("stylegan_v?stride=x", r"stylegan_v\?stride=x: stride=x must be a whole number"),
        ("stylegan_v?frames=4", "frames=4 must be at least 9"),
        ("stylegan_v?resize=none", "resize=none must be of bilinear_whole"),
        ("stylegan_v?stride", "'stride' must be OPTION=VALUE"),
    ):
        with pytest.raises(ValueError, match=line):
            clips.parse(text)
