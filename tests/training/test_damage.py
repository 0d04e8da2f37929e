"""Checkpoints that were whole once: every file of one, damaged in every way, and what is said of it."""

import hashlib
import json
import shutil

import jax
import numpy as np
import pytest

from ptdit_jax.training import checkpoint, checksums, integrity
from tests.training.test_checkpoint import CONFIG, abstract, assert_equal, make_state, progress

UNREAD = {"_CHECKPOINT_METADATA", "commit_success.txt"}
"""Files of a step that say when it was written."""


WIDTH = 40  # its arrays lie in files of their own, not in the library's tables, which it checks itself


def flip(content):
    """With a bit in the middle changed; of JSON one of its quotes there, so that the rest is no JSON."""
    place = len(content) // 2
    if content.startswith(b"{"):
        place = content.index(b'"', place)
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


DAMAGES = {
    "removed": lambda file: file.unlink(),
    "emptied": lambda file: file.write_bytes(b""),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "flipped": lambda file: file.write_bytes(flip(file.read_bytes())),
}
HOW = {
    "removed": "is missing",
    "emptied": "has no bytes",
    "truncated": "bytes, not ",
    "flipped": "has other bytes than were written",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """`checkpoints` of a run with the steps 10, 15 and 20; to be copied."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    with checkpoint.Checkpoints(folder, keep=0) as checkpoints:
        for number in (10, 15, 20):
            checkpoints.save(make_state(seed=number, width=WIDTH), progress(number), CONFIG)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of it."""
    return shutil.copytree(saved, tmp_path / "run" / "checkpoints")


@pytest.fixture
def damaged(folder):
    """A function: damage a file of step 20 while a block lasts; and the files there are."""

    class Damaged:
        names = sorted(
            path.relative_to(folder / "20").as_posix()
            for path in (folder / "20").rglob("*")
            if path.is_file()
        )

        def __init__(self, name, damage):
            self.file, self.damage = folder / "20" / name, damage

        def __enter__(self):
            self.before = self.file.read_bytes()
            self.damage(self.file)

        def __exit__(self, *_):
            self.file.write_bytes(self.before)

    return Damaged


def newest(folder, on_damage="stop"):
    return integrity.newest_whole(folder, on_damage=on_damage)


def assert_restores(folder, step):
    with checkpoint.Checkpoints(folder, keep=0) as checkpoints:
        restored, where = checkpoints.restore(abstract(make_state(width=WIDTH)))
    assert where == progress(step)
    assert_equal(restored, make_state(seed=step, width=WIDTH))


def test_every_file_of_a_step_has_a_checksum(saved, damaged):
    assert len(damaged.names) > 40
    listed = set(checksums.read(saved / "20"))
    assert set(damaged.names) - listed == UNREAD | {checksums.FILE}
    assert {name.split("/")[0] for name in listed} == {
        "params",
        "ema_0.9",
        "ema_0.99",
        "train",
        "progress",
        "config",
    }


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_to_any_file_is_found_named_and_the_newest_whole_step_with_it(folder, damaged, how):
    for name in damaged.names:
        if name in UNREAD or (name, how) == (checksums.FILE, "removed"):
            continue
        with damaged(name, DAMAGES[how]), pytest.raises(checkpoint.CheckpointError) as caught:
            checkpoint.Checkpoints(folder, keep=0)
        message = str(caught.value)
        assert message.startswith(f"checkpoint {folder}/20 is damaged: {name} "), message
        assert (HOW[how] if name != checksums.FILE else "itself") in message
        assert message.endswith(
            f"; --config.checkpoint.on_damage=previous goes on from {folder}/15, the newest that is whole"
        )
        assert "\n" not in message
    assert newest(folder) == 20
    assert_restores(folder, 20)


@pytest.mark.parametrize("how", DAMAGES)
def test_nothing_depends_on_the_files_that_have_none(folder, damaged, how):
    for name in UNREAD:
        with damaged(name, DAMAGES[how]):
            assert_restores(folder, 20)


def test_without_its_checksums_a_step_is_read_as_it_is(folder):
    (folder / "20" / checksums.FILE).unlink()
    assert_restores(folder, 20)
    assert checkpoint.load_config(checkpoint.find(folder)) == CONFIG


def test_a_folder_of_a_part_that_is_missing_and_a_step_that_is_empty(folder):
    for part in ("ema_0.9", "train", "progress", "config"):
        (folder / "20" / part).rename(folder / "part")
        with pytest.raises(checkpoint.CheckpointError, match=f"20 is damaged: the folder {part} is missing;"):
            newest(folder)
        (folder / "part").rename(folder / "20" / part)
    shutil.rmtree(folder / "20")
    (folder / "20").mkdir()
    with pytest.raises(checkpoint.CheckpointError, match="20 is damaged: its folder is empty;"):
        newest(folder)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", DAMAGES)
def test_a_step_without_checksums_is_judged_by_reading(folder, damaged, how):
    """Of one average and of the JSON parts; what is not found changes nothing, but for a byte of a large array."""
    (folder / "20" / checksums.FILE).unlink()
    saved = make_state(seed=20, width=WIDTH)
    found = changed = 0
    for name in damaged.names:
        if not name.startswith(("ema_0.9/", "progress/", "config/")):
            continue
        with damaged(name, DAMAGES[how]):
            part = name.split("/")[0]
            defect = integrity.damage(folder / "20", [part])
            if defect:
                assert defect.startswith(part)
                found += 1
            elif part == "ema_0.9":
                params = checkpoint.load_params(folder / "20", part, abstract(saved.params))
                equal = jax.tree.map(np.array_equal, params, saved.emas["ema_0.9"])
                changed += not jax.tree.all(equal)
            if name in ("progress/metadata", "config/metadata", "ema_0.9/manifest.ocdbt"):
                assert defect
                with pytest.raises(checkpoint.CheckpointError, match="20 is damaged"):
                    newest(folder)
    assert found >= 5
    # What checksums are for: the two matrices, or as many of them as lie where a file has its middle.
    assert changed in ((1, 2) if how == "flipped" else (0,))


def test_with_previous_a_run_goes_on_from_the_newest_whole_step_and_nothing_is_lost(folder, capsys):
    DAMAGES["flipped"](next((folder / "20" / "train" / "ocdbt.process_0" / "d").iterdir()))
    DAMAGES["emptied"](folder / "15" / "progress" / "metadata")
    before = {path.relative_to(folder) for path in folder.rglob("*")}
    with checkpoint.Checkpoints(folder, keep=0, on_damage="previous") as checkpoints:
        assert checkpoints.last == 10
        restored, where = checkpoints.restore(abstract(make_state(width=WIDTH)))
        assert where == progress(10)
        assert_equal(restored, make_state(seed=10, width=WIDTH))
        first, second = capsys.readouterr().err.splitlines()
        assert first.startswith(f"warning: checkpoint {folder}/20 is damaged: train/ocdbt.process_0/d/")
        assert first.endswith(
            f" has other bytes than were written; it is now {folder}/damaged-20, and the run goes on from {folder}/10"
        )
        assert second == (
            f"warning: checkpoint {folder}/15 is damaged: progress/metadata has no bytes, not "
            f"{(folder / '10/progress/metadata').stat().st_size}; it is now {folder}/damaged-15, and the run goes on "
            f"from {folder}/10"
        )
        checkpoints.save(make_state(seed=20, width=WIDTH), progress(20), CONFIG)
    assert {path.name for path in folder.iterdir()} == {"10", "20", "damaged-15", "damaged-20"}
    assert {f"damaged-{path}" for path in map(str, before) if not path.startswith("10")} <= {
        str(path.relative_to(folder)) for path in folder.rglob("*")
    }
    assert_restores(folder, 20)
    DAMAGES["emptied"](folder / "20" / "progress" / "metadata")
    assert newest(folder, "previous") == 10
    assert {path.name for path in folder.iterdir()} == {"10", "damaged-15", "damaged-20", "damaged-20-2"}


@pytest.mark.parametrize("on_damage", ["stop", "previous"])
def test_where_none_is_whole_nothing_is_moved(folder, on_damage):
    for step in (10, 15, 20):
        (folder / str(step) / "config" / "metadata").unlink()
    message = f"20 is damaged: config/metadata is missing; no checkpoint in {folder} is whole"
    for _ in range(2):  # the folder is not locked after an error
        with pytest.raises(checkpoint.CheckpointError, match=message):
            checkpoint.Checkpoints(folder, keep=0, on_damage=on_damage)
    assert {path.name for path in folder.iterdir()} == {"10", "15", "20"}


def test_what_reads_a_part_compares_that_part_and_names_the_steps_that_are_whole(folder):
    params = abstract(make_state(width=WIDTH).params)
    DAMAGES["emptied"](folder / "20" / "train" / "_METADATA")
    loaded = checkpoint.load_params(folder / "20", "ema_0.9", params)
    assert_equal(loaded, make_state(seed=20, width=WIDTH).emas["ema_0.9"])
    DAMAGES["flipped"](next((folder / "20" / "ema_0.9" / "d").iterdir()))
    with pytest.raises(checkpoint.CheckpointError) as caught:
        checkpoint.load_params(folder / "20", "ema_0.9", params)
    assert str(caught.value).startswith(f"checkpoint {folder}/20 is damaged: ema_0.9/d/")
    assert str(caught.value).endswith(f" has other bytes than were written; whole in {folder}: 15, 10")
    DAMAGES["removed"](folder / "20" / "config" / "metadata")
    shutil.rmtree(folder / "15" / "params")
    with pytest.raises(
        checkpoint.CheckpointError, match=f"config/metadata is missing; whole in {folder}: 10$"
    ):
        checkpoint.load_config(checkpoint.find(folder))
    shutil.rmtree(folder / "10")
    with pytest.raises(checkpoint.CheckpointError, match=f"whole in {folder}: no other$"):
        checkpoint.load_config(checkpoint.find(folder))


def test_a_part_that_was_never_written_is_no_damage(folder):
    with pytest.raises(
        checkpoint.CheckpointError,
        match=r"20: ema_0\.5 cannot be read: the checkpoint has config, ema_0\.9, ema_0\.99, params, progress, train$",
    ):
        checkpoint.load_params(folder / "20", "ema_0.5", abstract(make_state(width=WIDTH).params))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_checksums_a_failure_to_read_says_what_it_may_be(folder):
    """The storage library's words come last; with checksums it can only be another network."""
    small = abstract(make_state(width=4).params)
    with pytest.raises(checkpoint.CheckpointError) as caught:
        checkpoint.load_params(folder / "20", "params", small)
    assert (
        f"{folder}/20 could not be read: it is of another network, optimizer or version (the storage"
        in str(caught.value)
    )
    (folder / "20" / checksums.FILE).unlink()
    DAMAGES["emptied"](folder / "20" / "params" / "manifest.ocdbt")
    with pytest.raises(checkpoint.CheckpointError) as caught:
        checkpoint.load_params(folder / "20", "params", abstract(make_state(width=WIDTH).params))
    assert "or damaged: it has no checksums.json to tell by (the storage library says: " in str(caught.value)
    assert str(caught.value).endswith(f"; whole in {folder}: 15, 10")


def test_checksums_are_those_of_sha256sum(folder):
    content = json.loads((folder / "20" / checksums.FILE).read_text())
    for name, facts in content["files"].items():
        data = (folder / "20" / name).read_bytes()
        assert facts == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
