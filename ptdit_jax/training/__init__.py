"""Training: state, step, optimizer, metrics, checkpoints for any network and loss; `denoising` is ours."""
