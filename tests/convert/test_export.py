"""The exported folder by itself: samples like ours without JAX, trains, and dispatches to an NPU's attention."""

import json
import os
import shutil
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from data_pipelines.sources import digit_scans
from ptdit_jax import diffusion
from ptdit_jax.convert import conversion, layouts, parity, storage
from ptdit_jax.convert.export import modeling_ptdit
from ptdit_jax.diffusion import samplers
from ptdit_jax.diffusion.guidance import classifier_free
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.generate import generate, sample_keys
from ptdit_jax.parallel.mesh import make_mesh
from tests.convert import small
from tests.models import tiny

STEPS = 50


def export(folder, **fields):
    """An exported tiny model: its folder, its config and its parameters in JAX."""
    config = small.config(sampling__ema=0.0, **fields)
    params = small.random_params(config)
    run = small.write_checkpoint(folder / "run", config, params=params)
    conversion.to_torch(run, folder / "export", verify=False)
    return folder / "export", config, params


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    # The end of the interval is the time of a step, which rounding must not move to the other side.
    return export(tmp_path_factory.mktemp("digits"), sampling__guidance_interval=(0.0, 0.3))


def isolated(folder, *arguments):
    """Run the exported sample.py where JAX and this package cannot be imported."""
    blocked = folder.parent / "blocked"
    for name in ("jax", "jaxlib", "flax", "ptdit_jax", "configs"):
        (blocked / name).mkdir(parents=True, exist_ok=True)
        (blocked / name / "__init__.py").write_text(f"raise ImportError('{name} is blocked')\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, str(folder / "sample.py"), *map(str, arguments)],
        cwd=folder.parent,
        env=environment | {"PYTHONPATH": str(blocked), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_class_samples_equal_ours(digits, tmp_path):
    """What `ptdit_jax.sample` makes, from the same noise: 50 guided steps, without JAX, within 1e-3."""
    folder, config, params = digits
    config.sampling.update({"steps": STEPS, "guidance": 2.0, "batch": 4})
    built = build(config)
    labels = np.array([3, 1, 4, 1], np.int32)
    with pytest.MonkeyPatch.context() as patch:
        jit = jax.jit
        patch.setattr(jax, "jit", lambda f, **options: jit(f, **{"compiler_options": tiny.FAST} | options))
        ours = generate(
            built,
            params,
            labels,
            sampling=config.sampling,
            seed=5,
            mesh=make_mesh({"data": -1, "fsdp": 1}),
            description=None,
        )
    noise = jax.vmap(lambda key: jax.random.normal(key, built.shape))(sample_keys(5, labels, built.prng))
    chosen = labels == 1  # two samples, by their own noise
    np.save(tmp_path / "noise.npy", np.asarray(noise)[chosen])
    arguments = ["--label", 1, "--noise", tmp_path / "noise.npy", "--out", tmp_path / "a.npy"]
    done = isolated(folder, *arguments, "--steps", STEPS, "--guidance", 2)
    assert done.returncode == 0, done.stderr
    theirs = np.load(tmp_path / "a.npy")
    assert theirs.std() > 0.1
    np.testing.assert_allclose(theirs, ours[chosen], rtol=0, atol=1e-3)
    png = isolated(folder, "--count", 3, "--steps", 2, "--out", tmp_path / "a.png")
    assert png.returncode == 0, png.stderr
    assert (tmp_path / "a.png").stat().st_size > 100


def test_text_samples_equal_ours(tmp_path, exported_sample):
    """A text model with stored text states of its condition and of the empty text."""
    folder, config, params = export(
        tmp_path,
        model__condition="text",
        model__text_dim=12,
        diffusion__shift="latent_frames",
        sampling__guidance=3.0,
        sampling__guidance_interval=(0.2, 0.9),
    )
    rng = np.random.default_rng(0)
    states = {
        "text": rng.standard_normal((2, 5, 12)).astype(np.float32),
        "mask": np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.float32),
        "null_text": rng.standard_normal((5, 12)).astype(np.float32),
        "null_mask": np.array([1, 0, 0, 0, 0], np.float32),
    }
    noise = rng.standard_normal((2, 1, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "states.npz", **states)
    np.save(tmp_path / "noise.npy", noise)
    model = small.network(config, params)
    built = build(config)
    null = tuple(jnp.broadcast_to(states[f"null_{n}"], states[n].shape) for n in ("text", "mask"))
    denoise = classifier_free(
        lambda x, t, text: model(x, t, text, window=(1, 2, 2)),
        (jnp.asarray(states["text"]), jnp.asarray(states["mask"])),
        null,
        3.0,
        (0.2, 0.9),
    )

    def run(noise):
        key = jax.random.key(0)
        return samplers.sample(key, denoise, noise, built.objective, sampler="euler", steps=STEPS)

    ours = jax.jit(run, compiler_options=tiny.FAST)(jnp.asarray(noise))
    files = [f"--text={tmp_path / 'states.npz'}", f"--noise={tmp_path / 'noise.npy'}"]
    args = exported_sample.parse([f"--folder={folder}", *files, f"--steps={STEPS}"])
    theirs = exported_sample.generate(args)
    assert theirs.std() > 0.1
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match="a text model needs --text"):
        exported_sample.generate(exported_sample.parse([f"--folder={folder}"]))


@pytest.mark.parametrize("sampler", [name for names in samplers.SAMPLERS.values() for name in names])
@pytest.mark.parametrize("learn_variance", [False, True])
def test_samplers_equal_ours(sampler, learn_variance, exported_sample, monkeypatch):
    """Every sampler on a plain function; the noise of those that draw is a constant on both sides."""
    path = "flow" if sampler in samplers.SAMPLERS["flow"] else "vp"
    if path == "flow" and learn_variance:
        return
    shift = "latent_frames" if path == "flow" else "none"
    prediction = {"flow": "velocity", "vp": "eps" if learn_variance else "v"}[path]
    size = {"height_px": 256, "width_px": 512, "latent_frames": 2, "pixel_frames": 2}
    fields = {"path": path, "prediction": prediction, "learn_variance": learn_variance, "times": "uniform"}
    fields |= {"shift": shift, "shift_scale": 1.5 if path == "flow" else 1.0}
    rules = {"weighting": "uniform", "min_snr_gamma": 5.0}
    objective = diffusion.make(**fields, **rules, **size)
    noise = np.random.default_rng(0).standard_normal((2, 3, 2, 4, 4)).astype(np.float32)

    def denoise(x, t, stack):
        value = 0.3 * x + 0.2 * t[:, None, None, None, None]
        return stack([value, 0.5 * value], 1) if learn_variance else value

    monkeypatch.setattr(samplers.jax.random, "normal", lambda key, shape, dtype: jnp.full(shape, 0.7, dtype))
    ours = samplers.sample(
        jax.random.key(0),
        lambda x, t: denoise(x, t, jnp.concatenate),
        jnp.asarray(noise),
        objective,
        sampler=sampler,
        steps=9,
    )
    monkeypatch.setattr(exported_sample.torch, "randn", lambda shape, generator: torch.full(shape, 0.7))
    call = [lambda x, t: denoise(x, t, torch.cat), torch.from_numpy(noise)]
    generator = torch.Generator()
    if path == "flow":
        ratio = exported_sample.shift_ratio(fields, {}, 2, 256, 512)
        rows = list(exported_sample.flow_rows(sampler, 9, ratio))
        theirs = exported_sample.flow_sample(*call, rows, sampler, generator)
    else:
        rows = list(exported_sample.vp_rows(sampler, 9))
        options = {"prediction": prediction, "learn_variance": learn_variance}
        theirs = exported_sample.vp_sample(*call, rows, sampler, generator, **options)
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("euler", {"time_grid": "sit"}),
        ("heun", {"time_grid": "flow_match_euler"}),
        ("sde", {"sde_last_step": "mean", "sde_last_step_size": 0.04}),
        ("sde", {"sde_last_step": "none"}),
        ("ddpm", {"time_grid": "trailing"}),
        ("ddim", {"time_grid": "guided_diffusion"}),
        ("ddim", {"time_grid": "time_quadratic"}),
        ("dpmpp_2m", {"time_grid": "linspace"}),
        ("dpmpp_2m", {"time_grid": "logSNR"}),
    ],
)
@pytest.mark.parametrize("steps", [2, 21])
def test_rows_of_every_grid_equal_ours(sampler, options, steps, exported_sample):
    """The numbers of the tables, which `test_samplers_equal_ours` shows to be used alike."""
    path = "flow" if sampler in samplers.SAMPLERS["flow"] else "vp"
    prediction = "velocity" if path == "flow" else "eps"
    rules = {"shift": "none", "shift_scale": 1.0, "weighting": "uniform", "min_snr_gamma": 5.0}
    objective = diffusion.make(
        path=path, prediction=prediction, learn_variance=False, times="uniform", **rules
    )
    ours = samplers.make_sampler(objective, sampler, steps=steps, **options).table
    if path == "flow":
        names = {"sde_last_step": "last_step", "sde_last_step_size": "size", "time_grid": "time_grid"}
        given = {names[name]: value for name, value in options.items()}
        rows = list(exported_sample.flow_rows(sampler, steps, 1.0, **given))
    else:
        rows = list(exported_sample.vp_rows(sampler, steps, **options))
    theirs = {
        name: np.array([row[name] for row in rows]) for name in rows[0] if all(name in row for row in rows)
    }
    assert len(rows) == len(ours["t"])
    shared = set(ours) & set(theirs) - {"past"}
    assert {"t", "h"} <= shared or {"t", "alpha", "alpha_after", "sigma_after"} <= shared
    for name in shared:
        np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-12, err_msg=name)
    if sampler == "sde":
        np.testing.assert_array_equal(theirs["draws"], ours["noise"] > 0)
        np.testing.assert_array_equal(~theirs["ode"], ours["h_eps"] > 0)
    if sampler == "dpmpp_2m":
        gain = ours["alpha_after"] - ours["alpha"] * ours["keep"]
        np.testing.assert_allclose(-gain * theirs["past"], ours["past"], rtol=1e-9, atol=1e-15)


