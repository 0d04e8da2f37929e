"""From a config to the facts of a network: published sizes, what is refused, and the window of each size."""

import jax
import numpy as np
import pytest
from flax import nnx

from configs import common
from ptdit_jax import models
from ptdit_jax.models.compression import window_for
from ptdit_jax.models.variants import VARIANTS, Architecture, architecture

WINDOW = (1, 2, 2)


def resolved(window=WINDOW, *, learn_variance=False, **fields) -> Architecture:
    model = common.get_config().model
    model.update(fields)
    return architecture(model, window, learn_variance=learn_variance)


def count(arch: Architecture) -> int:
    """Parameters of a network that is never allocated."""
    leaves = jax.tree.leaves(nnx.eval_shape(lambda: models.build(arch, nnx.Rngs(0))))
    return sum(int(np.prod(leaf.shape)) for leaf in leaves)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"variant": "S-Class"}, {"depth": 10, "width": 288, "heads": 6, "shift_every": 2}),
        ({"variant": "S", "depth": 4}, {"depth": 4, "width": 288, "heads": 6}),
        (
            {"variant": "custom", "depth": 3, "width": 32, "heads": 2, "shift_every": 3},
            {"width": 32, "group": 3},
        ),
        ({"condition": "class"}, {"adaln": "zero", "zero_linears": False, "shift_every": 2, "groups": 5}),
        ({"condition": "none"}, {"adaln": "zero", "zero_linears": False, "shift_every": 2}),
        ({"condition": "text"}, {"adaln": "single", "zero_linears": True, "shift_every": 1, "groups": 10}),
        ({"condition": "text", "adaln": "zero"}, {"adaln": "zero", "zero_linears": False, "shift_every": 2}),
        ({"zero_linears": "yes"}, {"zero_linears": True}),
        ({"condition": "text", "zero_linears": "no"}, {"zero_linears": False}),
        ({"shift_every": -1}, {"shift_every": 0, "group": 1, "groups": 10}),
        ({"tcm": False}, {"shift_every": 0}),
        ({"channels": 3}, {"out_channels": 3}),
        ({"channels": 3, "out_channels": 6}, {"out_channels": 6}),
        ({"injection": "linear"}, {"linear_tokens": 4}),
        ({"injection": "interpolate"}, {"linear_tokens": 0}),
        ({"family": "dit", "variant": "XL"}, {"depth": 28, "width": 1152, "giim": False, "shift_every": 0}),
        ({"family": "dit", "variant": "S", "time_input": "1-t"}, {"time_input": "1-t", "mediators": ()}),
        ({"family": "dam", "variant": "B"}, {"mediators": (1, 8, 8), "adaln": "zero"}),
        (
            {"family": "full3d", "variant": "S", "condition": "text"},
            {"adaln": "single", "zero_linears": False},
        ),
    ],
)
def test_auto_and_variants_are_resolved(fields, expected):
    arch = resolved(**fields)
    assert {name: getattr(arch, name) for name in expected} == expected


