"""Every wrong file and command ends with one clear line and no folder; `inspect` tells what is in a file."""

import importlib.util
import os
import warnings

import pytest
import torch
from safetensors.torch import save_file

from ptdit_jax import cli
from ptdit_jax.convert import __main__ as convert
from ptdit_jax.convert import conversion
from tests.convert import small

CONFIG = ["--config=configs/c2i_digits.py", "--config.model.depth=2", "--config.model.width=32"]
CONFIG += ["--config.model.heads=2", "--config.model.patch=1"]


def call(*arguments):
    return cli.run(lambda: convert.main(convert.parse([str(argument) for argument in arguments])))


@pytest.fixture(scope="module")
def good():
    return small.released_tensors(small.config())


def without(tensors):
    del tensors["transformer_blocks.1.attn1.to_k.bias"]


def surplus(tensors):
    tensors["transformer_blocks.2.attn1.to_k.bias"] = torch.zeros(32)


def transposed(tensors):
    name = "transformer_blocks.0.ff.net.2.weight"
    tensors[name] = tensors[name].T.contiguous()


def not_finite(tensors):
    tensors["transformer_blocks.1.ff.net.2.bias"][3] = float("nan")


def integers(tensors):
    tensors["proj_out.bias"] = tensors["proj_out.bias"].to(torch.int8)


def other_positions(tensors):
    tensors["pos_embed.pos_embed"] = tensors["pos_embed.pos_embed"].flip(2).contiguous()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without, r"1 missing: transformer_blocks.1.attn1.to_k.bias (32,)"),
        (surplus, r"1 surplus: transformer_blocks.2.attn1.to_k.bias (32,)"),
        (transposed, "1 mis-shaped: transformer_blocks.0.ff.net.2.weight (128, 32), not (32, 128)"),
        (not_finite, "transformer_blocks.1.ff.net.2.bias: 1 of 32 values are not finite"),
        (integers, "proj_out.bias holds int8 values"),
        (other_positions, "pos_embed.pos_embed differs by up to"),
    ],
)
def test_wrong_tensors(good, change, message, tmp_path, capsys):
    tensors = {name: value.clone() for name, value in good.items()}
    change(tensors)
    save_file(tensors, tmp_path / "w.safetensors")
    assert (
        call("from-torch", tmp_path / "w.safetensors", *CONFIG, "--out", tmp_path / "out") == cli.USER_ERROR
    )
    check_line(capsys, message)
    assert {path.name for path in tmp_path.iterdir()} == {"w.safetensors"}


