"""What `convert to-torch` copies beside the weights: files that need PyTorch, and nothing of this package."""

FILES = (
    "modeling_ptdit.py",
    "samplers.py",
    "settings.py",
    "inputs.py",
    "devices.py",
    "pictures.py",
    "decoding.py",
    "prompts.py",
    "sample.py",
    "requirements.txt",
)
"""Copied as they are, each after those that it imports; README.md is filled in."""
COPIED = {
    "grids": "ptdit_jax.diffusion.grids",
    "clean": "ptdit_jax.encoders.clean",
    "torch_causal_vae": "ptdit_jax.convert.torch_causal_vae",
}
"""Modules of the project that import nothing of it, by their names in an export."""
