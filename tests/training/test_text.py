"""Text-conditional runs: train on stored states, resume, keep the empty caption, and follow the text in samples."""

import shutil

import numpy as np
import pytest

from configs import common
from data_pipelines.text import NULL_FILE, write_null
from ptdit_jax import train
from ptdit_jax.experiment import null_text
from ptdit_jax.sample import __main__ as sample
from ptdit_jax.sample import conditions

LENGTH, DIM = 5, 12
CONFIG = {
    "model.variant": "custom",
    "model.depth": 1,
    "model.width": 32,
    "model.heads": 2,
    "model.channels": 1,
    "model.sample_size": 4,
    "model.condition": "text",
    "model.text_dim": DIM,
    "model.text_length": LENGTH,
    "data.name": "arrays",
    "data.height": 4,
    "data.width": 4,
    "data.pixels_per_latent": 1,
    "data.batch": 16,
    "compression.fixed": (1, 2, 2),
    "diffusion.times": "uniform",  # pure noise is where the text alone decides
    "optimizer.learning_rate": 1e-2,
    "optimizer.warmup_steps": 20,
    "train.steps": 240,
    "train.ema_decays": (),
    "checkpoint.every": 120,
    "sampling.ema": 0.0,
    "sampling.steps": 4,
    "sampling.guidance": 2.0,
    "sampling.count": 6,
    "sampling.batch": 8,
}
KINDS = np.random.default_rng(7).normal(size=(2, DIM))  # what dark and bright images are called


def caption(kind, count, seed):
    """`count` states around those of a kind."""
    return KINDS[kind] + 0.1 * np.random.default_rng(seed).normal(size=(count, DIM))


def config_for(folder, **fields):
    config = common.get_config()
    changes = {name.replace("__", "."): value for name, value in fields.items()}
    config.update_from_flattened_dict(CONFIG | {"data.path": str(folder)} | changes)
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two shards of images that are dark or bright as their captions say, of one to five states each."""
    folder = tmp_path_factory.mktemp("data")
    for name, bits in (("a", np.float16), ("b", np.uint16)):
        kinds = np.arange(24) % 2
        length = 1 + np.arange(24) % LENGTH
        text = np.concatenate([caption(k, n, i) for i, (k, n) in enumerate(zip(kinds, length, strict=True))])
        if bits == np.uint16:
            text = (text.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        x = np.broadcast_to(np.where(kinds, 0.8, -0.8)[:, None, None, None], (24, 1, 4, 4))
        np.savez(folder / f"{name}.npz", x=x.astype(np.float32), text=text.astype(bits), text_length=length)
    write_null(folder / NULL_FILE, np.ones((2, DIM), np.float32), np.array([1, 0]))
    return folder


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """The folder of a run that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("trained") / "run"
    assert train.main(config_for(folder), workdir) == 0
    return workdir


def command(workdir, *arguments):
    return sample.main(sample.parse(["--checkpoint", str(workdir), *map(str, arguments)]))


def write_states(path, kinds, *, null=None):
    """What `sample --text` takes: a caption of each kind, of three states."""
    text = np.stack([caption(kind, 3, 100 + kind) for kind in kinds]).astype(np.float32)
    arrays = {"text": text, "mask": np.ones(text.shape[:2])}
    if null is not None:
        arrays |= {"null_text": null, "null_mask": np.ones(len(null))}
    np.savez(path, **arrays)
    return path


def losses(workdir):
    return np.genfromtxt(workdir / "metrics.csv", delimiter=",", names=True)["loss"]


def test_a_run_learns_and_leaves_what_it_should(trained):
    loss = losses(trained)
    assert loss[-20:].mean() < loss[:5].mean() / 2
    assert (trained / "samples.png").exists()
    with np.load(trained / NULL_FILE) as file:
        np.testing.assert_array_equal(file["null_text"], np.ones((LENGTH, DIM)) * file["null_mask"][:, None])
        np.testing.assert_array_equal(file["null_mask"], np.arange(LENGTH) < 1)


def test_a_resumed_run_is_the_same(trained, folder, tmp_path):
    """From the checkpoint in the middle, with text and empty caption read again."""
    workdir = tmp_path / "run"
    shutil.copytree(trained, workdir)
    shutil.rmtree(workdir / "checkpoints" / "240")
    for name in ("samples.png", "loss.png"):
        (workdir / name).unlink()
    assert train.main(config_for(folder), workdir) == 0
    for name in ("metrics.csv", "samples.png", NULL_FILE):
        assert (workdir / name).read_bytes() == (trained / name).read_bytes(), name


