"""Files that hold no weights, or odd ones: one line each that names the file and, where it is one, the tensor."""

import gzip
import io
import json
import os
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ptdit_jax import cli
from ptdit_jax.convert import __main__ as convert
from tests.convert import small

CONFIG = ["--config=configs/c2i_digits.py", "--config.model.depth=2", "--config.model.width=32"]
CONFIG += ["--config.model.heads=2", "--config.model.patch=1"]
W = {"proj_out.weight": torch.ones(2, 2), "pos_embed.proj.weight": torch.ones(2, 2)}


@pytest.fixture(scope="module")
def good():
    return small.released_tensors(small.config())


def call(*arguments):
    return cli.run(lambda: convert.main(convert.parse([str(argument) for argument in arguments])))


def refused(capsys, file, *parts, config=CONFIG, verbs=("from-torch", "inspect")):
    """One line with all parts, from both verbs, and nothing left."""
    before = sorted(file.parent.iterdir())
    for verb in verbs:
        out = ["--out", file.parent / "out"] if verb == "from-torch" else []
        assert call(verb, file, *config, *out) in (cli.USER_ERROR, cli.FAILURE)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        for part in parts:
            assert part in line, line
    assert sorted(file.parent.iterdir()) == before


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 2700000000\n"
HTML = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n"
CONTENT = {
    "empty": (b"", "is empty (0 bytes)"),
    "lfs": (LFS, "is a Git LFS pointer, not the file itself: fetch it with git lfs pull"),
    "html": (HTML, "is a web page (HTML), not the file itself"),
    "server": (b'{"error": "Repository not found"}', "is an error message of a server"),
    "gzip": (gzip.compress(b"x" * 100), "is compressed with gzip: unpack it first"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "is an HDF5 file"),
    "gguf": (b"GGUF\x03\0\0\0", "is a GGUF file"),
    "text": (b"hello, these are no weights at all", "w"),
    "noise": (bytes(range(255, 0, -1)) * 20, "w"),
    "zeros": (b"\0" * 4096, "w"),
}


@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("name", CONTENT)
def test_no_weights(name, ending, tmp_path, capsys):
    content, message = CONTENT[name]
    (tmp_path / f"w{ending}").write_bytes(content)
    refused(capsys, tmp_path / f"w{ending}", f"w{ending}", message)


@pytest.mark.parametrize("ending", [".pt", ".tar", ".safetensors"])
def test_a_tar(ending, tmp_path, capsys):
    with tarfile.open(tmp_path / f"w{ending}", "w") as tar:
        tar.addfile(tarfile.TarInfo("w.pt"), io.BytesIO())
    refused(capsys, tmp_path / f"w{ending}", f"w{ending} is a tar archive: unpack it")


def test_a_zip_of_something_else(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(capsys, tmp_path / "w.pt", "w.pt cannot be read")


def test_wrong_endings(good, tmp_path, capsys):
    save_file(good, tmp_path / "a.pt")
    refused(capsys, tmp_path / "a.pt", "is in the format of safetensors with a wrong ending; rename it")
    torch.save(good, tmp_path / "b.safetensors")
    refused(
        capsys, tmp_path / "b.safetensors", "is a file of torch.save with a wrong ending; rename it to .pt"
    )


def test_a_torchscript(tmp_path, capsys):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "w.pt"))
    refused(
        capsys, tmp_path / "w.pt", "w.pt is a program (TorchScript), which is not run; save its state_dict"
    )


def test_a_fifo(tmp_path, capsys):
    os.mkfifo(tmp_path / "w.pt")
    refused(capsys, tmp_path / "w.pt", "w.pt is neither a file nor a folder")


def odd(kind):
    tensor = torch.ones(1, 32)
    if kind == "sparse coo":
        return tensor.to_sparse()
    if kind == "sparse csr":
        return tensor.to_sparse_csr()
    if kind == "meta, without values":
        return tensor.to("meta")
    if kind == "nested":
        return torch.nested.nested_tensor([tensor, tensor])
    if kind == "quantized":
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)
    return tensor.to({"int64": torch.int64, "complex64": torch.complex64, "bool": torch.bool}[kind])


