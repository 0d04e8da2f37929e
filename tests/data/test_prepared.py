"""Datasets of TensorFlow Datasets; all but the first test need that package."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import common
from data_pipelines import make_loader
from data_pipelines.prepared import PreparedDataset
from data_pipelines.text import NULL_FILE, write_null


def test_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ValueError, match=r"requirements-tfds\.txt"):
        PreparedDataset(str(tmp_path))


def prepare(folder, features, records):
    """Writes `records` as a prepared dataset and returns the folder of its version."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "prepared"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(features(tfds.features))
            )

        def _split_generators(self, dl_manager):
            return {"train": enumerate(records)}

        def _generate_examples(self):
            raise AssertionError("the split is given as an iterator")

    builder = Builder(data_dir=str(folder), file_format="array_record")
    builder.download_and_prepare()
    return str(builder.data_path)


def test_latents_and_labels_come_back(tmp_path):
    x = np.random.default_rng(0).normal(size=(7, 4, 3, 5)).astype(np.float32)
    records = [{"x": x[i], "label": i % 3} for i in range(7)]
    path = prepare(
        tmp_path,
        lambda f: {"x": f.Tensor(shape=(4, 3, 5), dtype=np.float32), "label": f.ClassLabel(num_classes=3)},
        records,
    )
    source = PreparedDataset(path)
    assert (len(source), source.shape, source.classes) == (7, (4, 1, 3, 5), 3)
    read = np.stack([source[i]["x"][:, 0] for i in range(7)])
    order = [int(np.argmin(((x - one) ** 2).sum(axis=(1, 2, 3)))) for one in read]  # files are shuffled once
    assert sorted(order) == list(range(7))
    np.testing.assert_array_equal(read, x[order])
    assert [int(source[i]["label"]) for i in range(7)] == [i % 3 for i in order]

    data = common.get_config().data
    data.update(dict(name="tfds", path=path, frames=1, height=3, width=5, batch=4))
    batch = next(make_loader(data, seed=0, classes=3))
    np.testing.assert_array_equal(batch["x"][:, :, 0], read[batch["index"]])


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_texts_keep_their_lengths(tmp_path, dtype):
    texts = [np.full((1 + i, 6), i + 1, dtype) for i in range(4)]
    path = prepare(
        tmp_path,
        lambda f: {
            "x": f.Tensor(shape=(1, 2, 2), dtype=np.float32),
            "text": f.Tensor(shape=(None, 6), dtype=dtype),
        },
        [{"x": np.full((1, 2, 2), i, np.float32), "text": text} for i, text in enumerate(texts)],
    )
    write_null(Path(path) / NULL_FILE, np.ones((3, 6), np.float32), np.array([1, 0, 0]))
    source = PreparedDataset(path)
    assert (source.text.dim, source.text.longest, source.text.null.shape) == (6, None, (1, 6))
    for sample in (source[i] for i in range(4)):
        np.testing.assert_array_equal(sample["text"], texts[int(sample["x"][0, 0, 0, 0])])
        assert sample["text"].dtype == dtype


def test_images_become_the_unit_interval(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    record = {"image": str(tmp_path / "a.png")}
    path = prepare(tmp_path, lambda f: {"image": f.Image(shape=(3, 5, 3))}, [record])
    source = PreparedDataset(path)
    assert (source.shape, source.classes) == ((3, 1, 3, 5), None)
    np.testing.assert_allclose(source[0]["x"][:, 0], image.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)


def test_wrong_datasets_are_refused(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(ValueError, match=r"data\.path.*dataset_info\.json"):
        PreparedDataset(str(tmp_path))
    path = prepare(tmp_path / "texts", lambda f: {"text": f.Text()}, [{"text": "a"}])
    with pytest.raises(ValueError, match="needs a feature 'x', 'image' or 'video'"):
        PreparedDataset(path)
    path = prepare(
        tmp_path / "pooled",
        lambda f: {
            "x": f.Tensor(shape=(1, 2, 2), dtype=np.float32),
            "text": f.Tensor(shape=(6,), dtype=np.float32),
        },
        [{"x": np.zeros((1, 2, 2), np.float32), "text": np.zeros(6, np.float32)}],
    )
    with pytest.raises(ValueError, match=r"feature 'text' is .*must be a Tensor of shape \(None, E\)"):
        PreparedDataset(path)
    path = prepare(
        tmp_path / "scores",
        lambda f: {"x": f.Tensor(shape=(1, 2, 2), dtype=np.float32), "label": f.Scalar(dtype=np.int64)},
        [{"x": np.zeros((1, 2, 2), np.float32), "label": 1}],
    )
    with pytest.raises(ValueError, match="must be a ClassLabel"):
        PreparedDataset(path)


def test_pixels_of_another_dtype_are_refused(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    image = np.full((3, 5, 3), 0.5, np.float32)
    path = prepare(
        tmp_path / "float",
        lambda f: {"image": f.Tensor(shape=(3, 5, 3), dtype=np.float32)},
        [{"image": image}],
    )
    with pytest.raises(
        ValueError, match=r"feature 'image' has dtype float32, must be uint8 \(pixels 0\.\.255\)"
    ):
        PreparedDataset(path)
    x = np.arange(60, dtype=np.int32).reshape(3, 4, 5)
    path = prepare(tmp_path / "int", lambda f: {"x": f.Tensor(shape=(3, 4, 5), dtype=np.int32)}, [{"x": x}])
    with pytest.raises(ValueError, match=r"'x' has dtype int32, must be a float \(taken as it is\) or uint8"):
        PreparedDataset(path)
    path = prepare(
        tmp_path / "uint8",
        lambda f: {"x": f.Tensor(shape=(3, 4, 5), dtype=np.uint8)},
        [{"x": x.astype(np.uint8)}],
    )
    np.testing.assert_allclose(PreparedDataset(path)[0]["x"][:, 0], x / 127.5 - 1, atol=1e-6)


def test_damaged_datasets_are_named(tmp_path):
    path = Path(
        prepare(
            tmp_path,
            lambda f: {"x": f.Tensor(shape=(1, 2, 2), dtype=np.float32)},
            [{"x": np.zeros((1, 2, 2), np.float32)}] * 3,
        )
    )
    for name in ("dataset_info.json", "features.json"):
        good = (path / name).read_bytes()
        for content in (b"", good[: len(good) // 2], b"\xff" + good):
            (path / name).write_bytes(content)
            with pytest.raises(ValueError, match=re.escape(f"data.path = '{path}': ")) as caught:
                PreparedDataset(str(path))
            assert "\n" not in str(caught.value)
        (path / name).write_bytes(good)
    features = (path / "features.json").read_text()
    (path / "features.json").write_text(features.replace('"2"', '"3"'))  # not what the records hold
    with pytest.raises(ValueError, match=re.escape(f"data.path = '{path}': record 1: ")):
        PreparedDataset(str(path))[1]
    (path / "features.json").write_text(features)
    (records,) = path.glob("*array_record*")
    records.write_bytes(records.read_bytes()[:70_000])
    with pytest.raises(ValueError, match=r"array_record-00000-of-00001: record 2: the file has 0 records"):
        PreparedDataset(str(path))[2]
