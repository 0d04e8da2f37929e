"""What the `config.json` of every transformer in diffusers says that has a layout here."""

from typing import Any

from ptdit_jax.models.variants import Architecture


def shared_facts(arch: Architecture) -> dict[str, Any]:
    """What `config.json` says of each of these networks in diffusers.

    Raises:
      ValueError: the MLP is not as wide as all of theirs.
    """
    if arch.mlp_ratio != 4:
        raise ValueError(
            f"--layout=diffusers: model.mlp_ratio={arch.mlp_ratio} must be 4, as all of diffusers' are"
        )
    return {
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
        "attention_head_dim": arch.width // arch.heads,
        "in_channels": arch.channels,
        "norm_elementwise_affine": False,
        "norm_eps": 1e-6,
        "num_attention_heads": arch.heads,
        "num_layers": arch.depth,
        "out_channels": arch.out_channels,
        "patch_size": arch.patch,
        "sample_size": arch.sample_size,
    }
