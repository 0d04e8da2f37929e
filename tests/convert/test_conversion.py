"""Weights go both ways bit by bit, and the two networks are the same function, for any config."""

import json
import shutil

import jax
import numpy as np
import pytest
import torch
from flax.traverse_util import unflatten_dict
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from configs import t2i_xl_1024_release
from ptdit_jax import sample
from ptdit_jax.convert import conversion, layouts, parity, storage
from ptdit_jax.convert.export import modeling_ptdit
from ptdit_jax.training import checkpoint
from tests.convert import small
from tests.models import test_released_layout
from tests.models.golden import Golden

spec = test_released_layout.spec
PTDIT = layouts.named("ptdit")


def assert_equal_trees(a, b):
    a, b = storage.flattened(a), storage.flattened(b)
    assert set(a) == set(b)
    for path in a:
        assert a[path].dtype == b[path].dtype == np.float32
        np.testing.assert_array_equal(a[path], b[path], err_msg=str(path))


def golden_config(golden):
    c, video = golden.config, golden.tensors["pos_embed.pos_embed"].shape[1]
    return small.config(
        model__width=c["num_heads"] * c["head_dim"],
        model__heads=c["num_heads"],
        model__depth=c["num_layers"],
        model__patch=c["patch_size"],
        model__channels=c["in_channels"],
        model__out_channels=c["out_channels"],
        model__sample_size=c["sample_size"],
        model__condition="text",
        model__text_dim=c["caption_channels"],
        data__height=c["sample_size"],
        data__width=c["sample_size"],
        data__frames=video,
        compression__fixed=tuple(c["compress_ratios"]),
        compression__proxy=tuple(c["proxy_compress_ratios"]),
    )


def write_safetensors(tensors, folder):
    save_file(tensors, folder / "w.safetensors")
    return folder / "w.safetensors"


def write_shards(tensors, folder):
    """Three files and their index; the folder is what the converter is given."""
    names = sorted(tensors)
    placed = {name: f"part-{i % 3}.safetensors" for i, name in enumerate(names)}
    for part in set(placed.values()):
        save_file({name: tensors[name] for name in names if placed[name] == part}, folder / part)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    return folder


def write_training_file(tensors, folder):
    """What a trainer saves: a raw network, its average, and things that are no tensors."""
    raw = {f"module.{name}": torch.zeros_like(value) for name, value in tensors.items()}
    state = {0: {"exp_avg": torch.zeros(3)}}
    content = {"model": raw, "ema": dict(tensors), "optimizer": {"state": state}, "epoch": 3}
    torch.save(content, folder / "w.ckpt")
    return folder / "w.ckpt"