def test_guided_channels_and_their_line(digits, exported_sample, tmp_path):
    """A network that is one line: one channel of two is guided; a grid of another sampler is a line."""
    network = lambda x, t, label: x * label.reshape(-1, 1, 1, 1, 1)  # noqa: E731
    x, t = torch.ones(1, 2, 1, 1, 1), torch.ones(1)
    for channels, expected in ((0, [1 + 4 * 9, 1 + 4 * 9]), (1, [1 + 4 * 9, 10])):
        denoise = exported_sample.guided(
            network, torch.tensor([10.0]), torch.ones(1), 4.0, (0.0, 1.0), channels
        )
        np.testing.assert_allclose(denoise(x, t).ravel(), expected, rtol=1e-6)
    folder = tmp_path / "folder"
    shutil.copytree(digits[0], folder)
    content = json.loads((folder / "config.json").read_text())
    content["config"]["sampling"]["time_grid"] = "leading"
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"sampling\.time_grid is 'leading'; with .*'euler'"):
        exported_sample.generate(exported_sample.parse([f"--folder={folder}"]))


def test_a_mask_of_zeros_is_no_mask(tmp_path):
    folder, _, _ = export(tmp_path, model__condition="text", model__text_dim=12)
    model = modeling_ptdit.load(folder)
    rng = np.random.default_rng(0)
    x, text = (
        torch.from_numpy(rng.standard_normal(s).astype(np.float32)) for s in ((2, 1, 1, 8, 8), (2, 5, 12))
    )
    outputs = []
    for second in (0, 1):
        mask = torch.tensor([[1, 1, 1, 0, 0], [second] * 5])
        outputs.append(model(x, torch.tensor([0.3, 0.3]), (text, mask), window=(1, 2, 2)))
    assert torch.equal(*outputs)


