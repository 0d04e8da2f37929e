"""CausalVAE: goldens of the released module, an independent restatement in PyTorch, its files, its tiles."""

import functools
import json
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ptdit_jax.convert import torch_causal_vae as reference
from ptdit_jax.encoders import autoencoder_files, causal_vae, convolution
from ptdit_jax.encoders import autoencoder_weights as weights
from ptdit_jax.encoders.tiling import Tiling, chunks, tiled
from tests.encoders.autoencoders import CAUSAL, GOLDENS, open_fast, write_causal
from tests.models.tiny import FAST


def as_torch(x):
    """(B, F, H, W, C) to (B, C, F, H, W)."""
    return torch.from_numpy(np.array(x)).movedim(-1, 1)


def as_ours(x):
    """(B, C, F, H, W) to (B, F, H, W, C)."""
    return x.movedim(1, -1).numpy()


def write_golden(folder, name):
    """The folder of a golden's weights; returns all of its arrays."""
    arrays = dict(np.load(GOLDENS / f"causal_vae_{name}.npz"))
    torch.save(
        {key[2:]: torch.from_numpy(value) for key, value in arrays.items() if key.startswith("w/")},
        folder / "model.ckpt",
    )
    (folder / "config.json").write_text((GOLDENS / f"causal_vae_{name}.json").read_text())
    return arrays


@pytest.mark.parametrize("name", ["video", pytest.param("tile_image", marks=pytest.mark.full)])
def test_goldens_of_the_released_module(tmp_path, name):
    golden = write_golden(tmp_path, name)
    ours = open_fast(tmp_path)
    moments = np.asarray(ours.moments(golden["in/x"]))
    np.testing.assert_allclose(moments[:, :4], golden["mean"], atol=1e-5)
    np.testing.assert_allclose(moments[:, 4:], golden["moments"][:, 4:], atol=2e-4)
    np.testing.assert_allclose(ours.latents(moments), golden["latent"], atol=1e-5)
    np.testing.assert_allclose(ours.decode(golden["latent"]), golden["recon"], atol=5e-5)
    deviation = np.exp(np.clip(moments[:, 4:], -30, 20) / 2)
    drawn = (moments[:, :4] + deviation * golden["in/noise"]) * ours.scale
    np.testing.assert_allclose(drawn, golden["sample"], rtol=2e-4, atol=1e-4)  # log-variances up to 17


def test_names_shapes_and_count_are_those_of_the_release():
    released = json.loads((GOLDENS / "causal_vae_state_dict.json").read_text())
    _, state = weights.abstract(causal_vae.architecture({}, "config.json"))
    found = weights.shapes(autoencoder_files.nnx.to_pure_dict(state), causal_vae.RENAMED)
    assert found == {name: tuple(shape) for name, shape in released["keys"].items()}
    assert sum(map(math.prod, found.values())) == released["parameters"] == 239_189_991


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(folder, weights by name as PyTorch's, ours)."""
    folder = tmp_path_factory.mktemp("causal") / "vae"
    state = write_causal(folder, use_tiling=False)
    return folder, {name: torch.from_numpy(array) for name, array in state.items()}, open_fast(folder)


@pytest.mark.parametrize("size", [(1, 24, 16), (5, 16, 24)])
def test_equal_to_the_restatement_in_both_directions(small, size):
    _, state, ours = small
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2, 3, *size)).astype(np.float32)
    latent = ((size[0] - 1) // 4 + 1, size[1] // 8, size[2] // 8)
    z = rng.standard_normal((2, 4, *latent)).astype(np.float32)
    with torch.no_grad():
        moments = reference.encode(state, torch.from_numpy(x)).numpy()
        pixels = reference.decode(state, torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(ours.moments(x), moments, atol=1e-4)
    np.testing.assert_allclose(ours.decode(z * ours.scale), pixels, atol=1e-4)


def test_one_image_is_the_three_dimensional_path_of_one_frame():
    conv = convolution.CausalConv(5, 7, (3, 3, 3), dtype=jnp.float32, rngs=convolution.nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 1, 6, 8, 5))
    flat = jax.jit(conv.__call__, compiler_options=FAST)(x)
    assert "lhs_spec=(0, 3, 1, 2)" in str(jax.make_jaxpr(conv.__call__)(x))  # over rows and columns alone
    three = jnp.concatenate([x, x, x], 1)
    kernel, bias = conv.conv.weights()
    whole = convolution.convolve(three, kernel, bias, (1, 1, 1), [(0, 0), (1, 1), (1, 1)])
    np.testing.assert_allclose(flat, whole, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 3, 6])
