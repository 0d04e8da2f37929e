"""Wrong inputs to the exported sample.py: one line each, with what is wrong in it, before any sampling."""

import importlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ptdit_jax.convert import export
from tests.convert import damaged_exports


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of all that `damaged_exports` makes."""
    place = tmp_path_factory.mktemp("export")
    for make in (damaged_exports.folders, damaged_exports.noises, damaged_exports.texts):
        make(place)
    (place / "folder.png").mkdir()
    return place


@pytest.fixture(scope="module")
def program(place):
    """The sample.py of an exported folder as a module, which finds the others beside it."""
    names = [*export.COPIED, *(file.removesuffix(".py") for file in export.FILES if file.endswith(".py"))]
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.delitem(sys.modules, name, raising=False)
        patch.syspath_prepend(str(place / "class"))
        module = importlib.import_module("sample")
        assert str(place) in (module.__file__ or "")
        yield module
        for name in names:
            sys.modules.pop(name, None)


WRONG = [  # arguments, exit code, what the line says
    ("--count 0", 2, "--count 0 must be at least 1"),
    ("--count -4", 2, "--count -4 must be at least 1"),
    ("--count many", 2, "--count: invalid int value: 'many'"),
    ("--count 1000000000000", 2, "--count 1000000000000.* need at least .* GiB of memory"),
    ("--batch 0", 2, "--batch 0 must be at least 1"),
    ("--batch -1", 2, "--batch -1 must be at least 1"),
    ("--height 0", 2, "--height 0 must be at least 1"),
    ("--width -8", 2, "--width -8 must be at least 1"),
    ("--frames 0", 2, "--frames 0 must be at least 1"),
    ("--folder {}/latents --out {}/a.npy --height 3", 2, "--height 3 must be a multiple of the patch, 2"),
    ("--folder {}/latents --out {}/a.npy --width 9", 2, "--width 9 must be a multiple of the patch, 2"),
    ("--height 1000000000", 2, "--height 1000000000.* GiB of memory"),
    ("--steps 0", 2, r"--steps 0 must be in \[1, 100000\]"),
    ("--steps -1", 2, r"--steps -1 must be in"),
    ("--steps 1000000000000", 2, "--steps 1000000000000 must be in"),
    ("--steps 2.5", 2, "--steps: invalid int value"),
    ("--seed -1", 2, r"--seed -1 must be in \[0, 2\*\*32\)"),
    ("--seed 99999999999999999999", 2, "--seed 9+ must be in"),
    ("--guidance nan", 2, "--guidance nan must be a finite number"),
    ("--guidance inf", 2, "--guidance inf must be a finite number"),
    ("--guidance 1e300", 1, "not finite at t = .*guidance 1e[+]300"),
    ("--guidance strong", 2, "--guidance: invalid float value"),
    ("--label 10", 2, r"--label 10 must be in \[0, 10\)"),
    ("--label -1", 2, r"--label -1 must be in \[0, 10\)"),
    ("--label three", 2, "--label: invalid int value"),
    ("--folder {}/none --label 0", 2, "--label 0 must be left out: the model's condition is 'none'"),
    ("--folder {}/none --guidance 2", 2, "--guidance 2 must be 1: the model has no condition"),
    ("--text {}/absent.npz", 2, "--text .*absent.npz must be left out: the model's condition is 'class'"),
    ("--text {}/states.npz", 2, "--text .* must be left out"),
    ("--sampler ddim", 2, "--sampler ddim: this model takes euler, heun, sde"),
    ("--sampler fast", 2, "--sampler fast: this model takes euler"),
    ("--device gpu", 2, "--device: invalid choice: 'gpu'"),
    ("--device npu", 2, "--device npu needs torch_npu"),
    ("--dtype float8", 2, "--dtype: invalid choice"),
    ("--stride 2", 2, "unrecognized arguments: --stride 2"),
    ("three", 2, "unrecognized arguments: three"),
    ("--out {}/a.jpg", 2, "--out .*a.jpg must end with .png or .npy"),
    ("--out {}/a", 2, "--out .* must end with"),
    ("--out {}/folder.png", 2, "--out .*folder.png is a folder"),
    ("--out {}/absent/a.png", 1, "--out .*absent/a.png cannot be written: No such file"),
    ("--out {}/noise.npy/a.png", 1, "--out .*noise.npy/a.png cannot be written: Not a dir"),
    ("--out /proc/a.png", 1, "--out /proc/a.png cannot be written"),
    ("--out {}/" + 300 * "a" + ".png", 1, "cannot be written: File name too long"),
    ("--out {}/n-fifo.npy", 2, "--out .* is no ordinary file"),
    ("--folder {}/latents --out {}/a.png", 2, "4 channels, latents: write them with --out samples.npy"),
    ("--noise {}/absent.npy", 1, "--noise .*absent.npy: there is no such file"),
    ("--noise {}", 2, "--noise .* is no ordinary file"),
    ("--noise {}/n-fifo.npy", 2, "--noise .* is no ordinary file"),
    ("--noise {}/n-4d.npy", 2, r"n-4d.npy has shape \(1, 1, 8, 8\), not \(N, 1, F, H, W\)"),
    ("--noise {}/n-channels.npy", 2, r"has shape \(2, 3, 1, 8, 8\), not \(N, 1, F, H, W\)"),
    ("--noise {}/n-none.npy", 2, r"has shape \(0, 1, 1, 8, 8\)"),
    ("--folder {}/latents --out {}/a.npy --noise {}/n-odd.npy", 2, "--width 7 must be a multiple"),
    ("--noise {}/n-text.npy", 2, "holds <U1, not numbers"),
    ("--noise {}/n-complex.npy", 2, "holds complex64, not numbers"),
    ("--noise {}/n-object.npy", 2, "n-object.npy cannot be read: ValueError: Object arrays"),
    ("--noise {}/n-nan.npy", 2, "n-nan.npy has values that are not finite"),
    ("--noise {}/n-inf.npy", 2, "n-inf.npy has values that are not finite"),
    ("--noise {}/n-large.npy", 2, "n-large.npy has values that are not finite"),
    ("--noise {}/n-cut.npy", 2, "n-cut.npy cannot be read"),
    ("--noise {}/n-empty.npy", 2, "n-empty.npy cannot be read"),
    ("--noise {}/n-open.npy", 2, "n-open.npy cannot be read"),
    ("--noise {}/n-absurd.npy", 2, "n-absurd.npy cannot be read"),
    ("--noise {}/n-negative.npy", 2, "n-negative.npy cannot be read"),
    ("--noise {}/states.npz", 2, "states.npz is no .npy file"),
    ("--noise {}/noise.npy --count 3", 2, "--count 3 must be left out or 2, that of --noise"),
    ("--noise {}/noise.npy --height 16", 2, "--height 16 must be left out or 8, that of --noise"),
    ("--folder {}/text", 2, "a text model needs --text"),
    ("--folder {}/text --text {}/absent.npz", 1, "--text .*absent.npz: there is no such file"),
    ("--folder {}/text --text {}", 2, "--text .* is no ordinary file"),
    ("--folder {}/text --text {}/noise.npy", 2, "noise.npy is no .npz file"),
    (
        "--folder {}/text --text {}/t-lacks.npz",
        2,
        "t-lacks.npz lacks null_text, null_mask; it has text, mask",
    ),
    ("--folder {}/text --text {}/t-features.npz", 2, r"text has shape \(2, 3, 5\), not \(K, L, 4\)"),
    ("--folder {}/text --text {}/t-flat.npz", 2, r"text has shape \(8, 8\), not"),
    ("--folder {}/text --text {}/t-mask.npz", 2, r"mask has shape \(2, 4\), not \(2, 3\), as text says"),
    ("--folder {}/text --text {}/t-zero.npz", 2, r"mask keeps no token in row \[1\]"),
    ("--folder {}/text --text {}/t-scores.npz", 2, "mask must hold 0 and 1"),
    ("--folder {}/text --text {}/t-null.npz", 2, r"null_text has shape \(2, 4\), not \(3, 4\)"),
    ("--folder {}/text --text {}/t-nulls.npz", 2, "null_mask keeps no token"),
    ("--folder {}/text --text {}/t-nan.npz", 2, "text has values that are not finite"),
    ("--folder {}/text --text {}/t-object.npz", 2, "text cannot be read: ValueError: Object arrays"),
    ("--folder {}/text --text {}/t-cut.npz", 2, "t-cut.npz cannot be read"),
    ("--folder {}/text --text {}/t-flipped.npz", 2, "t-flipped.npz: text cannot be read"),
    ("--folder {}/text --text {}/t-lzma.npz --guidance 1", 2, "t-lzma.npz: text is no array"),
    ("--folder {}/text --text {}/states.npz --label 1", 2, "--label 1 must be left out"),
    ("--folder {}/absent", 1, "absent/config.json: there is no such file"),
    ("--folder {}/bare", 1, "bare/config.json: there is no such file"),
    ("--folder {}/noise.npy", 1, "config.json: there is no such file"),
    ("--folder {}/cut", 2, "cut/config.json is not JSON"),
    ("--folder {}/emptied", 2, "emptied/config.json is not JSON"),
    ("--folder {}/binary", 2, "binary/config.json is not JSON"),
    ("--folder {}/deep", 2, "deep/config.json is not JSON"),
    ("--folder {}/list", 2, "list/config.json has no section architecture"),
    ("--folder {}/depth0", 2, "architecture.depth is 0; it must be an integer of at least 1"),
    ("--folder {}/depth-huge", 2, "model.safetensors has 2 blocks, and config.json says depth 100000000000"),
    ("--folder {}/depth-text", 2, 'architecture.depth is "2"; it must be an integer'),
    ("--folder {}/heads", 2, "architecture.width 32 must be a multiple of 16 and of architecture.heads 3"),
    ("--folder {}/width-huge", 2, "GiB of memory"),
    ("--folder {}/adaln", 2, 'architecture.adaln is "triple"; it must be one of single, zero'),
    ("--folder {}/modulated", 2, "architecture.modulated is .*; it must be a list of proxy, "),
    ("--folder {}/no-patch", 2, "config.json has no architecture.patch"),
    ("--folder {}/unknown", 2, "architecture.bigger is no field of the network"),
    ("--folder {}/no-section", 2, "has no section config.sampling"),
    ("--folder {}/sections", 2, "has no section config"),
    ("--folder {}/steps0", 2, "config.sampling.steps is 0"),
    ("--folder {}/guidance-nan", 2, "config.sampling.guidance is NaN; it must be a finite number"),
    ("--folder {}/interval", 2, "config.sampling.guidance_interval is .0.5, 0.1.; it must be two numbers"),
    ("--folder {}/method", 2, "config.sampling.sampler must be one of euler, heun, sde"),
    ("--folder {}/prediction", 2, "config.diffusion.prediction must be velocity"),
    (
        "--folder {}/grid",
        2,
        "sampling.time_grid is 'leading'; with sampling.sampler='euler' it must be one of",
    ),
    ("--folder {}/guided", 2, "config.sampling.guidance_channels must be at most 1"),
    ("--folder {}/height-float", 2, "config.data.height is 8.0; it must be an integer"),
    ("--folder {}/window", 2, "config.compression.fixed is .1, 0, 2.; it must be three integers"),
    ("--folder {}/proxy", 2, r"samples of 1 x 8 x 8: proxy_ratio=\(1, 3, 3\) must divide the window"),
    ("--folder {}/mlp", 2, r"net.0.proj.bias has shape \(128,\), not \(96,\)"),
    ("--folder {}/classes", 2, "embedding_table.weight has shape"),
    ("--folder {}/w-none", 1, "model.safetensors: there is no such file"),
    ("--folder {}/w-cut", 2, "model.safetensors cannot be read"),
    ("--folder {}/w-empty", 2, "model.safetensors cannot be read"),
    ("--folder {}/w-pointer", 2, "model.safetensors cannot be read"),
    ("--folder {}/w-other", 2, "model.safetensors .*config.json is of another network"),
    ("--folder {}/w-shape", 2, r"proj_out.bias has shape \(0,\), not \(1,\), as config.json says"),
    ("--folder {}/w-int", 2, "proj_out.bias is of I64, not one of F64"),
    ("--folder {}/w-nan --count 1", 1, "the network's output is not finite at t = 1"),
]


@pytest.mark.parametrize(("arguments", "code", "line"), WRONG)
def test_one_line_and_no_file(arguments, code, line, place, program, monkeypatch, capsys):
    """The weights are loaded only where samples turn out not to be finite."""
    loads = []
    load = program.load
    monkeypatch.setattr(program, "load", lambda *a, **options: (loads.append(a), load(*a, **options))[1])
    monkeypatch.chdir(place)
    before = sorted(place.iterdir())
    words = [word.format(place) for word in arguments.split()]
    try:
        found = program.main(words)
    except SystemExit as error:  # how argparse ends
        found = error.code
    out, err = capsys.readouterr()
    assert re.fullmatch("error: [^\n]+\n", err), err
    assert re.search(line, err), err
    assert (found, out) == (code, "")
    assert sorted(place.iterdir()) == before
    assert bool(loads) == ("not finite at t" in line)


def test_there_are_more_cases_than_were_found():
    assert len({arguments for arguments, _, _ in WRONG}) == len(WRONG) > 109


@pytest.mark.parametrize(
    "arguments",
    [
        "--count 3 --out a.PNG",
        "--noise {}/noise.npy --count 2 --height 8 --out a.npy --steps 1 --sampler heun",
        "--folder {}/text --text {}/states.npz --out a.npy --count 1",
        "--folder {}/text --text {}/t-lacks.npz --guidance 1 --out a.npy --count 1",
        "--folder {}/none --out a.npy --count 1 --dtype bfloat16 --sampler sde",
        "--folder {}/latents --out a.NPY --count 1 --height 4 --width 12 --label 9 --seed 4294967295",
    ],
)
def test_what_is_right_is_sampled(arguments, place, program, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert program.main([word.format(place) for word in arguments.split()]) == 0
    assert re.fullmatch(r"\d samples: a\.\w+\n", capsys.readouterr().out)
    (file,) = tmp_path.iterdir()
    if file.suffix.lower() == ".npy":
        assert np.isfinite(np.load(file)).all()


def test_a_write_that_fails_leaves_nothing(place, program, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(program.np, "save", full)
    assert program.main(["--count=1", f"--out={tmp_path / 'a.npy'}"]) == 1
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device\n"
    assert list(tmp_path.iterdir()) == []


def test_memory_that_gives_out_is_a_line(place, program, tmp_path, monkeypatch, capsys):
    def give_out(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(program, "flow_sample", give_out)
    assert program.main(["--count=1", f"--out={tmp_path / 'a.npy'}"]) == 1
    assert re.fullmatch(
        "error: out of memory, a smaller --batch .*can't allocate.*\n", capsys.readouterr().err
    )


def test_debug_shows_where_an_error_comes_from(program, place):
    with pytest.raises(ValueError, match="--steps 0"):
        program.main(["--steps=0", "--debug", f"--out={place / 'a.png'}"])


def test_as_a_program(place, tmp_path):
    """Without JAX and this package, from elsewhere, as users start it."""
    script = [sys.executable, "-E", str(place / "class" / "sample.py"), "--steps=-1"]
    done = subprocess.run(script, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch("error: --steps -1 must be [^\n]+\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_the_folder_that_is_missing(place, tmp_path):
    shutil.copytree(place / "class", tmp_path / "class")
    (tmp_path / "class" / "samplers.py").unlink()
    script = [sys.executable, "-E", str(tmp_path / "class" / "sample.py")]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch("error: No module named 'samplers': pip install [^\n]+\n", done.stderr)


def test_the_weights_of_the_fixtures_are_sound(place):
    assert all(torch.isfinite(t).all() for t in load_file(place / "class" / "model.safetensors").values())
