"""DINOv2 equals transformers' on random weights in the published layout, and in that of its version 5."""

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from torch.nn import functional

from ptdit_jax.features import dinov2
from tests.features import towers

NEAR = {"rtol": 1e-4, "atol": 1e-4}
GIANT = {"use_swiglu_ffn": True, "mlp_ratio": 3, "qkv_bias": False}


def folder_of(network, folder, **options):
    """A folder whose pictures are of another size than its positions, as published ones."""
    return towers.save(network, folder, 20, kind="BitImageProcessor", **options)


def shown(height, width):
    return np.random.default_rng(height).normal(size=(2, height, width, 3)).astype(np.float32)


def check(network, ours, pixels):
    with torch.no_grad():
        wanted = network(torch.from_numpy(pixels.transpose(0, 3, 1, 2))).pooler_output.numpy()
    found = ours.features(pixels)
    np.testing.assert_allclose(found, wanted, **NEAR)
    assert found.shape == (2, 24)
    assert found.dtype == np.float32
    assert np.abs(wanted[0] - wanted[1]).max() > 0.1


@pytest.fixture(scope="module")
def network():
    """transformers'."""
    return towers.dinov2()


@pytest.fixture(scope="module")
def loaded(network, tmp_path_factory):
    """Ours, of its folder."""
    return dinov2.load(folder_of(network, tmp_path_factory.mktemp("dinov2") / "dinov2"))


@pytest.mark.parametrize(("height", "width"), [(35, 35), (20, 20), (47, 32)])
def test_features_are_those_of_transformers(network, loaded, height, width):
    """Of the size that there are positions for, of a smaller one, and of one that is no square nor made of patches."""
    check(network, loaded[0], shown(height, width))


def test_the_giant_network_has_swiglu(tmp_path):
    network = towers.dinov2(**GIANT)
    ours, digest = dinov2.load(folder_of(network, tmp_path / "published"))
    names = safetensors.torch.load_file(tmp_path / "published" / "model.safetensors")
    assert "encoder.layer.1.mlp.weights_in.weight" in names
    assert "encoder.layer.1.attention.attention.query.weight" in names
    check(network, ours, shown(20, 20))
    folder = folder_of(network, tmp_path / "recent", pickled=True)
    assert "encoder.layer.1.mlp.gate_proj.weight" in torch.load(folder / "pytorch_model.bin")
    other, same = dinov2.load(folder)
    assert same == digest
    np.testing.assert_array_equal(other.features(shown(20, 20)), ours.features(shown(20, 20)))


def test_a_bin_has_the_same_digest(network, loaded, tmp_path):
    assert dinov2.load(folder_of(network, tmp_path / "dinov2", pickled=True))[1] == loaded[1]
    towers.write_preparation(tmp_path / "dinov2", 25, "BitImageProcessor")
    assert dinov2.load(tmp_path / "dinov2")[1] != loaded[1]


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {
            "hidden_size": 1536,
            "num_hidden_layers": 40,
            "num_attention_heads": 24,
            "use_swiglu_ffn": True,
            "image_size": 518,
        },
    ],
)
def test_defaults_and_published_sizes_are_those_of_transformers(tmp_path, facts):
    towers.write(tmp_path / "config.json", {"model_type": "dinov2"} | facts)
    arch = dinov2.read_architecture(dinov2.folders.config(tmp_path, "dinov2"))
    config = transformers.Dinov2Config(**facts)
    with torch.device("meta"):
        wanted = {name: tuple(it.shape) for name, it in transformers.Dinov2Model(config).state_dict().items()}
    assert wanted.pop("embeddings.mask_token") == (1, arch.blocks.width)
    assert dinov2.shapes(arch, recent=True) == wanted
    assert arch.blocks.epsilon == config.layer_norm_eps
    assert (arch.blocks.activation, arch.blocks.heads) == (config.hidden_act, config.num_attention_heads)


def test_pictures_are_prepared_as_the_folder_says(loaded):
    images = np.random.default_rng(0).integers(0, 256, (2, 30, 41, 3)).astype(np.uint8)
    found = loaded[0].of_images(images)
    np.testing.assert_array_equal(found, loaded[0].features(loaded[0].prepare(images)))
    assert loaded[0].prepare(images).shape == (2, 20, 20, 3)


@pytest.mark.parametrize(("size", "wanted"), [(37, 16), (16, 37), (5, 5), (1, 4)])
def test_the_resize_of_positions_is_pytorchs(size, wanted):
    line = np.random.default_rng(size).normal(size=(1, 1, size, size))
    matrix = dinov2.cubic(size, wanted)
    made = functional.interpolate(
        torch.from_numpy(line), (wanted, wanted), mode="bicubic", align_corners=False
    )
    np.testing.assert_allclose(matrix @ line[0, 0] @ matrix.T, made[0, 0], atol=1e-6)


