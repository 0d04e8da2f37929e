"""Frozen networks between people and the denoiser: captions to text states, pictures and films to latents and back."""
