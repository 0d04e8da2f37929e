"""Reference values of the released module (tests/goldens) and the network that must reproduce them."""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
from flax import nnx

from ptdit_jax import models
from ptdit_jax.convert import layouts

FOLDER = pathlib.Path(__file__).parent.parent / "goldens"


class Golden:
    """Weights, inputs and activations of one released module, and ours with the same weights.

    Attributes:
      arch: the architecture its json declares.
      model: our network holding its weights, unrolled.
      arrays: everything in the npz.
      call: keyword arguments of the network's call: window and proxy_ratio.
    """

    def __init__(self, name: str):
        self.config = json.loads((FOLDER / f"{name}.json").read_text())
        with np.load(FOLDER / f"{name}.npz") as file:
            self.arrays = {key: file[key] for key in file.files}
        c = self.config
        self.arch = models.Architecture(
            family="ptdit",
            depth=c["num_layers"],
            width=c["num_heads"] * c["head_dim"],
            heads=c["num_heads"],
            mlp_ratio=4,
            patch=c["patch_size"],
            channels=c["in_channels"],
            out_channels=c["out_channels"],
            sample_size=c["sample_size"],
            condition="text",
            classes=0,
            text_dim=c["caption_channels"],
            adaln="single",
            modulated=(),
            zero_linears=True,
            shift_every=1,
            giim=True,
            tcm=True,
            extraction="average",
            injection="cross_attention",
            linear_tokens=0,
            mediators=(),
            positions="grid",
            time_input="1000t",
            compute_dtype="float32",
            remat="none",
            attention_chunk=0,
            unroll=0,
        )
        self.tensors = {key[2:]: value for key, value in self.arrays.items() if key.startswith("w/")}
        graphdef, params = nnx.split(nnx.eval_shape(lambda: models.build(self.arch, nnx.Rngs(0))))
        flat = dict(nnx.to_flat_state(params))
        ours = layouts.named("ptdit").from_tensors(self.tensors, self.arch)
        assert set(flat) == set(ours)
        for path, array in ours.items():
            assert flat[path].shape == array.shape, path
            flat[path] = flat[path].replace(jnp.asarray(array))
        self.model = nnx.merge(graphdef, nnx.from_flat_state(flat))
        self.call = {"window": tuple(c["compress_ratios"]), "proxy_ratio": tuple(c["proxy_compress_ratios"])}

    def inputs(self):
        """x (B, C, F, H, W), t (B,) in [0, 1], (text, mask)."""
        a = self.arrays
        text = jnp.asarray(a["in/text"])
        mask = jnp.asarray(a.get("in/mask", np.ones(text.shape[:2], np.float32)))
        return jnp.asarray(a["in/x"]), jnp.asarray(a["in/t"]) / 1000.0, (text, mask)
