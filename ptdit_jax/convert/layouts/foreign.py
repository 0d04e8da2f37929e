"""Weights of other projects, told by their names, so that a message says what a file is."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

NAMES = (
    (r"lora_(A|B|down|up|unet|te)\w*\b", "a LoRA, which changes the weights of another file"),
    (r"model\.diffusion_model\.joint_blocks\.", "Stable Diffusion 3 in one file"),
    (r"model\.diffusion_model\.double_blocks\.", "Flux or Hunyuan in one file"),
    (
        r"model\.diffusion_model\.(input_blocks|middle_block)\.",
        "a latent diffusion U-Net (CompVis, Stable Diffusion)",
    ),
    (r"model\.diffusion_model\.", "a checkpoint in CompVis' layout of another network"),
    (r"(input_blocks\.\d+\.\d+|middle_block\.\d+)\.", "a diffusion U-Net (guided-diffusion, CompVis)"),
    (r"(down_blocks|up_blocks)\.\d+\.(resnets|attentions)\.", "a U-Net in diffusers (Stable Diffusion)"),
    (r"double_blocks\.\d+\.img_attn_qkv\.", "HunyuanVideo"),
    (r"double_blocks\.\d+\.img_attn\.", "Flux"),
    (r"joint_blocks\.\d+\.", "Stable Diffusion 3"),
    (r"single_transformer_blocks\.\d+\.", "Flux in diffusers"),
    (r"transformer_blocks\.\d+\.attn\.add_(q|k)_proj\.", "Stable Diffusion 3 in diffusers"),
    (r"blocks\.\d+\.self_attn\.q\.", "Wan"),
    (r"blocks\.\d+\.default_modulation\.|text_embedding_padding$", "HunyuanDiT"),
    (r"patch_embed\.text_proj\.", "CogVideoX in diffusers"),
    (r"(spatial_blocks|temporal_blocks)\.\d+\.|blocks\.\d+\.attn_temp\.", "Open-Sora"),
    (r"(in_blocks|out_blocks)\.\d+\.", "U-ViT"),
    (r"controlnet\.", "a ControlNet of PixArt-α"),
    (
        r"(first_stage_model\.)?(encoder|decoder)\.(conv_in|down|down_blocks|up|up_blocks|mid)\b",
        "an autoencoder (VAE)",
    ),
    (r"(encoder|decoder)\.block\.\d+\.layer\.|shared\.weight$", "a T5 text encoder"),
    (r"text_model\.", "a CLIP text encoder"),
)
"""(expression that a name of the file has at its start or after a dot, what the file then is); the first counts."""

LEGACY = {"ada_norm_zero": "DiTTransformer2DModel", "ada_norm_single": "PixArtTransformer2DModel"}
"""By `norm_type`: what `Transformer2DModel` of diffusers became."""


def of_names(names: Iterable[str]) -> str | None:
    """What a file with these names is, or None where that cannot be told."""
    names = list(names)
    for pattern, what in NAMES:
        if any(re.search(rf"(?:^|\.)(?:{pattern})", name) for name in names):
            return what
    return None


def class_name(facts: Mapping[str, Any]) -> str | None:
    """The class that a `config.json` of diffusers names, by its present name; None if it names none."""
    name = facts.get("_class_name")
    if name == "Transformer2DModel":
        return LEGACY.get(str(facts.get("norm_type")), name)
    return name if isinstance(name, str) else None
