"""What users type becomes a path or one line, outputs are checked before the work, files are whole or absent."""

import os
from pathlib import Path

import pytest

from ptdit_jax import files

READ_ONLY = Path("/sys")  # for root too


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder that is also the current one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["a", "mein Lauf", "Läufe/日本", "a:b", "~x~", "-a", "gs:", "./gs:/x"])
def test_home_relative_and_absolute_paths_are_one_place(home, name):
    (home / name).mkdir(parents=True)
    typed = [f"~/{name}", str(home / name), f"./{name}"] + [name] * (not name.startswith("~"))
    assert all(files.path(text, "--out").samefile(home / name) for text in typed)


def test_a_link_is_followed(home):
    (home / "there").mkdir()
    (home / "link").symlink_to("there")
    assert files.path("~/link", "--out").samefile(home / "there")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("gs://bucket/run", "mount the bucket"),
        ("s3://bucket/run", "mount the bucket"),
        ("gs:/bucket/run", "mount the bucket"),
        ("memory://run", "mount the bucket"),
        ("file:///tmp/run", "write the path alone"),
        ("HTTP://host/a.npz", "download it"),
        ("https://host/a.npz", "download it"),
        ("", "is empty"),
        ("~nobody-has-this-name/run", "there is no such home folder"),
        ("a\0b", "byte 0"),
        (os.fsdecode(b"\xff"), "must be UTF-8"),
    ],
)
def test_what_is_no_path_is_refused_by_name(text, rule):
    with pytest.raises(ValueError, match=rule) as caught:
        files.path(text, "data.path")
    assert str(caught.value).startswith("data.path")
    assert "\n" not in str(caught.value)


def test_nobody_has_a_home(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    with pytest.raises(ValueError, match="--workdir=~/a: there is no such home folder"):
        files.path("~/a", "--workdir")


def test_an_output_file_that_can_be_written_leaves_no_trace(tmp_path):
    (tmp_path / "old.png").write_text("old")
    for name in ("new.png", "old.png", "NEW.PNG"):
        files.check_file(tmp_path / name, "--out", (".png",))
    assert [path.name for path in tmp_path.iterdir()] == ["old.png"]
    assert (tmp_path / "old.png").read_text() == "old"


@pytest.fixture
def bad_outputs(tmp_path):
    """Paths by what is wrong with them."""
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link.png").symlink_to(tmp_path / "no" / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    return {
        "is a folder": tmp_path / "folder.png",
        "must end in one of .png, .npy": tmp_path / "a.pdf",
        "must end in one of .png": tmp_path / "a",
        "is no ordinary file": tmp_path / "pipe.png",
        f"{tmp_path}/file is no folder": tmp_path / "file" / "a.png",
        f"the folder {tmp_path}/none does not exist": tmp_path / "none" / "a.png",
        f"the folder {tmp_path}/no does not exist": tmp_path / "link.png",
        "cannot be written: File name too long": tmp_path / ("a" * 300 + ".png"),
        "cannot be written: File name too long ": tmp_path / ("a" * 249 + ".png"),  # that of the draft
        "cannot be written: ": READ_ONLY / "a.png",
    }


def test_an_output_file_that_cannot_be_written_is_one_line(bad_outputs):
    for message, path in bad_outputs.items():
        with pytest.raises((ValueError, OSError)) as caught:
            files.check_file(path, "--out", (".png", ".npy"))
        line = str(caught.value)
        assert line.startswith(f"--out={path}")
        assert message.strip() in line
        assert "\n" not in line
        assert "Errno" not in line


def test_a_protected_file_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_text("mine")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anything
    with pytest.raises(PermissionError, match=f"--out={tmp_path}/a.png cannot be written"):
        files.check_file(tmp_path / "a.png", "--out")


def test_a_folder_is_made_or_one_line(tmp_path):
    files.make_folder(tmp_path / "a" / "b", "--workdir")
    files.make_folder(tmp_path / "a" / "b", "--workdir")
    assert not list((tmp_path / "a" / "b").iterdir())
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    for path, blocker in [("file", "file"), ("file/a/b", "file"), ("link", "link"), ("link/a", "link")]:
        with pytest.raises(
            OSError, match=f"^--workdir={tmp_path}/{path}: {tmp_path}/{blocker} is no folder$"
        ):
            files.make_folder(tmp_path / path, "--workdir")
    for path in (READ_ONLY, READ_ONLY / "a", tmp_path / ("a" * 300)):
        with pytest.raises(OSError, match=rf"^--workdir={path} cannot be written: [\w -]+$"):
            files.make_folder(path, "--workdir")


def test_a_new_folder_is_checked(tmp_path):
    files.check_new_folder(tmp_path / "a", "--out")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    for path, rule in [("file", "exists"), ("file/a", "is no folder"), ("none/a", "does not exist")]:
        with pytest.raises((ValueError, OSError), match=f"--out={tmp_path}/{path}.*{rule}"):
            files.check_new_folder(tmp_path / path, "--out")
    with pytest.raises(OSError, match=r"--out=/sys/a cannot be written: [\w -]+$"):
        files.check_new_folder(READ_ONLY / "a", "--out")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    files.write(tmp_path / "a", lambda draft: draft.write_text("one"))
    with pytest.raises(OSError, match="full"):
        files.write(tmp_path / "a", lambda draft: draft.write_text("half of t") and _fail(OSError("full")))
    assert (tmp_path / "a").read_text() == "one"
    with pytest.raises(KeyboardInterrupt):
        files.write(
            tmp_path / "b", lambda draft: draft.write_text("half of t") and _fail(KeyboardInterrupt())
        )
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there/a")
    for text in ("one", "two"):
        files.write(tmp_path / "link", lambda draft, text=text: draft.write_text(text))
        assert (tmp_path / "there" / "a").read_text() == text
    assert (tmp_path / "link").is_symlink()


def _fail(error):
    raise error
