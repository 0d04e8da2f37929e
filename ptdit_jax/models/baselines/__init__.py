"""Networks to compare with, each a small file that swaps the token mixer and reuses the rest (docs/baselines.md)."""
