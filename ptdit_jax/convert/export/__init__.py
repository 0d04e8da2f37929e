"""What `convert to-torch` copies beside the weights: files that need PyTorch, and nothing of this package."""

FILES = ("modeling_ptdit.py", "sample.py", "samplers.py", "requirements.txt")
"""Copied as they are; README.md is filled in."""