@pytest.mark.parametrize("strides", [(1, 1, 1), (2, 2, 2)])
def test_causal_convolutions_by_brute_force(frames, strides):
    conv = convolution.CausalConv(2, 3, (3, 3, 3), dtype=jnp.float32, rngs=convolution.nnx.Rngs(0))
    x = np.random.default_rng(0).standard_normal((1, frames, 4, 6, 2)).astype(np.float32)
    pad = ((0, 1), (0, 1)) if strides[0] == 2 else ((1, 1), (1, 1))
    kernel = np.asarray(conv.conv.kernel[...])
    spatial = np.pad(x[0], [(0, 0), *pad, (0, 0)])
    times = range(0, frames, strides[0])
    rows, columns = ((spatial.shape[i] - 3) // strides[i] + 1 for i in (1, 2))
    wanted = np.zeros((len(times), rows, columns, 3), np.float32)
    for k, t in enumerate(times):
        for i in range(rows):
            for j in range(columns):
                for s in range(3):  # the frame s - 2 before, or the first
                    frame = spatial[max(t + s - 2, 0)]
                    part = frame[i * strides[1] :, j * strides[2] :][:3, :3]
                    wanted[k, i, j] += np.einsum("hwc,hwcd->d", part, kernel[s])
    np.testing.assert_allclose(conv(jnp.asarray(x), strides=strides, padding=pad)[0], wanted, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_doubling_by_brute_force(frames):
    x = np.random.default_rng(0).standard_normal((1, frames, 3, 4, 2)).astype(np.float32)

    def double(values):  # along the first axis
        last = len(values) - 1
        rows = []
        for i in range(len(values)):
            rows.append(0.25 * values[max(i - 1, 0)] + 0.75 * values[i])
            rows.append(0.75 * values[i] + 0.25 * values[min(i + 1, last)])
        return np.stack(rows)

    film = x[0]
    if frames > 1:
        film = np.concatenate([film[:1], double(film[1:])])
    film = np.moveaxis(double(np.moveaxis(film, 1, 0)), 0, 1)
    film = np.moveaxis(double(np.moveaxis(film, 2, 0)), 0, 2)
    assert film.shape == (2 * frames - 1, 6, 8, 2)
    np.testing.assert_allclose(causal_vae.interpolated(jnp.asarray(x))[0], film, atol=1e-6)
    if frames == 2:  # a rest of one frame is repeated
        np.testing.assert_array_equal(film[1], film[2])


def test_norms_of_films_and_of_frames_by_brute_force():
    norm = convolution.GroupNorm(64, 32, rngs=convolution.nnx.Rngs(0))
    rng = np.random.default_rng(0)
    norm.scale[...], norm.bias[...] = jnp.asarray(rng.standard_normal((2, 64)), jnp.float32)
    x = (rng.standard_normal((2, 3, 4, 5, 64)) + 100).astype(
        np.float32
    )  # a mean that a sum of squares would lose
    wanted = np.empty(x.shape)
    for b in range(2):
        for g in range(0, 64, 2):
            part = x[b, ..., g : g + 2].astype(np.float64)
            wanted[b, ..., g : g + 2] = (part - part.mean()) / np.sqrt(part.var() + 1e-6)
    wanted = wanted * np.asarray(norm.scale[...]) + np.asarray(norm.bias[...])
    np.testing.assert_allclose(norm(jnp.asarray(x)), wanted, atol=2e-4)


def test_doubled_pictures_before_a_convolution_are_not_made():
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((2, 5, 7, 3)), rng.standard_normal((3, 3, 3, 4))
    bias = rng.standard_normal(4)
    ours = convolution.nearest_then_conv(*(jnp.asarray(a, jnp.float32) for a in (x, kernel, bias)))
    big = F.interpolate(torch.from_numpy(x).movedim(-1, 1), scale_factor=2)
    wanted = F.conv2d(big, torch.from_numpy(kernel).permute(3, 2, 0, 1), torch.from_numpy(bias), padding=1)
    np.testing.assert_allclose(ours, wanted.movedim(1, -1).numpy(), atol=1e-5)


def test_convolutions_by_winograd_are_convolutions(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 10, 16)).astype(np.float32)
    kernel, bias = (rng.standard_normal(s).astype(np.float32) / 12 for s in ((3, 3, 16, 20), (20,)))
    parts = (torch.from_numpy(x).movedim(-1, 1), torch.from_numpy(kernel).permute(3, 2, 0, 1))
    wanted = F.conv2d(*parts, torch.from_numpy(bias), padding=1).movedim(1, -1).numpy()

    def call(x, kernel, bias):
        return convolution.convolve(x, kernel, bias, (1, 1), [(1, 1), (1, 1)])

    def operations():  # of a program for this CPU; XLA's own convolution is one
        text = jax.jit(call).lower(x, kernel, bias).as_text()
        return text.count("stablehlo.convolution"), text.count("stablehlo.dot_general")

    assert operations() == (1, 0)
    monkeypatch.setattr(convolution.winograd, "CHANNELS", 16)
    monkeypatch.setattr(convolution.winograd, "POSITIONS", 120)
    jax.clear_caches()
    assert operations()[0] == 0
    np.testing.assert_allclose(jax.jit(call, compiler_options=FAST)(x, kernel, bias), wanted, atol=1e-5)
    assert not convolution.winograd.pays(jnp.asarray(x[:, :5]), kernel)


def test_attention_in_parts_is_attention():
    q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 35, 16))
    whole = F.scaled_dot_product_attention(*(torch.from_numpy(np.array(a)) for a in (q, k, v))).numpy()
    for scores in (2 * 35 * 35, 2 * 35 * 8, 1):
        ours = jax.jit(functools.partial(convolution.attend, scores=scores), compiler_options=FAST)(q, k, v)
        np.testing.assert_allclose(ours, whole, atol=1e-5)