def test_a_run_does_not_go_on_with_another_empty_caption(trained, folder, tmp_path):
    data, workdir = tmp_path / "data", tmp_path / "run"
    shutil.copytree(folder, data)
    shutil.copytree(trained, workdir)
    write_null(data / NULL_FILE, np.zeros((1, DIM), np.float32), np.array([1]))
    with pytest.raises(ValueError, match=r"null_text\.npz, which the run was started with, is not the empty"):
        train.main(config_for(data), workdir)


def test_samples_follow_their_texts(trained, tmp_path):
    """Noise alone tells neither kind, so 32 right samples mean that the text was read."""
    states = write_states(tmp_path / "states.npz", [0, 1])
    files = ["--out", tmp_path / "a.npy", "--npz", tmp_path / "a.npz"]
    assert command(trained, "--text", states, "--count", 32, "--batch", 32, *files) == 0
    images = np.load(tmp_path / "a.npy")
    assert (images.shape, images.dtype) == ((32, 1, 1, 4, 4), np.float32)
    means = images.mean(axis=(1, 2, 3, 4))
    np.testing.assert_array_equal(means > 0, np.arange(32) % 2 == 1)
    with np.load(tmp_path / "a.npz") as file:
        assert file.files == ["arr_0"]
        assert (file["arr_0"].shape, file["arr_0"].dtype) == ((32, 4, 4, 1), np.uint8)


def test_without_the_empty_caption_there_is_no_dropout(folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    (data / NULL_FILE).unlink()
    with pytest.raises(
        ValueError, match=r"train\.condition_dropout=0\.1 needs .*null_text\.npz in data\.path"
    ):
        train.main(config_for(data), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    config = config_for(data, train__condition_dropout=0.0, sampling__guidance=1.0)
    assert null_text.of_data(config) is None


def test_guidance_by_the_empty_caption_of_the_run_or_of_the_file(trained, tmp_path):
    """A model that was not trained here comes without one."""
    kept = null_text.of_run(config_for(""), trained)
    states = write_states(tmp_path / "states.npz", [0, 1, 1], null=np.ones((1, DIM), np.float32))
    args = sample.parse(["--checkpoint=.", "--text", str(states)])
    for workdir in (trained, tmp_path):
        text, null = conditions.read_text(args, config_for(""), workdir)
        assert null_text.equal(null, kept)
        assert [array.shape for array in text] == [(3, LENGTH, DIM), (3, LENGTH)]
        np.testing.assert_array_equal(text[1].sum(1), 3)
    write_states(states, [0], null=np.zeros((1, DIM), np.float32))
    with pytest.raises(ValueError, match="its null_text is not the one that the run was trained with"):
        conditions.read_text(args, config_for(""), trained)
    write_states(states, [0])
    with pytest.raises(ValueError, match=r"guidance 2 needs the empty caption: .* has no null_text\.npz"):
        conditions.read_text(args, config_for(""), tmp_path)
    assert conditions.read_text(args, config_for("", sampling__guidance=1.0), tmp_path)[1] is None


def test_the_empty_caption_of_a_copied_step_is_beside_it(trained, tmp_path):
    step = next((trained / "checkpoints").iterdir())
    (tmp_path / "run").symlink_to(trained)
    assert (
        null_text.folder_of(step)
        == null_text.folder_of(tmp_path / "run" / "checkpoints" / step.name)
        == trained
    )
    run = tmp_path / "copy of the run"
    shutil.copytree(step, run / "best")
    assert null_text.folder_of(run / "best") == run / "best"  # where it may be put
    shutil.copyfile(trained / NULL_FILE, run / NULL_FILE)
    assert null_text.folder_of(run / "best") == run
    shutil.copyfile(trained / NULL_FILE, run / "best" / NULL_FILE)
    assert null_text.folder_of(run / "best") == run / "best"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "needs --prompt or --prompts FILE, or --text FILE.npz"),
        (("--label", 1), "--label=1 must not be given: the model has model.condition='text'"),
        (("--prompt", "a three"), "--prompt=.* needs a text encoder, .* no text_encoder.path: .*'arrays'"),
        (("--text", "absent.npz"), "absent.npz: No such file or directory"),
    ],
)
def test_mistakes(trained, arguments, message):
    with pytest.raises(ValueError, match=message):
        command(trained, *arguments)


def test_one_condition_at_a_time(capsys):
    with pytest.raises(SystemExit):
        sample.parse(["--checkpoint=.", "--label=1", "--text=a.npz"])
    assert "not allowed with argument --label" in capsys.readouterr().err