def test_fine_tune_in_torch_and_back(digits, tmp_path):
    """Adam on real digits lowers the loss; back in JAX the network is the tuned one.

    Gradients with and without gradient checkpointing are equal.
    """
    folder, config, _ = digits
    model = modeling_ptdit.load(folder)
    scans, labels = digit_scans()
    x0, labels = torch.from_numpy(scans[:64])[:, None, None], torch.from_numpy(labels[:64]).long()
    generator = torch.Generator().manual_seed(0)
    t, eps = torch.rand(64, generator=generator), torch.randn(x0.shape, generator=generator)

    def loss():
        at = t[:, None, None, None, None]
        out = model((1 - at) * x0 + at * eps, t, labels, window=(1, 2, 2))
        return ((out - (x0 - eps)) ** 2).mean()

    before = loss()
    plain = torch.autograd.grad(before, list(model.parameters()))
    model.gradient_checkpointing = True
    for a, b in zip(plain, torch.autograd.grad(loss(), list(model.parameters())), strict=True):
        torch.testing.assert_close(a, b)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(20):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    with torch.no_grad():
        after = loss()
    assert after < 0.7 * before.detach()

    save_file(model.state_dict(), tmp_path / "tuned.safetensors")
    conversion.from_torch(tmp_path / "tuned.safetensors", config, tmp_path / "ours")
    arch = conversion.architecture(config)
    params = storage.restore(tmp_path / "ours" / "checkpoints" / "0", "params", arch)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    for name, tensor in layouts.named("ptdit").to_tensors(storage.flattened(params), arch).items():
        np.testing.assert_array_equal(tensor, state[name])
    report = json.loads((tmp_path / "ours" / "parity.json").read_text())
    assert report["checked"]
    assert report["passed"]


