"""The exported PyTorch module against the released one and against ours."""

import dataclasses

import numpy as np
import pytest
import torch

from ptdit_jax.convert.export import modeling_ptdit
from tests.models.golden import Golden

NAMES = ("image_w122", "masked_w144_p122", "masked_w144_p122_same_t", "video_w422")


def torch_architecture(arch, frames=1):
    fields = [
        field.name for field in dataclasses.fields(modeling_ptdit.Architecture) if field.name != "frames"
    ]
    return modeling_ptdit.Architecture(**{name: getattr(arch, name) for name in fields}, frames=frames)


def as_torch(tree):
    if isinstance(tree, tuple):
        return tuple(map(as_torch, tree))
    return None if tree is None else torch.from_numpy(np.array(tree))


@pytest.mark.parametrize("name", NAMES)
def test_goldens(name):
    """Released weights load strictly, buffer included, and give the right outputs of each sample."""
    golden = Golden(name)
    frames = golden.tensors["pos_embed.pos_embed"].shape[1]
    model = modeling_ptdit.PTDiT(torch_architecture(golden.arch, frames))
    np.testing.assert_allclose(
        model.pos_embed.pos_embed, golden.tensors["pos_embed.pos_embed"], rtol=0, atol=1e-6
    )
    model.load_state_dict({name: as_torch(value) for name, value in golden.tensors.items()}, strict=True)
    with torch.no_grad():
        out = model(*(as_torch(value) for value in golden.inputs()), **golden.call)
    np.testing.assert_allclose(out, golden.arrays["output_per_sample"], rtol=0, atol=1e-4)
