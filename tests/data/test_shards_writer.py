"""Shards as they are written and read back: records, index, damage, encoders."""

import json
import os

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import load

from data_pipelines.shards.dataset import ShardedDataset
from data_pipelines.shards.index import check_encoders, read_index, write_index
from data_pipelines.shards.record import pack, unpack
from data_pipelines.shards.writer import ShardWriter
from data_pipelines.text import caption_of, write_null

SHAPES = ((2, 1, 4, 6), (2, 1, 6, 4))


def record(number, shape, *, text=True):
    rng = np.random.default_rng(number)
    channels, *size = shape
    fields = {"moments": rng.standard_normal((2 * channels, *size)).astype(np.float32)}
    if text:
        fields["text"] = rng.standard_normal((1 + number % 4, 3)).astype(np.float32)
    return fields | {
        "label": number % 5,
        "caption": f"number {number}: ü",
        "key": f"{number:05d}",
        "size": (7, 9),
    }


def write(folder, counts=(5, 7, 3), *, text=True, facts=None):
    """A folder of shards; shard i has the shape i mod 2. Returns the records, by number."""
    entries, written = [], {}
    for shard, count in enumerate(counts):
        shape = SHAPES[shard % 2]
        with ShardWriter(folder / f"{shard:03d}.array_record", shape=shape) as writer:
            for place in range(count):
                fields = record(100 * shard + place, shape, text=text)
                written.setdefault(shape, []).append(fields)
                writer.write(fields)
        entries.append(writer.entry)
    if text:
        write_null(folder / "null_text.npz", np.ones((2, 3), np.float32), np.array([True, False]))
    write_index(folder, entries, {"scale": 0.5, "shift": 0.25} | (facts or {}))
    return [fields for shape in SHAPES for fields in written.get(shape, [])]


def half(array):
    return array.astype(ml_dtypes.bfloat16).astype(np.float32)


def test_records_are_safetensors_that_other_readers_read():
    fields = record(3, SHAPES[0])
    content = pack(fields)
    read, ours = load(content), unpack(content)
    assert read["moments"].dtype == torch.bfloat16
    for name in ("moments", "text"):
        np.testing.assert_array_equal(read[name].float().numpy(), half(fields[name]))
        np.testing.assert_array_equal(
            ours[name].view(ml_dtypes.bfloat16).astype(np.float32), half(fields[name])
        )
    assert bytes(read["caption"].numpy()).decode() == fields["caption"]
    assert (int(read["label"]), tuple(read["size"].tolist())) == (3, (7, 9))


def test_what_was_written_is_read(tmp_path):
    written = write(tmp_path)
    source = ShardedDataset(str(tmp_path))
    assert len(source) == len(written) == 15
    assert source.buckets == [(SHAPES[0], 0, 8), (SHAPES[1], 8, 7)]
    assert source.shape == SHAPES[0]
    assert (source.classes, source.text.dim, source.text.longest) == (5, 3, 4)
    np.testing.assert_array_equal(source.text.null, np.ones((1, 3)))
    for number, fields in enumerate(written):
        got = source[number]
        np.testing.assert_allclose(got["x"], (half(fields["moments"][:2]) - 0.25) * 0.5, rtol=1e-6)
        np.testing.assert_array_equal(
            got["text"].view(ml_dtypes.bfloat16).astype(np.float32), half(fields["text"])
        )
        assert (got["label"], caption_of(got)) == (fields["label"], fields["caption"])
    source.verify()


def test_records_read_together_are_those_read_alone(tmp_path):
    write(tmp_path)
    source = ShardedDataset(str(tmp_path))
    numbers = [7, 0, 4, 6, 0]
    batch = source.read(numbers)
    for turn, number in enumerate(numbers):
        for name, value in source[number].items():
            np.testing.assert_array_equal(batch[name][turn], value)


def test_latents_are_drawn_from_the_posterior(tmp_path):
    written = write(tmp_path)
    source = ShardedDataset(str(tmp_path))
    noise = np.random.default_rng(0).standard_normal((3, *SHAPES[0])).astype(np.float32)

    def draw(turn, out):
        out[:] = noise[turn]

    x = source.read([0, 5, 2], draw)["x"]
    for turn, number in enumerate((0, 5, 2)):
        mean, logvar = np.split(half(written[number]["moments"]), 2)
        wanted = (mean + np.exp(logvar / 2) * noise[turn] - 0.25) * 0.5
        np.testing.assert_allclose(x[turn], wanted, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"moments": np.zeros((3, 1, 4, 6))}, r"'moments' has shape \(3, 1, 4, 6\), must be \(2C, F, H, W\)"),
        ({"moments": np.zeros((4, 1, 6, 4))}, r"'moments' has shape \(4, 1, 6, 4\), must be 2C and those of"),
        ({"moments": np.full((4, 1, 4, 6), np.nan)}, "'moments' has values that are not finite"),
        ({"moments": np.zeros((4, 1, 4, 6), int)}, "'moments' has dtype int64"),
        ({"text": np.zeros((0, 3))}, r"'text' has shape \(0, 3\)"),
        ({"text": np.zeros((2, 4))}, "'text' has 4 features, that of the records before 3"),
        ({"text": None}, "a record has label, caption, those before have text, label, caption"),
        ({"label": -1}, "'label' is -1"),
        ({"colour": 1}, "colour: must be of moments"),
    ],
)
def test_records_that_do_not_fit_are_refused_and_leave_the_shard_whole(tmp_path, change, message):
    with ShardWriter(tmp_path / "0.array_record", shape=SHAPES[0]) as writer:
        writer.write(record(0, SHAPES[0]))
        with pytest.raises(ValueError, match=message):
            writer.write(record(1, SHAPES[0]) | change)
        writer.write(record(2, SHAPES[0]))
    write_index(tmp_path, [writer.entry], {})
    assert [sample["label"] for sample in map(ShardedDataset(str(tmp_path)).__getitem__, range(2))] == [0, 2]


