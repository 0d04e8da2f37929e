"""The interface of all autoencoders: pixels, moments, draws, dtypes, sizes, meshes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from ptdit_jax import config as rules
from ptdit_jax.encoders import pixels
from ptdit_jax.encoders.autoencoder import open_autoencoder, scaled, unscaled
from tests.encoders.autoencoders import open_fast, section, write_causal


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("causal") / "vae"
    write_causal(path)
    return path


@pytest.fixture(scope="module")
def exact(folder):
    return open_fast(folder)


@pytest.mark.parametrize("channels", [3, 1])
def test_pixels_are_their_own_latents(channels):
    ours = open_autoencoder(section("pixels", pixel_channels=channels))
    x = np.random.default_rng(0).uniform(-1, 1, (2, channels, 1, 5, 7)).astype(np.float32)
    moments = np.asarray(ours.moments(x))
    assert ours.factor == (1, 1, 1)
    assert ours.channels == channels
    np.testing.assert_array_equal(moments[:, :channels], x)
    np.testing.assert_array_equal(moments[:, channels:], -30)
    np.testing.assert_array_equal(ours.decode(ours.latents(moments)), x)
    drawn = scaled(moments, ours.scale, ours.shift, jax.random.key(0))
    np.testing.assert_allclose(drawn, x, atol=1e-5)
    assert ours.fingerprint != open_autoencoder(section("pixels", pixel_channels=4 - channels)).fingerprint


def test_draws_are_those_of_the_normal_and_of_the_key():
    rng = np.random.default_rng(0)
    mean, log_variance = rng.standard_normal((2, 1, 2, 1, 3, 3)).astype(np.float32)
    log_variance[0, 0, 0, 0] = -100, 1, 0  # is cut to -30
    log_variance[0, 1, 0, 0, 0] = 50  # to 20
    moments = np.concatenate([mean, log_variance], 1)
    scale, shift = (2.0, 0.5), (0.1, -0.3)
    key = jax.random.key(3)
    noise = np.asarray(jax.random.normal(key, mean.shape))
    wanted = mean + np.exp(np.clip(log_variance, -30, 20) / 2) * noise
    per_channel = lambda values: np.reshape(values, (1, 2, 1, 1, 1))  # noqa: E731
    wanted = (wanted - per_channel(shift)) * per_channel(scale)
    np.testing.assert_allclose(scaled(moments, scale, shift, key), wanted, rtol=1e-4, atol=1e-5)
    mode = scaled(moments, scale, shift)
    np.testing.assert_allclose(unscaled(mode, scale, shift), mean, atol=1e-6)
    many = scaled(np.repeat(moments, 4000, 0), 1.0, 0.0, jax.random.key(0))[:, 0, 0, 1, 1]
    assert abs(float(many.std()) / np.exp(log_variance[0, 0, 0, 1, 1] / 2) - 1) < 0.05


def test_sampling_needs_a_key_and_the_mean_has_none():
    moments = np.zeros((1, 6, 1, 2, 2), np.float32)
    with pytest.raises(ValueError, match=r"posterior='sample' needs a key"):
        open_autoencoder(section("pixels", posterior="sample")).latents(moments)
    with pytest.raises(ValueError, match=r"posterior='mode' has no key"):
        open_autoencoder(section("pixels")).latents(moments, jax.random.key(0))


def test_pixels_to_bytes_and_back():
    values = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(pixels.to_uint8(pixels.from_uint8(values)), values)
    np.testing.assert_array_equal(
        pixels.to_uint8(np.array([-3.0, -1.0, 0.0, 1.0, 2.0])), [0, 0, 128, 255, 255]
    )
    rounded = pixels.to_uint8(np.asarray(pixels.from_uint8(values)).astype(jnp.bfloat16))
    assert (rounded[128:254] % 2 == 1).sum() > 20  # in bfloat16 all of these would be even


def test_bfloat16_is_near_float32_and_the_fingerprint_is_the_same(folder, exact):
    rounded = open_fast(folder, dtype="bfloat16")
    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, 1, 16, 24)).astype(np.float32)
    a, b = (np.asarray(ours.moments(x)) for ours in (exact, rounded))
    assert a.dtype == b.dtype == np.float32
    assert 1e-4 < np.linalg.norm(a - b) / np.linalg.norm(a) < 0.05
    assert exact.fingerprint == rounded.fingerprint


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 1, 20, 16), "20 rows and 16 columns; CausalVAE takes multiples of 8 and 8"),
        ((1, 3, 6, 16, 16), r"6 frames; CausalVAE takes 4k\+1"),
        ((1, 1, 1, 16, 16), r"shape \(1, 1, 1, 16, 16\); CausalVAE takes \(B, 3, F, H, W\)"),
        ((3, 16, 16), r"shape \(3, 16, 16\)"),
    ],
)
def test_pixels_of_another_size_are_refused(exact, shape, message):
    with pytest.raises(ValueError, match=message) as error:
        exact.moments(np.zeros(shape, np.float32))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"takes \(B, 4, F, H, W\)"):
        exact.decode(np.zeros((1, 16, 1, 2, 2), np.float32))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dtype", "float16"),
        ("posterior", "mean"),
        ("tile", True),
        ("tile", "on"),
        ("tile_size", 500),
        ("tile_frames", 28),
        ("pixel_channels", 4),
    ],
)
def test_fields_of_the_config_are_checked(field, value):
    config = common.get_config()
    with config.unlocked(), config.ignore_type():
        config.autoencoder[field] = value
    with pytest.raises(ValueError, match=f"autoencoder.{field}={value!r}"):
        rules.validate(config, check_data=False)


def test_a_path_without_an_autoencoder(tmp_path):
    with pytest.raises(OSError, match="there is no such file"):
        open_autoencoder(section(tmp_path / "none"))
    with pytest.raises(ValueError, match="has no weights in it"):
        open_autoencoder(section(tmp_path))


def test_four_devices_are_one(folder, tmp_path):
    """Samples over `data` and `fsdp`, parameters over `fsdp`, a batch that they do not divide."""
    root = Path(__file__).parents[2]
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    environment = os.environ | {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.encoders.autoencoder_meshes", str(folder)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["difference"] < 2e-5
    assert found["shard"] == [3, 3, 3, 32, 32]  # of (3, 3, 3, 32, 64): the wider side, in halves
    assert found["samples"] == [3, 8, 1, 2, 2]
