"""Names of topologies."""

import pytest

from ptdit_jax.parallel import topology


@pytest.mark.parametrize(
    ("name", "kind", "shape", "chips"),
    [
        ("v5e:2x2", "v5e", (2, 2), 4),
        ("v5e:16x16", "v5e", (16, 16), 256),
        ("v5p:8x8x8", "v5p", (8, 8, 8), 512),
        ("v4:2x2x1", "v4", (2, 2, 1), 4),
        ("cpu:8", "cpu", (8,), 8),
    ],
)
def test_name_gives_kind_and_shape(name, kind, shape, chips):
    parsed = topology.parse(name)
    assert (parsed.name, parsed.kind, parsed.shape, parsed.chips) == (name, kind, shape, chips)


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("v9:2x2", "one of cpu, v4, v5e, v5p, v6e"),
        ("", "one of cpu"),
        ("v5e", "v5e:4x4"),
        ("v5e:2x2x2", "v5e:4x4"),
        ("v5p:2x2", "v5p:4x4x4"),
        ("v5e:0x2", "v5e:4x4"),
        ("v5e:2x", "v5e:4x4"),
        ("v5e:2xtwo", "v5e:4x4"),
        ("cpu:2x2", "cpu:8"),
        ("cpu:-1", "cpu:8"),
    ],
)
def test_wrong_name_says_what_would_be_right(name, right):
    with pytest.raises(ValueError, match="--topology") as caught:
        topology.parse(name)
    assert right in str(caught.value)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)