def test_memory_of_attention_is_bounded():
    shapes = [jax.ShapeDtypeStruct((1, 4096, 8), jnp.float32)] * 3
    compiled = jax.jit(lambda q, k, v: convolution.attend(q, k, v, scores=2**20)).lower(*shapes).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4096**2 * 4 / 4


@pytest.mark.parametrize(
    ("file", "nesting"),
    [
        ("model.safetensors", ""),
        ("model.safetensors", "ema_state_dict.module."),
        ("model.ckpt", "state_dict.gen_model."),
        ("model.pt", "state_dict."),
        ("model.bin", "model."),
    ],
)
def test_weights_are_found_where_trainings_put_them(small, tmp_path, file, nesting):
    extra = {"state_dict.loss.logvar": np.zeros(1, np.float32)} if "safe" in file and nesting else {}
    extra |= {f"{nesting}loss.discriminator.weight": np.zeros((2, 2), np.float32)} if "safe" in file else {}
    write_causal(tmp_path / "vae", nesting=nesting, file=file, extra=extra.items(), use_tiling=False)
    assert autoencoder_files.open_folder(tmp_path / "vae").fingerprint == small[2].fingerprint


def test_averaged_weights_come_first(small, tmp_path):
    other = {f"state_dict.gen_model.{name}": 2 * array.numpy() for name, array in small[1].items()}
    write_causal(tmp_path / "vae", nesting="ema_state_dict.module.", extra=other.items(), use_tiling=False)
    assert autoencoder_files.open_folder(tmp_path / "vae").fingerprint == small[2].fingerprint


def test_loading_is_strict(tmp_path):
    write_causal(tmp_path / "vae", extra={"encoder.more.weight": np.zeros(1, np.float32)}.items())
    with pytest.raises(ValueError, match=r"has, beside those of the network, encoder\.more\.weight") as error:
        autoencoder_files.open_folder(tmp_path / "vae")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"hidden_size": 20}, "hidden_size=20 times"),
        ({"hidden_size_mult": [1, 2]}, "four whole numbers"),
        ({"num_res_blocks": "2"}, "num_res_blocks='2' must be like 2"),
        ({"encoder_conv_in": "CausalConv3d"}, "encoder_conv_in is 'CausalConv3d'"),
    ],
)
def test_another_network_is_refused(facts, message):
    with pytest.raises(ValueError, match=message):
        causal_vae.architecture(CAUSAL | facts, "config.json")