def test_a_shard_that_was_not_finished_is_absent(tmp_path):
    with (
        pytest.raises(ValueError, match="'label' is -1"),
        ShardWriter(tmp_path / "0.array_record", shape=SHAPES[0]) as writer,
    ):
        writer.write(record(0, SHAPES[0]) | {"label": -1})
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(ValueError, match=r"0\.array_record: a shard must have a record"),
        ShardWriter(tmp_path / "0.array_record", shape=SHAPES[0]),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_folders_without_an_index_or_with_another_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"data\.path = .*must be an existing folder of shards"):
        ShardedDataset(str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"index\.json: does not exist"):
        ShardedDataset(str(tmp_path))
    write(tmp_path)
    content = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").unlink()
    with pytest.raises(ValueError, match="run the same encode command again"):
        ShardedDataset(str(tmp_path))
    for change, message in (
        ({"version": 2}, "has version 2, must be 1"),
        ({"records": 3}, "says 3 records, its shards have 15"),
        ({"shards": []}, "has no shards"),
        ({"shards": [content["shards"][0] | {"file": "../0"}]}, "not in its folder"),
        ({"shards": [content["shards"][0] | {"colour": 1}]}, "index.json: .*colour"),
    ):
        (tmp_path / "index.json").write_text(json.dumps(content | change))
        with pytest.raises(ValueError, match=message):
            ShardedDataset(str(tmp_path))
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(ValueError, match=r"index\.json: Expecting"):
        ShardedDataset(str(tmp_path))


def test_shards_lost_or_cut_are_named_at_the_start(tmp_path):
    write(tmp_path)
    path = tmp_path / "001.array_record"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"001\.array_record: has \d+ bytes, index\.json says"):
        ShardedDataset(str(tmp_path))
    path.unlink()
    with pytest.raises(ValueError, match=r"001\.array_record: does not exist"):
        ShardedDataset(str(tmp_path))


@pytest.mark.parametrize("damage", ["lost", "cut", "cut while open", "flipped"])
def test_a_shard_lost_later_is_one_error_with_its_name(tmp_path, damage):
    write(tmp_path, counts=(400, 3))
    source = ShardedDataset(str(tmp_path))
    path = tmp_path / "000.array_record"
    if damage == "cut while open":
        source.read([0, 1])
    content = bytearray(path.read_bytes())
    if damage == "lost":
        path.unlink()
    elif damage == "flipped":
        start = content.rfind(b"number 399: ")
        content[start] ^= 16
        path.write_bytes(content)
    else:
        os.truncate(path, len(content) // 2)
    with pytest.raises(ValueError, match=r"000\.array_record: records 2 to 399: ") as caught:
        source.read([2, 399])
    assert "\n" not in str(caught.value)


def test_checksums_tell_of_a_change_that_no_record_shows(tmp_path):
    write(tmp_path)
    source = ShardedDataset(str(tmp_path))
    path = tmp_path / "002.array_record"
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"002\.array_record: is damaged: its checksum"):
        source.verify()


def test_shards_of_other_encoders_are_refused(tmp_path):
    write(tmp_path, facts={"text_encoder": "a" * 64, "autoencoder": ""})
    index = read_index(tmp_path)
    check_encoders(index)
    check_encoders(index, text="a" * 64)
    with pytest.raises(
        ValueError, match=r"config\.text_encoder\.path.*bbbbbbbbbbbb\.\.\..*aaaaaaaaaaaa"
    ) as caught:
        check_encoders(index, text="b" * 64)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"config\.autoencoder\.path.*made without one"):
        check_encoders(index, text="a" * 64, autoencoder="c" * 64)


def test_shards_that_do_not_go_together_have_no_index(tmp_path):
    write(tmp_path)
    entries = json.loads((tmp_path / "index.json").read_text())["shards"]
    for change, message in (
        ({"text_dim": 4}, "shards differ in text_dim: 3, 4"),
        ({"classes": None}, "shards differ in labels"),
        ({"shape": [3, 1, 4, 6]}, "shards differ in channels: 2, 3"),
        ({"file": entries[1]["file"]}, "names a file twice"),
    ):
        with pytest.raises(ValueError, match=message):
            write_index(tmp_path, [entries[0] | change, *entries[1:]], {})
