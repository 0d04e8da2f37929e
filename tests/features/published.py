"""Random weights in the published layouts, and the independent implementations that read them."""

import importlib
import importlib.util
import sys
import types

import torch

from ptdit_jax.features import inception


def fidelity(name):
    """A module of torch-fidelity, without what its package imports: torchvision's compiled part may not load."""
    if "torch_fidelity" not in sys.modules:
        package = types.ModuleType("torch_fidelity")
        package.__path__ = list(importlib.util.find_spec("torch_fidelity").submodule_search_locations)
        sys.modules["torch_fidelity"] = package
    return importlib.import_module(f"torch_fidelity.{name}")


def torchmetrics(name):
    """A module of torchmetrics, which imports torch-fidelity where it is installed."""
    fidelity("feature_extractor_inceptionv3")
    return importlib.import_module(f"torchmetrics.{name}")


def inception_tensors():
    """Random weights whose activations neither vanish nor overflow, and norms that do something."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, shape in inception.shapes().items():
        value = torch.randn(shape, generator=generator)
        if name.endswith("conv.weight"):
            value *= (2 / value[0].numel()) ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            value = 0.75 + 0.5 * torch.rand(shape, generator=generator)
        elif name == "fc.weight":
            value *= 0.02
        else:
            value *= 0.1
        found[name] = value
    return found


def inception_file(folder):
    """The file, as pytorch-fid has it: with the counters of the norms."""
    tensors = inception_tensors()
    means = [name for name in tensors if name.endswith("running_mean")]
    counters = {name.replace("running_mean", "num_batches_tracked"): torch.tensor(0) for name in means}
    torch.save(tensors | counters, folder / "pt_inception.pth")
    return folder / "pt_inception.pth"


def inception_oracle(file, features):
    """torch-fidelity's network on uint8 (N, 3, H, W)."""
    module = fidelity("feature_extractor_inceptionv3")
    return module.FeatureExtractorInceptionV3("inception", features, feature_extractor_weights_path=str(file))
