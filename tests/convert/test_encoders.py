"""`python -m ptdit_jax.convert encoder`: text encoders through our network and back."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

from ptdit_jax.convert import __main__ as command
from ptdit_jax.convert import encoders, parity
from tests.encoders import folders


def run(*arguments):
    return command.main(command.parse(["encoder", *map(str, arguments)]))


def test_a_pickled_folder_becomes_one_file_that_both_read(tmp_path, capsys):
    encoder = folders.module("mT5")
    folder = folders.write(tmp_path / "mt5", encoder)
    torch.save(encoder.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert run(folder, "--out", tmp_path / "new") == 0
    shown = capsys.readouterr().out
    assert 'bfloat16, relative error of ""' in shown
    report = json.loads((tmp_path / "new" / "parity.json").read_text())
    assert report["passed"]
    assert [row["folder"] for row in report["cases"]] == ["read"] * 3 + ["written"] * 3
    assert all(0 < value < 0.1 for value in report["remarks"].values())
    again = transformers.MT5EncoderModel.from_pretrained(tmp_path / "new")
    tensors = again.state_dict()
    assert all((tensors[name] == tensor).all() for name, tensor in encoder.state_dict().items())
    assert isinstance(
        transformers.AutoTokenizer.from_pretrained(tmp_path / "new"), transformers.ByT5Tokenizer
    )


def test_bfloat16_is_written_where_it_is_asked_for(tmp_path):
    encoder = folders.module("UMT5")
    folder = folders.write(tmp_path / "umt5", encoder, tokenizer=False)
    assert run(folder, "--out", tmp_path / "new", "--dtype", "bfloat16") == 0
    tensors = safetensors.torch.load_file(tmp_path / "new" / "model.safetensors")
    wanted = encoder.state_dict()
    assert all(tensor.dtype == torch.bfloat16 for tensor in tensors.values())
    assert all((tensor == wanted[name].bfloat16()).all() for name, tensor in tensors.items())


def test_the_encoder_of_bytes_is_a_t5_for_transformers(tmp_path):
    assert run("bytes", "--out", tmp_path / "new") == 0
    facts = json.loads((tmp_path / "new" / "config.json").read_text())
    assert facts["architectures"] == ["T5EncoderModel"]


def test_another_function_is_refused_and_leaves_no_folder(tmp_path, monkeypatch):
    folder = folders.write(tmp_path / "t5", folders.module("T5 v1.1"))
    row = parity.row
    monkeypatch.setattr(parity, "row", lambda what, a, b: row(what, a + np.float32(0.01), b))
    with pytest.raises(parity.ParityError, match="the encoder is another function"):
        run(folder, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_is_no_encoder_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="is of 'bert', which is no encoder that is known"):
        encoders.kind_of(str(tmp_path))