def loop(network, x, tile, stride, blend, keep, frames):
    """Tiles as the release cuts and blends them, a plain loop of numpy over x (B, C, F, H, W)."""
    starts = list(range(0, x.shape[2], frames - 1))
    spans = [(starts[i], starts[i + 1] + 1) for i in range(len(starts) - 1)]
    if not spans or spans[-1][1] < x.shape[2]:
        spans.append((starts[-1] if spans else 0, x.shape[2]))
    films = []
    for number, (start, end) in enumerate(spans):
        part = x[:, :, start:end]
        grid = [
            [network(part[:, :, :, i : i + tile, j : j + tile]).copy() for j in range(0, x.shape[4], stride)]
            for i in range(0, x.shape[3], stride)
        ]
        rows = []
        for i, row in enumerate(grid):
            kept = []
            for j, b in enumerate(row):
                if i:
                    a = grid[i - 1][j]
                    m = min(blend, a.shape[3], b.shape[3])
                    for y in range(m):
                        b[:, :, :, y] = a[:, :, :, a.shape[3] - m + y] * (1 - y / m) + b[:, :, :, y] * (y / m)
                if j:
                    a = row[j - 1]
                    m = min(blend, a.shape[4], b.shape[4])
                    for y in range(m):
                        b[..., y] = a[..., a.shape[4] - m + y] * (1 - y / m) + b[..., y] * (y / m)
                kept.append(b[:, :, :, :keep, :keep])
            rows.append(np.concatenate(kept, 4))
        film = np.concatenate(rows, 3)
        films.append(film[:, :, 1:] if number else film)
    return np.concatenate(films, 2)


def toy(x, xp):
    """A stand-in for an encoder (B, C, F, H, W): its output at a place depends on all of its input."""
    time, rows, columns = x.shape[2] // 4 + 1, x.shape[3] // 8, x.shape[4] // 8
    small = x[:, :, :: max(4, 1), ::8, ::8][:, :, :time, :rows, :columns]
    return small * (1 + x.mean()) + xp.arange(columns) * x.std()


@pytest.mark.parametrize("size", [(21, 136, 72), (9, 72, 120), (12, 64, 64), (1, 112, 152), (5, 120, 56)])
def test_tiles_are_those_of_a_plain_loop(size):
    cut = Tiling(64, 0.25, 9, 3, 8).encoding
    x = np.random.default_rng(0).standard_normal((2, 3, *size)).astype(np.float32)
    assert cut.applies((2, *size, 3)) == (max(size[1:]) > 64 or size[0] > 9)

    def network(part):
        return jnp.moveaxis(toy(jnp.moveaxis(part, -1, 1), jnp), 1, -1)

    ours = jax.jit(lambda x: tiled(network, x, cut), compiler_options=FAST)(jnp.moveaxis(x, 1, -1))
    wanted = loop(lambda part: toy(part, np), x, 64, 48, 2, 6, 9)
    np.testing.assert_allclose(np.moveaxis(ours, -1, 1), wanted, atol=1e-4)


def test_tiles_have_the_released_sizes():
    tiles = autoencoder_files.tiling(
        causal_vae.CausalArchitecture(), SimpleNamespace(tile="auto", tile_size=0, tile_frames=0)
    )
    encoding, decoding = tiles.encoding, tiles.decoding
    assert (encoding.size, encoding.stride, encoding.blend, encoding.keep, encoding.frames) == (
        512,
        448,
        8,
        56,
        29,
    )
    assert (decoding.size, decoding.stride, decoding.blend, decoding.keep, decoding.frames) == (
        64,
        56,
        64,
        448,
        8,
    )
    assert not encoding.applies((1, 29, 512, 512, 3))
    assert decoding.applies((1, 1, 128, 128, 4))
    assert chunks(57, 29) == [(0, 29), (28, 57)]
    assert chunks(30, 29) == [(0, 29), (28, 30)]
    assert chunks(1, 29) == [(0, 1)]


def test_tiles_that_do_not_meet_are_refused():
    for fields in ({"tile_size": 520}, {"tile_size": 24}):
        section = SimpleNamespace(**{"tile": "yes", "tile_size": 0, "tile_frames": 0} | fields)
        with pytest.raises(ValueError, match=f"autoencoder.tile_size={fields['tile_size']}.*whole"):
            autoencoder_files.tiling(causal_vae.CausalArchitecture(), section)


def test_tiled_programs_hold_the_memory_of_one_tile():
    kernels = np.ones((2, 3, 3, 64, 64), np.float32)
    cut = Tiling(64, 0.125, 9, 3, 8).encoding

    def network(x):
        x = jnp.broadcast_to(x, (*x.shape[:-1], 64))[:, 0]
        for kernel in kernels:
            x = convolution.convolve(x, jnp.asarray(kernel), 0.0, (1, 1), [(1, 1), (1, 1)])  # type: ignore
        return x[:, None, ::8, ::8, :4]

    def memory(call, tiles):
        x = jax.ShapeDtypeStruct((1, 1, 64 + tiles * 56, 64, 1), jnp.float32)
        return jax.jit(call).lower(x).compile().memory_analysis().temp_size_in_bytes

    few, many = (memory(lambda x: tiled(network, x, cut), tiles) for tiles in (3, 12))
    assert many < 1.1 * few
    assert memory(network, 12) > 2 * many
