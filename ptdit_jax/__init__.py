"""Training, scale-out and study of proxy-tokenized diffusion transformers (PT-DiT, arXiv 2409.04005) in JAX."""
