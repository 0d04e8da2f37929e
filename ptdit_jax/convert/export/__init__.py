"""What `convert to-torch` copies beside the weights: files that need PyTorch, and nothing of this package."""