def test_learned_variance_doubles_the_output():
    assert resolved(learn_variance=True).out_channels == 8
    assert resolved(learn_variance=True, out_channels=4).out_channels == 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"family": "unet"}, "model.family='unet' is unknown; it is one of 'ptdit', 'dit'"),
        ({"variant": "XXL"}, "model.variant='XXL' is unknown; it is one of 'S', "),
        ({"family": "dit", "variant": "H"}, "model.variant='H' is unknown; it is one of 'S', 'B', 'L', 'XL'"),
        ({"variant": "custom"}, "model.depth=0 must be at least 1"),
        ({"depth": -2}, "model.depth=-2 must be at least 1"),
        ({"variant": "custom", "depth": 2, "width": 32}, "model.heads=0 must be at least 1"),
        ({"patch": 0}, "model.patch=0 must be at least 1"),
        ({"heads": 7}, "model.width=288 must be a multiple of model.heads=7"),
        ({"width": 24, "heads": 6}, "model.width=24 must be a multiple of 16"),
        ({"condition": "image"}, "model.condition='image' is unknown; it is one of 'class', 'text', 'none'"),
        ({"adaln": "film"}, "model.adaln='film' is unknown; it is one of 'auto', 'single', 'zero'"),
        ({"zero_linears": "maybe"}, "model.zero_linears='maybe' is unknown"),
        ({"shift_every": 3}, "model.shift_every=3 must divide the depth 10"),
        ({"depth": 5}, "model.shift_every=2 must divide the depth 5"),
        ({"modulated": ("mlp", "norm")}, "model.modulated='norm' is unknown; it is one of 'proxy'"),
        ({"extraction": "max"}, "model.extraction='max' is unknown; it is one of 'average'"),
        ({"injection": "add"}, "model.injection='add' is unknown; it is one of 'cross_attention'"),
        (
            {"positions": "rope"},
            "model.positions='rope' is unknown with model.family='ptdit'; it is one of 'auto', 'grid', 'released'",
        ),
        ({"positions": "rescaled"}, "model.positions='rescaled' is unknown with model.family='ptdit'"),
        (
            {"family": "dit", "variant": "S", "positions": "released"},
            "model.positions='released' is unknown with model.family='dit'; it is one of 'auto', 'grid', 'rescaled'",
        ),
        (
            {"family": "pixart", "variant": "S", "condition": "text", "sample_size": 1},
            "model.sample_size must be at least model.patch",
        ),
        ({"compute_dtype": "float16"}, "model.compute_dtype='float16' is unknown; it is one of 'float32'"),
        (
            {"remat": "all"},
            "model.remat='all' is unknown; it is one of 'none', 'block', 'attention', 'dots', 'offload'",
        ),
        ({"unroll": 3}, "model.unroll=3 must divide the 5 groups"),
        ({"unroll": -1}, "model.unroll=-1 must divide the 5 groups"),
        ({"family": "dit", "variant": "S", "condition": "none"}, "model.family='dit' .* condition='none'"),
        ({"family": "dit", "variant": "S", "adaln": "single"}, "model.family='dit' .* adaln='single'"),
        ({"family": "dam", "variant": "S", "condition": "text"}, "model.family='dam' .* condition='text'"),
        (
            {"family": "pixart", "variant": "XL"},
            "model.family='pixart' takes model.condition='text' with .*'single'",
        ),
        (
            {"family": "dam", "variant": "B", "mediators": (8, 8)},
            "model.mediators=.8, 8. must be three integers",
        ),
        (
            {"family": "dam", "variant": "B", "mediators": (1, 0, 8)},
            "model.mediators=.1, 0, 8. must be three",
        ),
        (
            {"time_input": "t"},
            "model.time_input='t' is unknown; it is one of '1000t', '1-t', '1000t_diffusers'",
        ),
        (
            {"size_condition": 8},
            "model.size_condition=8 is for model.family='pixart' .*, not 'ptdit' of width",
        ),
        (
            {"family": "pixart", "variant": "XL", "condition": "text", "width": 1024, "size_condition": 8},
            "model.size_condition=8 is for .* of a width that 3 divides, not 'pixart' of width 1024",
        ),
        ({"time_input": "1-t"}, "model.time_input='1-t' is SiT's, for .* 'dam'; 'ptdit' takes '1000t'"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_value(fields, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        resolved(**fields)


@pytest.mark.parametrize("family", VARIANTS)
def test_positions_are_rescaled_for_pixart_alone_unless_asked_for(family):
    condition = "text" if family == "pixart" else "class"
    arch = resolved(family=family, variant="S", condition=condition)
    assert arch.positions == ("rescaled" if family == "pixart" else "grid")
    assert resolved(family=family, variant="S", condition=condition, positions="grid").positions == "grid"


@pytest.mark.parametrize("family", VARIANTS)
def test_every_variant_is_a_network(family):
    for variant, size in VARIANTS[family].items():
        condition = "class" if family in ("dit", "dam") or variant.endswith("Class") else "text"
        arch = resolved(family=family, variant=variant, condition=condition)
        assert (arch.depth, arch.width, arch.heads) == (size.depth, size.width, size.heads)
        assert arch.width % arch.heads == 0
    assert set(VARIANTS) == set(models.FAMILIES)


@pytest.mark.parametrize(
    ("variant", "released", "paper"),
    [("B", 153.8e6, 144e6), ("L", 637.7e6, 605e6), ("XL", 1131.6e6, 1142e6), ("H", 1890.7e6, 1795e6)],
)
def test_text_models_have_the_released_codes_counts(variant, released, paper):
    """Counts of the authors' code at the sizes of Table 4, within 7% of what the table says."""
    number = count(resolved(variant=variant, condition="text", out_channels=8))
    assert abs(number - released) < 0.05e6
    assert abs(number / paper - 1) < 0.07


@pytest.mark.parametrize(("variant", "paper"), [("S-Class", 32.5e6), ("B-Class", 152e6), ("L-Class", 693e6)])
def test_class_models_are_near_the_published_counts(variant, paper):
    assert abs(count(resolved(variant=variant, learn_variance=True)) / paper - 1) < 0.05


def test_create_makes_the_network_of_a_config():
    model = common.get_config().model
    model.update({"variant": "custom", "depth": 2, "width": 16, "heads": 2, "classes": 3})
    network = nnx.eval_shape(
        lambda: models.create(model, window=WINDOW, rngs=nnx.Rngs(0), learn_variance=True)
    )
    assert network.arch == architecture(model, WINDOW, learn_variance=True)
    assert isinstance(network, models.PTDiT)
    for family in ("dit", "dam", "full3d", "factorized"):
        model.update({"family": family})
        network = nnx.eval_shape(lambda: models.create(model, window=WINDOW, rngs=nnx.Rngs(0)))
        assert type(network) is models.FAMILIES[family]


@pytest.mark.parametrize(
    ("frames", "height", "width", "window"),
    [
        (1, 256, 256, (1, 2, 2)),
        (1, 512, 512, (1, 4, 4)),
        (1, 1024, 1024, (1, 8, 8)),
        (1, 2048, 2048, (1, 16, 16)),
        (8, 256, 256, (4, 2, 2)),
        (2, 512, 512, (4, 4, 4)),
        (1, 8, 8, (1, 2, 2)),  # below the table
        (1, 4096, 4096, (1, 16, 16)),  # above it
        (1, 360, 360, (1, 2, 2)),  # just below and above the middle of 256 and 512 in log, 362
        (1, 364, 364, (1, 4, 4)),
        (1, 768, 768, (1, 8, 8)),  # 724 is the middle of 512 and 1024
        (1, 256, 1024, (1, 4, 4)),  # √(256·1024) = 512
        (1, 1024, 256, (1, 4, 4)),
        (1, 1152, 896, (1, 8, 8)),
    ],
)
def test_windows_of_the_sizes(frames, height, width, window):
    assert window_for(common.get_config().compression, frames, height, width) == window


def test_windows_follow_the_config():
    compression = common.get_config().compression
    compression.px512, compression.video_frames = (1, 2, 4), 2
    assert window_for(compression, 1, 512, 512) == (1, 2, 4)
    assert window_for(compression, 6, 512, 512) == (2, 2, 4)
    compression.fixed = (3, 5, 7)
    assert window_for(compression, 1, 512, 512) == (3, 5, 7)
    for wrong in ((1, 2), (1, 2, 0), (1, 2, 2.5)):
        compression.fixed = wrong
        with pytest.raises(ValueError, match=r"compression.fixed=.*three positive integers"):
            window_for(compression, 1, 512, 512)


def test_parameters_do_not_depend_on_the_window():
    """Except those of injection="linear", which has a projection for each token of a window."""

    def shapes(window, **fields):
        size = {"variant": "custom", "depth": 2, "width": 16, "heads": 2}
        arch = resolved(window, **size, **fields)
        state = nnx.state(nnx.eval_shape(lambda: models.build(arch, nnx.Rngs(0))))
        return {path: leaf.shape for path, leaf in nnx.to_flat_state(state)}

    assert shapes((1, 2, 2)) == shapes((4, 8, 8))
    small, large = shapes((1, 2, 2), injection="linear"), shapes((1, 4, 4), injection="linear")
    differ = {path[-2:] for path in small if small[path] != large[path]}
    assert differ == {("expand", "kernel"), ("expand", "bias")}