KINDS = [
    "sparse coo",
    "sparse csr",
    "meta, without values",
    "nested",
    "quantized",
    "int64",
    "complex64",
    "bool",
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_odd_tensors(kind, good, tmp_path, capsys):
    """Named with their file; shape (1, 32) is that of the tensor, or it is mis-shaped."""
    name = "proj_out.weight"
    torch.save(good | {name: odd(kind)}, tmp_path / "w.pt")
    assert call("inspect", tmp_path / "w.pt") == 0
    assert kind in capsys.readouterr().out
    parts = ("mis-shaped",) if kind == "nested" else ("w.pt", kind)
    refused(capsys, tmp_path / "w.pt", name, *parts, verbs=("from-torch",))


def test_odd_tensors_of_an_optimizer_do_not_matter(good, tmp_path):
    torch.save(
        {"ema": good, "opt": {"state": {0: {"step": torch.tensor(3), "m": odd("sparse coo")}}}},
        tmp_path / "w.pt",
    )
    assert call("inspect", tmp_path / "w.pt", *CONFIG) == 0


def test_a_dict_that_holds_itself(good, tmp_path, capsys):
    content = {"model": dict(good)}
    content["model"]["more"] = content
    torch.save(content, tmp_path / "w.pt")
    refused(capsys, tmp_path / "w.pt", "w.pt: the dict 'model.more' holds itself")


@pytest.mark.parametrize("copies", [1, 2])
def test_dicts_in_dicts_in_dicts(copies, tmp_path, capsys):
    """Too deep to walk, and, with two of each, too many; pickled before Python itself would refuse."""
    content = dict(W)
    for _ in range(200):
        content = {str(i): content for i in range(copies)}
    torch.save(content, tmp_path / "w.pt")
    refused(capsys, tmp_path / "w.pt", "w.pt: its dicts are nested more than 64 deep")


def test_the_same_dict_twice_is_fine(good, tmp_path):
    torch.save({"model": good, "ema": good}, tmp_path / "w.pt")
    assert call("inspect", tmp_path / "w.pt", *CONFIG) == 0


@pytest.mark.parametrize("content", [3, None, "text", [1, 2], {}, {"a": 1}, {"a": np.ones(3)}], ids=repr)
def test_pickles_without_tensors(content, tmp_path, capsys):
    torch.save(content, tmp_path / "w.pt")
    refused(capsys, tmp_path / "w.pt", "w.pt holds no tensors")


DEEP = "[" * 100_000 + "]" * 100_000
JSON = {
    "[1, 2]": "holds a list, not an object",
    "null": "holds null, not an object",
    "3": "holds a number, not an object",
    "true": "holds true or false, not an object",
    '"text"': "holds a string, not an object",
    DEEP: "nested too deep",
    '{"a":' * 900 + "1" + "}" * 900: "nested too deep",
    "": "is not JSON",
    "{": "is not JSON",
    "9" * 5000: "is not JSON",
    "\x00\x01": "is not JSON",
}
JSON_IDS = [text if len(text) < 20 else f"{text[:5]}..." for text in JSON]


@pytest.mark.parametrize("text", JSON, ids=JSON_IDS)
def test_json_of_the_config(text, good, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    save_file(good, tmp_path / "w.safetensors")
    (tmp_path / "in" / "config.json").write_text(text)
    config = [f"--config={tmp_path / 'in' / 'config.json'}"]
    refused(capsys, tmp_path / "w.safetensors", "config.json is no config: ", JSON[text], config=config)


@pytest.mark.parametrize("text", JSON, ids=JSON_IDS)
def test_json_beside_the_weights(text, good, tmp_path, capsys):
    save_file(good, tmp_path / "w.safetensors")
    (tmp_path / "config.json").write_text(text)
    refused(
        capsys, tmp_path / "w.safetensors", "config.json is no config of the weights beside it: ", JSON[text]
    )


@pytest.mark.parametrize("text", [*JSON, "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}'])
def test_json_of_the_index(text, good, tmp_path, capsys):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    refused(capsys, tmp_path / "model.safetensors.index.json", "index.json is no index of weights")


@pytest.mark.parametrize(
    "content",
    [
        {"config": 3},
        {"config": None},
        {"config": [1]},
        {"model": 3},
        {"model": {"depth": {"a": 1}}},
    ],
    ids=repr,
)
def test_a_config_of_other_things(content, good, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    save_file(good, tmp_path / "w.safetensors")
    (tmp_path / "in" / "config.json").write_text(json.dumps(content))
    refused(
        capsys,
        tmp_path / "w.safetensors",
        "in/config.json: ",
        config=[f"--config={tmp_path / 'in' / 'config.json'}"],
    )


@pytest.mark.parametrize("folder", [False, True], ids=["binary", "folder"])
def test_a_config_that_is_no_text(folder, good, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    save_file(good, tmp_path / "w.safetensors")
    file = tmp_path / "in" / "config.json"
    file.mkdir() if folder else file.write_bytes(b"\xff\xfe\x00")
    refused(capsys, tmp_path / "w.safetensors", "config.json", config=[f"--config={file}"])


FOREIGN = {
    "model.diffusion_model.input_blocks.1.1.proj_out.weight": "a latent diffusion U-Net (CompVis, Stable Diffusion)",
    "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": "Stable Diffusion 3 in one file",
    "down_blocks.0.resnets.0.conv1.weight": "a U-Net in diffusers",
    "decoder.conv_in.weight": "an autoencoder (VAE)",
    "double_blocks.0.img_attn.qkv.weight": "Flux",
    "double_blocks.0.img_attn_qkv.weight": "HunyuanVideo",
    "single_transformer_blocks.0.attn.to_q.weight": "Flux in diffusers",
    "joint_blocks.0.context_block.attn.qkv.weight": "Stable Diffusion 3",
    "blocks.0.self_attn.q.weight": "Wan",
    "blocks.0.default_modulation.1.weight": "HunyuanDiT",
    "encoder.block.0.layer.0.SelfAttention.q.weight": "a T5 text encoder",
    "text_model.encoder.layers.0.mlp.fc1.weight": "a CLIP text encoder",
    "lora_unet_down_blocks_0.lora_down.weight": "a LoRA",
}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", FOREIGN)
def test_weights_of_other_projects_are_named(name, nested, tmp_path, capsys):
    content = {name: torch.ones(2, 2)}
    torch.save({"state_dict": content} if nested else content, tmp_path / "w.ckpt")
    refused(
        capsys, tmp_path / "w.ckpt", FOREIGN[name], "conversions take the layouts of", verbs=("from-torch",)
    )
    assert call("inspect", tmp_path / "w.ckpt") == 0
    assert FOREIGN[name] in capsys.readouterr().out


def test_a_folder_of_another_family_of_diffusers(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    save_file({"pos_embed.proj.weight": torch.ones(2, 2)}, folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text('{"_class_name": "FluxTransformer2DModel"}')
    refused(capsys, folder, "config.json is of FluxTransformer2DModel, another family", verbs=("from-torch",))


def test_a_pipeline_without_a_transformer(tmp_path, capsys):
    folder = tmp_path / "in"
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    refused(capsys, folder, "is a pipeline of diffusers (StableDiffusionPipeline) without a transformer")
