"""What `convert to-torch` copies beside the weights: files that need PyTorch, and nothing of this package."""

FILES = (
    "modeling_ptdit.py",
    "samplers.py",
    "settings.py",
    "inputs.py",
    "sample.py",
    "requirements.txt",
)
"""Copied as they are, each after those that it imports; README.md is filled in."""