class FakeNpu(types.ModuleType):
    """A torch_npu that computes on the CPU what the operator's documentation says, and keeps its arguments."""

    def __init__(self):
        super().__init__("torch_npu")
        self.calls = []

    def npu_fusion_attention(self, query, key, value, head_num, input_layout, *, atten_mask=None, scale=1.0):
        """As documented; a mask is True where no attention is paid."""
        self.calls.append((query, key, value, head_num, input_layout, atten_mask, scale))
        scores = query.float() @ key.float().transpose(-1, -2) * scale
        if atten_mask is not None:
            scores = scores.masked_fill(atten_mask, -float("inf"))
        out = (scores.softmax(-1) @ value.float()).to(value.dtype)
        return out, None, None, None, 0, 0, 0


def test_npu_is_named_when_missing(exported_sample, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_npu", None)
    with pytest.raises(ValueError, match=r"--device npu needs torch_npu: pip install torch_npu") as error:
        exported_sample.choose_device("npu")
    assert "\n" not in str(error.value)


def test_npu_without_its_fused_attention(exported_sample, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_npu", types.ModuleType("torch_npu"))
    device = exported_sample.choose_device("npu")
    assert (device.name, device.dtype, device.attend) == ("npu", torch.bfloat16, modeling_ptdit.sdpa)


@pytest.mark.parametrize("condition", ["class", "text"])
def test_npu_attention(condition, exported_sample, monkeypatch):
    """Dispatch, and the arguments of every call; the network's outputs are those of its own attention."""
    fake = FakeNpu()
    monkeypatch.setitem(sys.modules, "torch_npu", fake)
    device = exported_sample.choose_device("npu")
    assert (device.name, device.dtype) == ("npu", torch.bfloat16)

    config = small.config(model__condition=condition, model__text_dim=8, model__shift_every=1)
    arch = conversion.architecture(config)
    tensors = small.released_tensors(config)
    model = modeling_ptdit.PTDiT(parity.torch_architecture(arch, 1))
    model.load_state_dict(tensors)
    case = small.all_cases(arch, (1, 2, 2))[1]
    x, t, value = jax.tree.map(lambda a: torch.from_numpy(np.array(a)), parity.inputs(arch, case, 0))
    with torch.no_grad():
        plain = model(x, t, value, window=case.window)
        model.use_attention(device.attend)
        fused = model(x, t, value, window=case.window)
        torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-4)
        half = model.to(device.dtype)(x, t, value, window=case.window)
    assert half.isfinite().all()
    assert (half - plain).norm() < 0.1 * plain.norm()
    kinds = 5 if condition == "text" else 4  # proxies, injection, windows, shifted windows, text
    assert len(fake.calls) == 2 * kinds * arch.depth
    masked = 0
    for query, key, values, head_num, layout, mask, scale in fake.calls:
        assert layout == "BNSD"
        assert query.shape[1] == key.shape[1] == head_num == arch.heads
        assert query.shape[0] == key.shape[0]
        assert query.dtype == key.dtype == values.dtype
        assert scale == pytest.approx((arch.width // arch.heads) ** -0.5)
        if mask is not None:
            masked += 1
            assert mask.dtype == torch.bool
            assert mask.is_contiguous()
            assert mask.shape in [(n, 1, query.shape[2], key.shape[2]) for n in (1, query.shape[0])]
            assert not mask.all(-1).any()  # no query without a key
    assert masked == 2 * arch.depth * (3 if condition == "text" else 2)
    assert {call[0].dtype for call in fake.calls} == {torch.float32, torch.bfloat16}
