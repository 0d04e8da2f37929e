"""The user's own arrays: shards are read back exactly, wrong ones are refused by name."""

import mmap

import numpy as np
import pytest

from configs import common
from data_pipelines import make_loader
from data_pipelines.folders import ArrayFolder
from data_pipelines.text import NULL_FILE, write_null


def latents(count, seed, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=(count, 4, 2, 3, 5)).astype(dtype)


def backing(array):
    """The object that owns an array's memory."""
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return array


@pytest.mark.parametrize("layout", ["npz", "compressed", "npy"])
def test_records_of_all_shards_in_the_order_of_the_names(tmp_path, layout):
    xs, labels = [latents(5, 0), latents(3, 1)], [np.arange(5), np.array([9, 0, 2])]
    for name, x, label in zip("ab", xs, labels, strict=True):
        if layout == "npy":
            np.save(tmp_path / f"{name}.npy", x)
            np.save(tmp_path / f"{name}.label.npy", label)
        else:
            save = np.savez if layout == "npz" else np.savez_compressed
            save(tmp_path / f"{name}.npz", x=x, label=label)
    source = ArrayFolder(str(tmp_path))
    assert len(source) == 8
    assert source.shape == (4, 2, 3, 5)
    assert source.classes == 10
    for record, (x, label) in enumerate(zip(np.concatenate(xs), np.concatenate(labels), strict=True)):
        np.testing.assert_array_equal(source[record]["x"], x)
        assert source[record]["label"] == label
        assert source[record]["label"].dtype == np.int32
    assert isinstance(backing(source._shards[0].x.open()), mmap.mmap) == (layout != "compressed")


@pytest.mark.parametrize("layout", ["npz", "npy"])
def test_text_of_every_record_and_of_the_empty_caption(tmp_path, layout):
    lengths = [np.array([3, 1, 4]), np.array([2])]
    texts = [np.random.default_rng(seed).normal(size=(sum(n), 6)) for seed, n in enumerate(lengths)]
    texts = [text.astype(np.float16) for text in texts]
    for name, text, length in zip("ab", texts, lengths, strict=True):
        arrays = {"x": latents(len(length), 0), "text": text, "text_length": length}
        if layout == "npz":
            np.savez(tmp_path / f"{name}.npz", **arrays)
        else:
            for part, array in arrays.items():
                np.save(tmp_path / (f"{name}.npy" if part == "x" else f"{name}.{part}.npy"), array)
    source = ArrayFolder(str(tmp_path))
    assert (len(source), source.classes, source.text.dim, source.text.longest) == (4, None, 6, 4)
    assert source.text.null is None
    starts = np.cumsum([0, 3, 1, 4, 2])
    for record, states in enumerate(np.split(np.concatenate(texts), starts[1:-1])):
        np.testing.assert_array_equal(source[record]["text"], states)
    assert isinstance(backing(source._shards[0].text.open()), mmap.mmap)
    assert not isinstance(backing(source[0]["text"]), mmap.mmap)  # which would keep the file open
    write_null(tmp_path / NULL_FILE, texts[0][:2], np.array([True, False]))
    source = ArrayFolder(str(tmp_path))
    assert len(source) == 4
    np.testing.assert_array_equal(source.text.null, texts[0][:1])


def test_uint8_becomes_the_unit_interval_and_images_get_a_frame_axis(tmp_path):
    x = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    x[0, 0, 0, :2] = 0, 255
    np.savez(tmp_path / "a.npz", x=x)
    source = ArrayFolder(str(tmp_path))
    assert source.shape == (3, 1, 4, 5)
    assert source.classes is None
    sample = source[0]
    assert "label" not in sample
    np.testing.assert_allclose(sample["x"][:, 0], x[0] / 127.5 - 1, atol=1e-6)
    assert sample["x"][0, 0, 0, 0] == -1
    assert sample["x"][0, 0, 0, 1] == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_floats_are_taken_as_they_are_in_float32(tmp_path, dtype):
    x = np.asfortranarray(latents(2, 0, dtype))
    np.savez(tmp_path / "a.npz", x=x)
    sample = ArrayFolder(str(tmp_path))[1]
    assert sample["x"].dtype == np.float32
    np.testing.assert_array_equal(sample["x"], x[1].astype(np.float32))


