"""What a config must say of a text encoder that runs inside the training step."""

from collections.abc import Iterator

from ptdit_jax.config.derived import Config
from ptdit_jax.encoders import text


def live_problems(config: Config) -> Iterator[str]:
    """Why the text of a config cannot be encoded live, a line each; none with stored states."""
    if config.data.text != "live":
        return
    model, section, mesh = config.model, config.text_encoder, config.mesh
    if model.condition != "text":
        yield f"data.text='live' must be 'stored' with model.condition={model.condition!r}"
        return
    if not section.path:
        yield "data.text='live' needs text_encoder.path, a folder with a T5 encoder, or 'bytes'"
        return
    try:
        arch = text.find(section.path, needs_tokenizer=False).arch
    except (ValueError, OSError) as error:
        yield str(error)
        return
    if arch.width != model.text_dim:
        yield (
            f"model.text_dim={model.text_dim} must be {arch.width}, the features of text_encoder.path={section.path!r}"
        )
    if arch.width % (max(mesh.fsdp, 1) * max(mesh.context, 1)):
        yield (
            f"mesh.fsdp={mesh.fsdp} times mesh.context={mesh.context} must divide the width {arch.width} of the text "
            "encoder"
        )
    if arch.heads % max(mesh.tensor, 1) or arch.hidden % max(mesh.tensor, 1):
        yield (
            f"mesh.tensor={mesh.tensor} must divide the {arch.heads} heads and the {arch.hidden} hidden features of "
            "the text encoder"
        )
