"""Published layouts with random weights: diffusers' own modules, and the files that the authors' code would write."""

import re

import torch

from ptdit_jax.convert import conversion
from tests.convert import small

TEXT = {"text_dim": 8, "text_length": 6}
PIXART = {"model__family": "pixart", "model__condition": "text", "model__width": 48, "model__patch": 2}
PIXART |= {f"model__{name}": value for name, value in TEXT.items()}
PIXART |= {"model__channels": 2, "model__out_channels": 4, "data__pixels_per_latent": 8}
PIXART |= {"diffusion__path": "vp", "diffusion__prediction": "eps", "diffusion__learn_variance": True}
PIXART |= {
    "model__null_mask": "caption",
    "diffusion__times": "uniform",
    "sampling__sampler": "ddpm",
    "model__sample_size": 8,
}
DIT = {name: value for name, value in PIXART.items() if "text" not in name and "condition" not in name}
DIT |= {"model__family": "dit"}


def pixart_config(ms, **changes):
    return small.config(**PIXART | {"model__size_condition": 8 * ms} | changes)


def dit_config(**changes):
    return small.config(**DIT | changes)


def fill(module, seed=0):
    """Random weights that leave no part idle."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 and "table" not in name else 0.3
        torch.nn.init.normal_(parameter, std=scale, generator=generator)
    return module.eval()


def pixart(ms, seed=0):
    """diffusers' own PixArt-α."""
    from diffusers import PixArtTransformer2DModel

    sizes = {"num_attention_heads": 2, "attention_head_dim": 24, "cross_attention_dim": 48, "num_layers": 2}
    sizes |= {"in_channels": 2, "out_channels": 4, "sample_size": 8, "caption_channels": 8}
    return fill(PixArtTransformer2DModel(**sizes, use_additional_conditions=ms), seed)


def dit(seed=0, **changes):
    """diffusers' own DiT, whose blocks share one embedding of time and class, as converted weights do."""
    from diffusers import DiTTransformer2DModel

    sizes = {"num_attention_heads": 2, "attention_head_dim": 24, "num_layers": 2, "in_channels": 2}
    sizes |= {"out_channels": 4, "sample_size": 8, "num_embeds_ada_norm": 10}
    module = fill(DiTTransformer2DModel(**sizes | changes), seed)
    first = module.transformer_blocks[0].norm1.emb.state_dict()
    module.transformer_blocks[1].norm1.emb.load_state_dict(first)
    return module


RENAMED = {
    "pos_embed.proj": "x_embedder.proj",
    "adaln_single.emb.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "adaln_single.emb.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "adaln_single.emb.resolution_embedder.linear_1": "csize_embedder.mlp.0",
    "adaln_single.emb.resolution_embedder.linear_2": "csize_embedder.mlp.2",
    "adaln_single.emb.aspect_ratio_embedder.linear_1": "ar_embedder.mlp.0",
    "adaln_single.emb.aspect_ratio_embedder.linear_2": "ar_embedder.mlp.2",
    "adaln_single.linear": "t_block.1",
    "caption_projection.linear_1": "y_embedder.y_proj.fc1",
    "caption_projection.linear_2": "y_embedder.y_proj.fc2",
    "caption_projection.y_embedding": "y_embedder.y_embedding",
    "scale_shift_table": "final_layer.scale_shift_table",
    "proj_out": "final_layer.linear",
}
IN_BLOCK = {
    "attn1.to_out.0": "attn.proj",
    "attn2.to_q": "cross_attn.q_linear",
    "attn2.to_out.0": "cross_attn.proj",
    "ff.net.0.proj": "mlp.fc1",
    "ff.net.2": "mlp.fc2",
    "scale_shift_table": "scale_shift_table",
}


def original_pixart(state):
    """The state dict of the authors' code, from that of diffusers."""
    found, joined = {}, {}
    for name, tensor in state.items():
        stem, leaf = re.fullmatch(r"(.*?)(\.weight|\.bias)?", name).groups(default="")
        if match := re.fullmatch(r"transformer_blocks\.(\d+)\.(.*)", stem):
            block, part = match.groups()
            if part in IN_BLOCK:
                found[f"blocks.{block}.{IN_BLOCK[part]}{leaf}"] = tensor
            else:
                joined[block, part, leaf] = tensor
        else:
            found[RENAMED[stem] + leaf] = tensor
    for block, _, leaf in [key for key in joined if key[1] == "attn1.to_q"]:
        qkv = [joined[block, f"attn1.to_{letter}", leaf] for letter in "qkv"]
        found[f"blocks.{block}.attn.qkv{leaf}"] = torch.cat(qkv)
        kv = [joined[block, f"attn2.to_{letter}", leaf] for letter in "kv"]
        found[f"blocks.{block}.cross_attn.kv_linear{leaf}"] = torch.cat(kv)
    return found


def parameters(folder, config):
    """Of a converted run, {path: array}."""
    arch = conversion.architecture(config)
    return conversion.storage.flattened(
        conversion.storage.restore(folder / "checkpoints" / "0", "params", arch)
    )
