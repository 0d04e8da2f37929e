"""Sizes of mesh axes."""

import pytest

from ptdit_jax.parallel.axes import filled


@pytest.mark.parametrize(
    ("sizes", "devices", "expected"),
    [
        ({"data": -1, "fsdp": 2, "context": 2}, 16, {"data": 4, "fsdp": 2, "context": 2}),
        ({"data": 2, "fsdp": -1}, 2, {"data": 2, "fsdp": 1}),
        ({"data": 2, "fsdp": 4}, 16, {"data": 2, "fsdp": 4}),
        ({"data": -1, "fsdp": 0}, 8, {"data": 8, "fsdp": 0}),  # refused later, by `config.validate`
    ],
)
def test_the_open_axis_has_the_devices_that_are_left(sizes, devices, expected):
    assert filled(sizes, devices) == expected