def test_loader_reads_a_folder(tmp_path):
    x = latents(6, 0)
    np.savez(tmp_path / "a.npz", x=x)
    data = common.get_config().data
    data.update(dict(name="arrays", path=str(tmp_path), frames=2, height=3, width=5, batch=4))
    batch = next(make_loader(data, seed=0))
    np.testing.assert_array_equal(batch["x"], x[batch["index"]])
    with pytest.raises(ValueError, match="no labels"):
        make_loader(data, seed=0, classes=10)
    data.frames = 1
    with pytest.raises(ValueError, match=r"data\.frames.*\(1, 3, 5\).*\(2, 3, 5\)"):
        make_loader(data, seed=0)


def test_missing_or_empty_folders(tmp_path):
    for path in ("", str(tmp_path / "none")):
        with pytest.raises(ValueError, match=r"data\.path = .*existing folder"):
            ArrayFolder(path)
    with pytest.raises(ValueError, match=r"no \.npz or \.npy file"):
        ArrayFolder(str(tmp_path))
    np.savez(tmp_path / "a.npz", x=latents(0, 0))
    with pytest.raises(ValueError, match="no records"):
        ArrayFolder(str(tmp_path))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"y": np.zeros(3)}, r"b\.npz: lacks x; it has y"),
        ({"x": np.zeros((2, 3, 5)), "label": np.zeros(2, int)}, r"b\.npz.*\(2, 3, 5\).*\(n, C, F, H, W\)"),
        ({"x": np.zeros((2, 4, 2, 3, 5), int), "label": np.zeros(2, int)}, r"b\.npz.*int64"),
        ({"x": latents(2, 0), "label": np.zeros(3, int)}, r"b\.npz.*'label'.*\(2,\)"),
        ({"x": latents(2, 0), "label": np.zeros(2)}, r"b\.npz.*'label'.*float64"),
        ({"x": latents(2, 0), "label": np.array([0, -1])}, r"b\.npz.*'label'.*\[-1, 0\]"),
        ({"x": latents(2, 0)}, r"b\.npz has no labels"),
        (
            {"x": latents(2, 0)[..., :4], "label": np.zeros(2, int)},
            r"b\.npz have shape \(4, 2, 3, 4\).*a\.npz",
        ),
        ({"x": np.array([object()])}, r"b\.npz.*objects"),
    ],
)
def test_wrong_shards_are_named(tmp_path, second, message):
    np.savez(tmp_path / "a.npz", x=latents(2, 0), label=np.zeros(2, int))
    np.savez(tmp_path / "b.npz", **second)
    with pytest.raises(ValueError, match=message):
        ArrayFolder(str(tmp_path))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({}, r"b\.npz has no text while other files have"),
        ({"text": np.zeros((4, 6), np.float32)}, r"b\.npz: has 'text' but no 'text_length'"),
        ({"text": np.zeros((4, 6)), "text_length": [2, 2]}, r"b\.npz: 'text' has dtype float64"),
        ({"text": np.zeros((4, 6), np.float16), "text_length": [2, 1]}, r"has the sum 3, 'text' 4 states"),
        (
            {
                "text": np.zeros((4, 6), np.float16),
                "text_length": np.array([2**63 + 2, 2**63 + 2], np.uint64),
            },
            "the sum",
        ),
        ({"text": np.zeros((4, 6), np.float16), "text_length": [4, 0]}, r"'text_length' has 0, must be 1"),
        ({"text": np.zeros((4, 6), np.float16), "text_length": [4]}, r"'text_length' is int64 \(1,\)"),
        ({"text": np.zeros((2, 2, 6), np.float16), "text_length": [2, 2]}, r"'text' has shape \(2, 2, 6\)"),
        ({"text": np.zeros((4, 7), np.float16), "text_length": [2, 2]}, r"b\.npz has 7 features.*a\.npz 6"),
    ],
)
def test_wrong_text_is_named(tmp_path, second, message):
    np.savez(tmp_path / "a.npz", x=latents(1, 0), text=np.zeros((3, 6), np.float32), text_length=[3])
    np.savez(tmp_path / "b.npz", x=latents(2, 0), **second)
    with pytest.raises(ValueError, match=message):
        ArrayFolder(str(tmp_path))


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_broken_files_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"not an array")
    with pytest.raises(ValueError, match=name):
        ArrayFolder(str(tmp_path))


def test_truncated_file_is_named(tmp_path):
    np.save(tmp_path / "a.npy", latents(9, 0))
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:-100])
    with pytest.raises(ValueError, match=r"a\.npy"):
        ArrayFolder(str(tmp_path))
