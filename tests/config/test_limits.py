"""Every field, and everything that it may not be."""

import copy
import math

import pytest

from configs import c2i_digits, common, t2i_xl_1024_release
from ptdit_jax import config as rules
from ptdit_jax.parallel.chips import GIB, Machine

DEFAULTS = rules.flatten(common.get_config())
NUMBERS = [field for field, value in DEFAULTS.items() if type(value) in (int, float)]
TUPLES = [field for field, value in DEFAULTS.items() if type(value) is tuple]
ONE_GPU = Machine(devices=1, device_bytes=80 * GIB, processes=1, host_bytes=128 * GIB)
NASTY = (
    None,
    "six",
    b"6",
    [],
    (),
    (1,),
    math.nan,
    math.inf,
    -math.inf,
    -7,
    10**12,
    -(10**30),
    1e300,
    2.5,
    True,
)


def changed(config, **fields):
    """With values set past the library's own check of types, as a file or an older run could have them."""
    config = copy.deepcopy(config).unlock()
    for field, value in fields.items():
        section, _, name = field.rpartition(".")
        place = config[section] if section else config
        place.__dict__["_fields"][name] = value
    return config


def problems(config, **options):
    try:
        rules.validate(config, check_data=False, **options)
    except ValueError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize("field", DEFAULTS)
def test_nothing_but_what_a_field_may_be_is_taken(field):
    default = DEFAULTS[field]
    for value in NASTY:
        found = problems(changed(c2i_digits.get_config(), **{field: value}), machine=ONE_GPU)
        kind = type(value) is type(default) or (type(default) is float and type(value) is int)
        if not kind:
            assert len(found) >= 1, (field, value)
            assert found[0].startswith(f"{field}={value!r} must be "), (field, value, found)
        elif isinstance(value, float) and not math.isfinite(value):
            assert found == [f"{field}={value!r} must be finite"]
        elif field in NUMBERS and abs(value) > 2**31 and isinstance(value, int):
            assert any(line.startswith(f"{field}={value!r} must be ") for line in found), (
                field,
                value,
                found,
            )


@pytest.mark.parametrize("field", TUPLES)
def test_the_parts_of_a_tuple(field):
    for value in (
        (True, True, True),
        (1, None, 1),
        (math.nan, 1, 1),
        ("a", 2, "b"),
        ((1,), 2, 2),
    ):
        found = problems(changed(c2i_digits.get_config(), **{field: value}), machine=ONE_GPU)
        assert any(field in line for line in found), (field, value, found)


