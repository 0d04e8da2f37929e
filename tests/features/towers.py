"""Folders of tiny random networks as `transformers` saves them, with what is beside the weights."""

import json

import safetensors.torch
import torch
import transformers

CAPTIONS = ["a cat", "", "a cat at a tea table", "the cat ate a tea table " * 3]
LENGTH = 16  # tokens
MERGES = [("c", "a"), ("ca", "t</w>"), ("a", "t</w>"), ("t", "e"), ("te", "a</w>")]


def vocabulary():
    """Letters, ends of words, merges and the two special tokens, whose ids are the highest, as CLIP's are."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in MERGES)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return {word: number for number, word in enumerate(words)}


END = vocabulary()["<|endoftext|>"]
KNOWN = END + 3  # tokens that the network knows: of an enlarged vocabulary, with ids above that of the end


def drawn(network, seed=0):
    """A network with weights that leave no part idle."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            is_gain = tensor.ndim == 1 and name.endswith(
                ("norm.weight", "norm1.weight", "norm2.weight", "lambda1")
            )
            tensor.copy_(1 + 0.2 * noise if is_gain else 0.3 * noise)
    return network.eval()


def clip(end=END, act="quick_gelu", **changes):
    """transformers' CLIPModel."""
    shared = {"num_hidden_layers": 2, "hidden_act": act}
    text = {"hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 3, "eos_token_id": end}
    text |= {"vocab_size": KNOWN, "max_position_embeddings": LENGTH, "bos_token_id": END - 1}
    text |= {"layer_norm_eps": 0.02}  # enough to be seen, as below
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    vision |= {"layer_norm_eps": 0.05, "image_size": 20, "patch_size": 6}  # 2 pixels of a side fill no patch
    sections = {"text_config": text | shared, "vision_config": vision | shared | changes}
    return drawn(transformers.CLIPModel(transformers.CLIPConfig(**sections, projection_dim=16)))


def dinov2(**changes):
    """transformers' Dinov2Model."""
    sizes = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "layer_norm_eps": 0.02,
        "image_size": 35,
        "patch_size": 5,
    }
    return drawn(transformers.Dinov2Model(transformers.Dinov2Config(**(sizes | changes))))


def write(path, content):
    """A JSON file."""
    path.write_text(json.dumps(content))


def write_preparation(folder, side, kind="CLIPImageProcessor", **changes):
    """preprocessor_config.json, as published folders have it."""
    fields = {
        "crop_size": side,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "resample": 3,
    }
    fields |= {"size": {"shortest_edge": side}, "image_processor_type": kind}
    write(folder / "preprocessor_config.json", fields | changes)


def write_tokenizer(folder):
    """vocab.json and merges.txt, as published folders have them."""
    write(folder / "vocab.json", vocabulary())
    merges = "\n".join(" ".join(pair) for pair in MERGES)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    names = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    write(folder / "tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer"} | names)


def save(network, folder, side, *, kind="CLIPImageProcessor", pickled=False):
    """A folder with everything; `pickled`: in pytorch_model.bin."""
    folder.mkdir(exist_ok=True)
    if pickled:
        network.config.save_pretrained(folder)
        torch.save(network.state_dict(), folder / "pytorch_model.bin")
    else:
        network.save_pretrained(folder)
    write_preparation(folder, side, kind)
    if network.config.model_type == "clip":
        write_tokenizer(folder)
    return folder


def change(folder, changes):
    """Change tensors of a folder, None takes one away."""
    file = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(file)
    for name, made in changes.items():
        tensors[name] = None if made is None else made(tensors.get(name))
    tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    safetensors.torch.save_file(tensors, file)


def edit(folder, **sections):
    """Change fields of config.json."""
    file = folder / "config.json"
    facts = json.loads(file.read_text())
    for name, value in sections.items():
        facts[name] = facts[name] | value if isinstance(value, dict) else value
    write(file, facts)