def check_line(capsys, message):
    """One line, and it has the message in it."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def truncated_safetensors(good, file):
    save_file(good, file.with_suffix(".safetensors"))
    return cut(file.with_suffix(".safetensors"))


def truncated_zip(good, file):
    torch.save(good, file.with_suffix(".pt"))
    return cut(file.with_suffix(".pt"))


def truncated_legacy(good, file):
    torch.save(good, file.with_suffix(".bin"), _use_new_zipfile_serialization=False)
    return cut(file.with_suffix(".bin"))


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return file


class Evil:
    """Runs a command where it is unpickled without care."""

    def __reduce__(self):
        return os.system, ("touch was_run",)


def evil(good, file):
    torch.save({"model": good, "extra": Evil()}, file.with_suffix(".pt"))
    return file.with_suffix(".pt")


def evil_legacy(good, file):
    file = file.with_suffix(".ckpt")
    torch.save({"model": good, "extra": Evil()}, file, _use_new_zipfile_serialization=False)
    return file


def no_weights(good, file):
    file.with_suffix(".txt").write_text("hello")
    return file.with_suffix(".txt")


def broken_index(good, file):
    save_file({"proj_out.bias": good["proj_out.bias"]}, file.parent / "part.safetensors")
    file = file.parent / "model.safetensors.index.json"
    file.write_text('{"weight_map": {"proj_out.weight": "part.safetensors"}}')
    return file


def absent(good, file):
    return file.parent / "absent.safetensors"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (truncated_safetensors, "w.safetensors cannot be read, it may be truncated"),
        (truncated_zip, "w.pt cannot be read, it is truncated"),
        (truncated_legacy, "w.bin"),
        (evil, "w.pt is not read: it wants to call posix.system"),
        (evil_legacy, "w.ckpt is not read: it wants to call posix.system"),
        (no_weights, "w.txt: weights are files .safetensors"),
        (broken_index, "part.safetensors lacks proj_out.weight"),
        (absent, "absent.safetensors: there is no such file"),
    ],
)
def test_wrong_files(good, make, message, tmp_path, capsys, monkeypatch):
    (tmp_path / "in").mkdir()
    file = make(good, tmp_path / "in" / "w")
    config = [f"--config={os.path.abspath(CONFIG[0].split('=')[1])}", *CONFIG[1:]]
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = call("from-torch", file, *config, "--out", tmp_path / "out")
    assert code in (cli.USER_ERROR, cli.FAILURE)
    check_line(capsys, message)
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_wrong_commands(good, tmp_path, capsys, monkeypatch):
    source = tmp_path / "w.safetensors"
    save_file(good, source)
    wrong_config = [
        "--config=configs/c2i_digits.py",
        "--config.model.heads=2",
        "--config.model.width=32",
        "--config.model.patch=1",
    ]
    out = ["--out", tmp_path / "out"]
    assert call("from-torch", source, *wrong_config, *out) == cli.USER_ERROR
    check_line(capsys, "missing: transformer_blocks.2.")
    assert call("from-torch", source, *CONFIG, "--key=ema", *out) == cli.USER_ERROR
    check_line(capsys, "--key=ema: ")
    assert call("from-torch", source, *CONFIG, "--out", tmp_path) == cli.USER_ERROR
    check_line(capsys, "exists; name a folder that does not")
    assert call("from-torch", source, *CONFIG, "--out", tmp_path / "no" / "out") == cli.FAILURE
    check_line(capsys, f"the folder {tmp_path}/no does not exist")
    assert call("to-torch", "--checkpoint", tmp_path, *out) == cli.USER_ERROR
    check_line(capsys, "holds no checkpoint")
    assert call("inspect", source, f"--config={source.with_suffix('.json')}") == cli.USER_ERROR
    check_line(capsys, "there is no such file")
    with pytest.raises(SystemExit):
        convert.parse(["from-torch", str(source), "--out=x", "--config=c.py", "--confg.model.depth=2"])
    assert "'--confg.model.depth=2' is no argument" in capsys.readouterr().err
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else find_spec(name)
    )
    assert call("from-torch", source, *CONFIG, *out) == cli.FAILURE
    check_line(capsys, "torch is not installed; conversions need it: pip install -r requirements-torch.txt")
    assert {path.name for path in tmp_path.iterdir()} == {"w.safetensors"}


def test_inspect(good, tmp_path, capsys):
    raw = {f"module.{name}": value for name, value in good.items()}
    less = {name: value.bfloat16() for name, value in good.items() if name != "proj_out.bias"}
    torch.save({"model": raw, "model_ema": less, "step": 3}, tmp_path / "w.pt")
    assert call("inspect", tmp_path / "w.pt", *CONFIG) == cli.USER_ERROR
    printed = capsys.readouterr().out
    assert "79 tensors under 'model_ema'" in printed
    assert "also there, for --key: 'model.module'" in printed
    assert "dtypes: 79 bfloat16" in printed
    assert "1 missing: proj_out.bias (1,)" in printed
    assert call("inspect", tmp_path / "w.pt", "--key=model.module", *CONFIG) == 0
    printed = capsys.readouterr().out
    assert "90,849 parameters, 2 blocks" in printed
    assert "every tensor of the config's network is there, and no other" in printed
    assert call("inspect", tmp_path / "w.pt") == 0


@pytest.mark.parametrize("verb", ["from-torch", "to-torch"])
@pytest.mark.parametrize(
    ("out", "code", "rule"),
    [
        ("file", cli.USER_ERROR, "exists; name a folder that does not"),
        ("folder", cli.USER_ERROR, "exists; name a folder that does not"),
        ("file/a", cli.FAILURE, "file is no folder"),
        ("none/a", cli.FAILURE, "none does not exist"),
        ("/sys/a", cli.FAILURE, "cannot be written: "),
    ],
)
def test_the_folder_to_make_is_checked_first(tmp_path, monkeypatch, capsys, verb, out, code, rule):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("from_torch", "to_torch"):
        monkeypatch.setattr(conversion, name, lambda *args, **kwargs: pytest.fail("too late"))
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    source = ["a.pt", *CONFIG] if verb == "from-torch" else ["--checkpoint=a"]
    out = out if out.startswith("/") else f"~/{out}"
    assert call(verb, *source, f"--out={out}") == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: --out={out.replace('~', str(tmp_path))}")
    assert rule in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
