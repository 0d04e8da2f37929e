"""Random weights in the published layouts, and the independent implementations that read them."""

import importlib
import importlib.util
import sys
import types

import torch

from ptdit_jax.features import c3d, i3d, inception


def fidelity(name):
    """A module of torch-fidelity, without what its package imports: torchvision's compiled part may not load."""
    if "torch_fidelity" not in sys.modules:
        package = types.ModuleType("torch_fidelity")
        package.__path__ = list(importlib.util.find_spec("torch_fidelity").submodule_search_locations)
        sys.modules["torch_fidelity"] = package
    return importlib.import_module(f"torch_fidelity.{name}")


def fidelity_metric(name):
    """A module of torch-fidelity's figures, without what reads its data sets, for which it needs torchvision."""
    fidelity("helpers")
    utils = types.ModuleType("torch_fidelity.utils")
    utils.__getattr__ = lambda name: None
    sys.modules.setdefault("torch_fidelity.utils", utils)
    return importlib.import_module(f"torch_fidelity.{name}")


def torchmetrics(name):
    """A module of torchmetrics, which imports torch-fidelity where it is installed."""
    fidelity("feature_extractor_inceptionv3")
    return importlib.import_module(f"torchmetrics.{name}")


def inception_tensors():
    """Random weights of Inception-v3."""
    return random_tensors(inception.shapes(), last="fc.weight")


def random_tensors(shapes, last):
    """Random weights whose activations neither vanish nor overflow, and norms that do something."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=generator)
        if name == last:
            value *= 0.02
        elif name.endswith(("conv.weight", "conv3d.weight")):
            value *= (2 / value[0].numel()) ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            value = 0.75 + 0.5 * torch.rand(shape, generator=generator)
        else:
            value *= 0.1
        found[name] = value
    return found


def inception_file(folder):
    """The file, as pytorch-fid has it: with the counters of the norms."""
    return _saved(inception_tensors(), folder / "pt_inception.pth")


def i3d_tensors():
    """Random weights of Inception-3D."""
    return random_tensors(i3d.shapes(), last="logits.conv3d.weight")


def i3d_file(folder):
    """The file, as VideoGPT has it."""
    return _saved(i3d_tensors(), folder / "i3d_pretrained_400.pt")


def c3d_tensors():
    """Random weights of C3D, and the mean of pixels."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, shape in c3d.shapes().items():
        value = torch.randn(shape, generator=generator)
        if name == "mean":
            value = 100 + 10 * value
        elif name == "fc8.weight":
            value *= 0.02 / shape[1] ** 0.5  # probabilities are neither alike nor 0 and 1
        elif name.endswith(".weight"):
            value *= (2 / value[0].numel()) ** 0.5
        found[name] = value
    return found


def c3d_file(folder):
    """The file, as PyTorch saves a state dict."""
    return _saved(c3d_tensors(), folder / "c3d_ucf101.pt")


def _saved(tensors, path):
    means = [name for name in tensors if name.endswith("running_mean")]
    counters = {name.replace("running_mean", "num_batches_tracked"): torch.tensor(0) for name in means}
    torch.save(tensors | counters, path)
    return path


def inception_oracle(file, features):
    """torch-fidelity's network on uint8 (N, 3, H, W)."""
    module = fidelity("feature_extractor_inceptionv3")
    return module.FeatureExtractorInceptionV3("inception", features, feature_extractor_weights_path=str(file))
