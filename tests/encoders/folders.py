"""Folders of random T5 encoders, written by `transformers`."""

import json
from pathlib import Path

import torch
import transformers

SMALL = {"vocab_size": 384, "d_model": 48, "d_kv": 16, "d_ff": 80, "num_layers": 3, "num_heads": 4}
KINDS = {
    "T5 v1.0": (transformers.T5Config, transformers.T5EncoderModel, {"feed_forward_proj": "relu"}),
    "T5 v1.1": (transformers.T5Config, transformers.T5EncoderModel, {"feed_forward_proj": "gated-gelu"}),
    "mT5": (transformers.MT5Config, transformers.MT5EncoderModel, {}),
    "UMT5": (transformers.UMT5Config, transformers.UMT5EncoderModel, {}),
}


def module(kind: str, **changes):
    """A random encoder of `transformers`, every parameter of which counts."""
    config, model, form = KINDS[kind]
    torch.manual_seed(0)
    encoder = model(config(**(SMALL | form | changes))).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder


def write(folder: Path, encoder, *, tokenizer: bool = True, **options) -> Path:
    """Save an encoder, with the settings of ByT5's tokenizer; `options` are those of `save_pretrained`."""
    encoder.save_pretrained(folder, **options)
    if tokenizer:
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ByT5Tokenizer"}))
    return folder


def states(encoder, ids, mask):
    """(K, L, E) float32 of the module."""
    with torch.no_grad():
        output = encoder(torch.from_numpy(ids).long(), attention_mask=torch.from_numpy(mask).long())
    return output.last_hidden_state.float().numpy()