WRONG = [
    ({"model.shift_every": -7}, "model.shift_every=-7 must be at least -1 (-1 for no shifted windows)"),
    ({"train.ema_decays": 0.9}, "train.ema_decays=0.9 must be a tuple"),
    ({"compression.fixed": (True, 2, 2)}, "compression.fixed=(True, 2, 2) must be three integers"),
    ({"compression.proxy": (1, 3, 3)}, "compression.proxy=(1, 3, 3) must divide the window (1, 2, 2)"),
    ({"sampling.guidance": math.inf}, "sampling.guidance=inf must be finite"),
    ({"sampling.guidance": -1.0}, "sampling.guidance=-1.0 must be at least 0"),
    ({"model.depth": 100_000_000_000}, "model.depth=100000000000 must be at most 2147483647"),
    ({"model.width": 1_600_000_000}, "model.depth=8, model.width=1600000000: at least "),
    (
        {"model.depth": 100_000},
        "model.depth=100000, model.width=128: parameters, averages, moments and gradients alone",
    ),
    ({"model.classes": 100_000_000_000}, "model.classes=100000000000 must be at most"),
    ({"model.classes": 1_000_000_000}, "model.classes=1000000000: parameters, averages"),
    ({"sampling.count": 1_000_000_000_000}, "sampling.count=1000000000000 must be at most"),
    (
        {"sampling.count": 1_000_000_000},
        "sampling.count=1000000000: the samples need 238.4 GiB, and the host has",
    ),
    ({"evaluation.count": 1_000_000_000}, "evaluation.count=1000000000: the samples need 238.4 GiB"),
    ({"data.batch": 1_000_000_000_000}, "data.batch=1000000000000 must be at most"),
    (
        {"data.batch": 1_000_000_000},
        "data.batch=1000000000 with optimizer.accumulate=1: 1e+09 samples of a",
    ),
    ({"data.prefetch": 10_000_000}, "with data.prefetch=10000000: the batches that wait need"),
    ({"data.height": 2_000_000, "data.width": 2_000_000}, "a mask of 1e+12 tokens alone needs"),
    ({"data.read_threads": 100_000}, "data.read_threads=100000 must be in [0, 1024]"),
    ({"sampling.steps": 1_000_000}, "sampling.steps=1000000 must be at most 100000"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_values_outside_their_meaning_and_sizes_that_nothing_holds(fields, message):
    config = c2i_digits.get_config()
    config.model.update({"variant": "custom", "depth": 8, "width": 128, "heads": 4})
    assert not problems(config, machine=ONE_GPU)
    found = problems(changed(config, **fields), machine=ONE_GPU)
    assert any(message in line for line in found), found
    assert all("\n" not in line and len(line) < 300 for line in found)


def test_one_may_insist():
    config = c2i_digits.get_config()
    config.model.classes = 1_000_000_000
    config.evaluation.name = "none"
    (line,) = problems(config, machine=ONE_GPU)
    assert line.endswith("(mesh.check_memory=False insists)")
    config.mesh.check_memory = False
    assert not problems(config, machine=ONE_GPU)


def test_what_fits_by_being_shared_is_not_refused():
    config = t2i_xl_1024_release.get_config()
    config.data.batch, config.optimizer.accumulate = 64, 1
    small = Machine(devices=8, device_bytes=8 * GIB, processes=1, host_bytes=128 * GIB)
    assert any(
        "parameters, averages, moments and gradients alone need" in p for p in problems(config, machine=small)
    )
    config.mesh.fsdp = 8
    assert not problems(config, machine=small)


def test_sampling_needs_the_parameters_alone():
    config = t2i_xl_1024_release.get_config()
    machine = Machine(devices=1, device_bytes=8 * GIB, processes=1, host_bytes=32 * GIB)
    assert not list(rules.sampling_problems(config, machine, count=4))
    many = list(rules.sampling_problems(config, machine, count=10**6))
    assert many == ["--count=1000000: the samples need 244.1 GiB, and the host has 32.0 (--insist tries)"]
    (large,) = rules.sampling_problems(config, machine, count=1, height=10**6, width=10**6)
    assert large.startswith(
        "data.frames=1, data.height=1000000, data.width=1000000: a mask of 2.5e+11 tokens"
    )


def test_one_may_insist_on_samples():
    config = t2i_xl_1024_release.get_config()
    config.mesh.check_memory = False  # as `sample --insist` has it
    machine = Machine(devices=1, device_bytes=1, processes=1, host_bytes=1)
    assert not list(rules.sampling_problems(config, machine, count=10**6))


def test_what_only_looks_large_is_not_refused():
    config = t2i_xl_1024_release.get_config()
    config.data.height = config.data.width = (
        8192  # 65,536 pixels: positions are kept by axis, a mask is 16 MiB
    )
    assert not list(rules.network_problems(config))
    config = t2i_xl_1024_release.get_config()
    config.model.compute_dtype, config.data.batch, config.optimizer.accumulate = "bfloat16", 64, 1
    tokens, width = 64 * 64, 1152
    record = 4 * (4 * 128 * 128 + 200 * 4096)
    assert config.model.text_length == 200
    needed = 64 * (record + 2 * tokens * width)
    config.model.variant, config.model.depth, config.model.width, config.model.heads = "custom", 1, width, 16
    config.data.batch, config.train.ema_decays, config.sampling.ema = 64, (), 0.0
    state = 4 * 4 * (1 * (4 + 8) * width**2 + 4096 * width)
    for has, refused in ((max(needed, state) + 1, False), (needed - 1, True)):
        machine = Machine(devices=1, device_bytes=has, processes=1, host_bytes=128 * GIB)
        found = [line for line in problems(config, machine=machine) if line.startswith("data.batch")]
        assert bool(found) == refused, (has, found)


def test_windows_that_are_clipped_are_said():
    config = c2i_digits.get_config()
    config.compression.fixed = (1, 8, 8)
    assert list(rules.warnings(config)) == [
        "compression: the window (1, 8, 8) is larger than the grid (1, 4, 4) of tokens; it is (1, 4, 4)"
    ]
    assert not list(rules.warnings(c2i_digits.get_config()))