def write_legacy(tensors, folder):
    prefixed = {f"module.{name}": value for name, value in tensors.items()}
    torch.save(prefixed, folder / "w.bin", _use_new_zipfile_serialization=False)
    return folder / "w.bin"


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("image_w122", write_safetensors),
        ("masked_w144_p122", write_shards),
        ("masked_w144_p122_same_t", write_training_file),
        ("video_w422", write_legacy),
    ],
)
def test_goldens_torch_to_jax_to_torch(name, write, tmp_path):
    """Each golden in another kind of file; what comes back is bit-equal and gives the golden's output."""
    golden = Golden(name)
    tensors = {key: torch.from_numpy(value) for key, value in golden.tensors.items()}
    (tmp_path / "source").mkdir()
    source = write(tensors, tmp_path / "source")
    verify = name == "image_w122"
    conversion.from_torch(source, golden_config(golden), tmp_path / "ours", verify=verify)
    conversion.to_torch(tmp_path / "ours", tmp_path / "back", verify=verify)
    back = load_file(tmp_path / "back" / "model.safetensors")
    assert set(back) == set(tensors)
    for key in set(back) - {PTDIT.buffer}:
        assert torch.equal(back[key], tensors[key]), key
    model = modeling_ptdit.load(tmp_path / "back")
    x, t, (text, mask) = jax.tree.map(lambda a: torch.from_numpy(np.array(a)), golden.inputs())
    with torch.no_grad():
        out = model(x, t, (text, mask), **golden.call)
    np.testing.assert_allclose(out, golden.arrays["output_per_sample"], rtol=0, atol=1e-4)
    for folder in ("ours", "back"):
        report = json.loads((tmp_path / folder / "parity.json").read_text())
        assert report["checked"] == verify
        assert verify or "--no-verify" in report["reason"]
        assert not verify or report["passed"]
        assert {path.name for path in tmp_path.iterdir()} == {"source", "ours", "back"}
    assert verify != ("--no-verify" in (tmp_path / "back" / "README.md").read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder of the tiny digits model with two sets of weights: its config and those."""
    config = small.config()
    trees = {"params": small.random_params(config, 0), "ema_0.9": small.random_params(config, 1)}
    return small.write_checkpoint(tmp_path_factory.mktemp("run"), config, **trees), config, trees


@pytest.mark.parametrize("ema", [None, "params"])
def test_jax_to_torch_to_jax(run, ema, tmp_path, capsys, monkeypatch):
    """Bit-equal weights, and a checkpoint that `sample` takes."""
    folder, config, trees = run
    with monkeypatch.context() as patch:
        patch.setattr(parity, "cases", small.all_cases)
        conversion.to_torch(folder, tmp_path / "torch", ema=ema, verify=ema is None)
    report = json.loads((tmp_path / "torch" / "parity.json").read_text())
    assert ("NOT CHECKED (--no-verify" in capsys.readouterr().out) == (ema is not None)
    assert report["checked"] == (ema is None)
    if ema is None:
        assert report["passed"]
        assert [case["size"] for case in report["cases"]] == [[1, 4, 4], [1, 6, 5], [3, 4, 4], [2, 4, 6]]
        assert 0 < report["max_difference"] < 1e-4
        assert 0 < report["relative_difference"] < 1e-4
    conversion.from_torch(tmp_path / "torch", config, tmp_path / "back", verify=False)
    arch = conversion.architecture(config)
    back = storage.restore(tmp_path / "back" / "checkpoints" / "0", "params", arch)
    assert_equal_trees(back, trees[ema or "ema_0.9"])
    if ema is None:
        out = tmp_path / "a.png"
        arguments = ["--checkpoint", str(tmp_path / "back"), "--count=2", "--steps=2", f"--out={out}"]
        assert sample.main(sample.parse(arguments)) == 0
        assert out.exists()


def test_unknown_average(run, tmp_path):
    with pytest.raises(ValueError, match=r"--ema=ema_0.5: .* has ema_0.9, params"):
        conversion.to_torch(run[0], tmp_path / "torch", ema="ema_0.5")
    assert not list(tmp_path.iterdir())


def test_a_damaged_checkpoint_is_not_converted(run, tmp_path):
    folder, config, _ = run
    copy = shutil.copytree(folder, tmp_path / "run") / "checkpoints" / "7"
    shutil.rmtree(copy / "ema_0.9")
    with pytest.raises(
        checkpoint.CheckpointError,
        match=r"7 is damaged: the folder ema_0\.9 is missing; whole in .*: no other$",
    ):
        conversion.to_torch(copy, tmp_path / "torch", verify=False)
    conversion.to_torch(copy, tmp_path / "torch", ema="params", verify=False)  # what is read is whole
    conversion.from_torch(tmp_path / "torch", config, tmp_path / "back", verify=False)
    file = max((tmp_path / "back").rglob("*"), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(checkpoint.CheckpointError, match=r"0 is damaged: params/.* bytes, not .*: no other$"):
        conversion.to_torch(tmp_path / "back", tmp_path / "again", verify=False)
    assert not (tmp_path / "again").exists()


def test_bfloat16(run, tmp_path):
    """Half the bytes; the parity check compares with the rounded weights."""
    folder, config, trees = run
    conversion.to_torch(folder, tmp_path / "torch", dtype="bfloat16")
    tensors = load_file(tmp_path / "torch" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    exact = PTDIT.to_tensors(storage.flattened(trees["ema_0.9"]), conversion.architecture(config))
    for name, tensor in exact.items():
        assert torch.equal(tensors[name], torch.from_numpy(np.array(tensor)).bfloat16()), name
    model = modeling_ptdit.load(tmp_path / "torch", dtype=torch.bfloat16)
    full = modeling_ptdit.load(tmp_path / "torch")
    x, t, label = torch.randn(2, 1, 1, 8, 8), torch.tensor([0.2, 0.9]), torch.tensor([1, 10])
    with torch.no_grad():
        a, b = (m(x, t, label, window=(1, 2, 2)) for m in (model, full))
    assert a.dtype == torch.float32
    assert (a - b).norm() < 0.05 * b.norm()


OPTIONS = st.fixed_dictionaries(
    {
        "depth": st.sampled_from([2, 4]),
        "heads_width": st.sampled_from([(1, 16), (2, 32), (3, 48)]),
        "condition": st.sampled_from(["class", "text", "none"]),
        "adaln": st.sampled_from(["auto", "single", "zero"]),
        "modulated": st.sampled_from(
            [("proxy", "injection", "injection_kv", "window", "shift", "mlp"), ("mlp", "injection_kv"), ()]
        ),
        "zero_linears": st.sampled_from(["auto", "yes", "no"]),
        "shift_every": st.sampled_from([0, -1, 1, 2]),
        "giim": st.booleans(),
        "tcm": st.booleans(),
        "extraction": st.sampled_from(["average", "top_left", "random", "similarity"]),
        "injection": st.sampled_from(["cross_attention", "interpolate", "linear"]),
        "positions": st.sampled_from(["grid", "released"]),
        "patch": st.sampled_from([1, 2]),
        "mlp_ratio": st.sampled_from([2, 4]),
        "window": st.sampled_from([(1, 2, 2), (2, 2, 4), (1, 3, 2)]),
        "case": st.integers(0, 3),
    }
)


@settings(max_examples=14)
@given(OPTIONS)
def test_random_configs(options):
    """Any network: weights round-trip bit by bit and outputs agree on images, videos, padding and proxies."""
    options = dict(options)
    heads, width = options.pop("heads_width")
    window, number = options.pop("window"), options.pop("case")
    config = small.config(
        **{f"model__{name}": value for name, value in options.items()},
        model__heads=heads,
        model__width=width,
        model__text_dim=8,
        compression__fixed=window,
        data__frames=4,
        data__height=12,
        data__width=12,
        sampling__guidance=1.0,
    )
    arch = conversion.architecture(config)
    check_same_function(config, arch, window, number)


def check_same_function(config, arch, window, number):
    params = small.random_params(config)
    tensors = PTDIT.to_tensors(storage.flattened(params), arch)
    assert {name: tensor.shape for name, tensor in tensors.items()} == PTDIT.shapes(arch)
    assert_equal_trees(unflatten_dict(PTDIT.from_tensors(tensors, arch)), params)
    which = small.all_cases(arch, window)
    which = [which[number % len(which)]]
    theirs = parity.run_torch(arch, tensors.__getitem__, which)
    report = parity.compare(which, parity.run_ours(arch, params, which), theirs)
    assert report["passed"], report
    assert report["cases"][0]["largest_output"] > 0.01


def test_released_xl_keys_and_shapes(spec):
    """The state dict of the exported module is the released one exactly: names, shapes, buffer."""
    _, keys = spec
    config = t2i_xl_1024_release.get_config()
    facts = parity.torch_architecture(conversion.architecture(config), config.data.frames)
    with torch.device("meta"):
        model = modeling_ptdit.PTDiT(facts)
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == keys
    assert conversion.number_of_parameters(conversion.architecture(config)) == 1_131_629_216
    model.load_state_dict(
        {name: torch.empty(shape, device="meta") for name, shape in keys.items()}, strict=True, assign=True
    )


def test_a_wrong_network_does_not_pass(run, tmp_path, monkeypatch):
    """One swapped pair of tensors, of equal shape, is found; nothing is left."""
    swapped = {"transformer_blocks.0.attn1.to_q": "transformer_blocks.0.attn1.to_k"}
    original = parity.run_torch

    def run_torch(arch, read, which):
        def wrong(name):
            for a, b in swapped.items():
                name = name.replace(a, b)
            return read(name)

        return original(arch, wrong, which)

    monkeypatch.setattr(parity, "run_torch", run_torch)
    with pytest.raises(parity.ParityError, match="another function: outputs differ by up to"):
        conversion.to_torch(run[0], tmp_path / "torch")
    assert not list(tmp_path.iterdir())