@pytest.mark.parametrize(("size", "wanted"), [(37, 16), (7, 4)])
def test_the_resize_of_the_paper_is_pytorchs_by_a_factor(size, wanted):
    line = np.random.default_rng(size).normal(size=(1, 1, size, size))
    factor = (wanted + 0.1) / size
    made = functional.interpolate(
        torch.from_numpy(line), scale_factor=(factor, factor), mode="bicubic", align_corners=False
    )
    matrix = dinov2.cubic(size, wanted, 0.1)
    np.testing.assert_allclose(matrix @ line[0, 0] @ matrix.T, made[0, 0], atol=1e-6)
    assert np.abs(matrix - dinov2.cubic(size, wanted)).max() > 1e-3


def test_features_as_the_paper_are_of_its_positions_and_pictures(network, loaded, tmp_path):
    """Those of a network of transformers that has the resized positions for its own."""
    folder = folder_of(network, tmp_path / "dinov2")
    (folder / "preprocessor_config.json").unlink()
    ours, digest = dinov2.load(folder, as_paper=True)
    assert digest != loaded[1]
    images = np.random.default_rng(0).integers(0, 256, (2, 90, 61, 3)).astype(np.uint8)
    pixels = ours.prepare(images)
    assert pixels.shape == (2, 224, 224, 3)
    assert np.abs(pixels.mean()) < 0.3  # of noise around 127.5
    small = pixels[:, :20, :20]
    other, state = towers.dinov2(image_size=20), network.state_dict()
    position = state["embeddings.position_embeddings"]
    grid = position[:, 1:].reshape(1, 7, 7, -1).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, scale_factor=(4.1 / 7, 4.1 / 7), mode="bicubic", align_corners=False)
    position = torch.cat([position[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
    other.load_state_dict(state | {"embeddings.position_embeddings": position})
    check(other, ours, small)
    assert np.abs(ours.features(small) - loaded[0].features(small)).max() > 1e-2


# --- errors


@pytest.mark.parametrize(
    ("name", "shape", "line"),
    [
        ("layernorm.bias", None, r"lacks layernorm.bias of shape \(24,\), which its config.json asks for"),
        (
            "embeddings.position_embeddings",
            (1, 17, 24),
            r"embeddings.position_embeddings has shape \(1, 17, 24\), its config.json asks for \(1, 50, 24\)",
        ),
        (
            "encoder.layer.0.mlp.weights_in.bias",
            (4,),
            r"mlp.weights_in.bias has shape \(4,\), .* asks for \(96,\)",
        ),
        (
            "classifier.weight",
            (2, 48),
            "holds classifier.weight, of which the network of its config.json has none",
        ),
    ],
)
def test_a_wrong_tensor_is_a_line(tmp_path, name, shape, line):
    folder = folder_of(towers.dinov2(**GIANT), tmp_path / "dinov2")
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors.pop(name, None)
    more = {} if shape is None else {name: torch.zeros(shape)}
    safetensors.torch.save_file(tensors | more, folder / "model.safetensors")
    with pytest.raises(ValueError, match=line) as error:
        dinov2.load(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {"model_type": "dinov2_with_registers"},
            "model_type is 'dinov2_with_registers' and must be 'dinov2'",
        ),
        ({"patch_size": [5, 5]}, r"patch_size is \[5, 5\] and must be a whole number of 1 or more"),
        ({"patch_size": 36}, "patch_size is 36 and must be at most image_size=35"),
        ({"num_channels": 1}, "num_channels is 1 and must be 3"),
        ({"num_attention_heads": 7}, "num_attention_heads is 7 and must be a divisor of hidden_size=24"),
        ({"use_swiglu_ffn": "no"}, "use_swiglu_ffn is 'no' and must be true or false"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu' and must be 'quick_gelu' or 'gelu'"),
    ],
)
def test_a_wrong_config_is_a_line(tmp_path, fields, line):
    facts = towers.dinov2().config.to_dict()
    towers.write(tmp_path / "config.json", facts | fields)
    with pytest.raises(ValueError, match=line):
        dinov2.load(tmp_path)


def test_wrong_pixels_are_a_line(loaded):
    with pytest.raises(
        ValueError, match=r"pixels are \(2, 4, 20, 3\); DINOv2's must be \(N, 5 or more, 5 or more, 3\)"
    ):
        loaded[0].features(shown(4, 20))
