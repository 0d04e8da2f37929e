"""Training: state, step, optimizer, metrics and checkpoints, for any network and loss; `denoising` is the project's."""
