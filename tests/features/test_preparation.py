"""Pictures are prepared as by transformers' image processors on Pillow."""

import numpy as np
import pytest
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ptdit_jax.features import preparation
from tests.features import towers


def images(height, width, count=2):
    """uint8, smooth and rough."""
    rng = np.random.default_rng(height)
    smooth = np.linspace(0, 255, height * width * 3).reshape(height, width, 3)
    noise = rng.integers(0, 256, (count, height, width, 3))
    return np.concatenate([noise, smooth[None]]).astype(np.uint8)


def theirs(processor, shown):
    """(N, h, w, 3) float32."""
    made = processor(list(shown), return_tensors="np", input_data_format="channels_last")["pixel_values"]
    return np.asarray(made).transpose(0, 2, 3, 1)


def check(folder, processor, shown):
    found = preparation.read(folder)(shown)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, theirs(processor, shown))


@pytest.mark.parametrize("size", [(24, 24), (31, 50), (53, 17), (7, 9), (24, 61), (100, 25)])
@pytest.mark.parametrize(
    "fields", [{}, {"size": {"shortest_edge": 29}, "crop_size": {"height": 22, "width": 23}}]
)
def test_odd_sizes_are_resized_and_cropped_as_transformers_does(tmp_path, size, fields):
    towers.write_preparation(tmp_path, 24, **fields)
    check(tmp_path, CLIPImageProcessorPil.from_pretrained(tmp_path), images(*size))


@pytest.mark.parametrize(
    "fields",
    [
        {"resample": 2, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
        {"size": {"height": 21, "width": 30}, "do_center_crop": False},
        {"do_center_crop": False},
        {"do_resize": False},
        {"do_normalize": False},
        {"do_rescale": False, "do_normalize": False},
        {"do_rescale": False},
        {"rescale_factor": 1 / 127.5, "image_processor_type": "BitImageProcessorFast"},
    ],
)
def test_every_field_is_obeyed(tmp_path, fields):
    towers.write_preparation(tmp_path, 20, "BitImageProcessor", **fields)
    check(tmp_path, BitImageProcessorPil.from_pretrained(tmp_path), images(33, 26))


def test_a_file_without_fields_is_clips(tmp_path):
    towers.write(tmp_path / "preprocessor_config.json", {})
    found = preparation.read(tmp_path)
    assert found == preparation.Preparation()
    np.testing.assert_array_equal(found(images(230, 300)), theirs(CLIPImageProcessorPil(), images(230, 300)))


def test_what_transformers_saves_is_read(tmp_path):
    """Also within processor_config.json, where newer versions have it."""
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 26}, crop_size={"height": 25, "width": 24}, resample=1
    )
    processor.save_pretrained(tmp_path)
    check(tmp_path, processor, images(33, 40))
    (tmp_path / "preprocessor_config.json").unlink()
    whole = {"image_processor": processor.to_dict(), "processor_class": "CLIPProcessor"}
    towers.write(tmp_path / "processor_config.json", {key: value for key, value in whole.items() if value})
    check(tmp_path, processor, images(33, 40))


def test_no_pictures_are_none(tmp_path):
    towers.write_preparation(tmp_path, 20)
    assert preparation.read(tmp_path)(images(33, 26)[:0]).shape == (0, 20, 20, 3)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {"image_processor_type": "ViTImageProcessor"},
            "image_processor_type is 'ViTImageProcessor' and must be 'CLIP",
        ),
        (
            {"size": {"longest_edge": 30}},
            r"size is {'longest_edge': 30} and must be pixels of the shortest_edge, or",
        ),
        ({"size": 0}, "size is 0 and must be pixels"),
        (
            {"crop_size": {"shortest_edge": 30}},
            r"crop_size is {'shortest_edge': 30} and must be height and width",
        ),
        ({"resample": 6}, "resample is 6 and must be a filter of Pillow, 0 to 5"),
        ({"image_mean": [0.5]}, r"image_mean is \[0.5\] and must be 3 numbers, of red, green and blue"),
        ({"image_std": [0.5, 0, 1]}, r"image_std is \[0.5, 0, 1\] and must be 3 numbers above 0"),
        ({"do_resize": 1}, "do_resize is 1 and must be true or false"),
        ({"do_pad": True}, "do_pad is True and must be false"),
        ({"rescale_factor": -1}, "rescale_factor is -1 and must be a number above 0"),
    ],
)
def test_a_wrong_field_is_a_line(tmp_path, fields, line):
    towers.write_preparation(tmp_path, 20, **fields)
    with pytest.raises(ValueError, match=f"preprocessor_config.json: {line}"):
        preparation.read(tmp_path)


def test_wrong_pictures_are_a_line(tmp_path):
    towers.write_preparation(tmp_path, 20, do_resize=False)
    prepare = preparation.read(tmp_path)
    with pytest.raises(
        ValueError, match=r"images are float32 \(3, 33, 26, 3\); they must be uint8 \(N, H, W, 3\)"
    ):
        prepare(images(33, 26).astype(np.float32))
    with pytest.raises(ValueError, match=r"images of 19x26 pixels are smaller than the crop, 20x20"):
        prepare(images(19, 26))
