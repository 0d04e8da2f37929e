"""Text to video with PT-DiT/XL, 288 frames of 512x512 pixels: the video that the paper trains on 64 GB.

launch/run.sh --config configs/t2v_xl_512x288.py --config.data.path=FOLDER --config.mesh.context=4
.venv/bin/python -m ptdit_jax.plan --config configs/t2v_xl_512x288.py --topology v5e:2x2 --mesh context=4

The batch is that of one replica, 1; a machine with more replicas takes a multiple.  docs/plan.md has the memory
and the communication on machines of 4 to 512 chips.
"""

import ml_collections

from configs import t2i_xl_1024_release


def get_config() -> ml_collections.ConfigDict:
    """The release's recipe on 72x64x64x4 latents: 73,728 tokens in 1,152 windows of (4, 4, 4), 120 tokens of text."""
    config = t2i_xl_1024_release.get_config()
    config.model.text_length = 120
    config.data.frames = 72
    config.data.pixel_frames = 288
    config.data.height = 64
    config.data.width = 64
    config.data.batch = 1
    config.diffusion.shift = "latent_frames"  # the release's own rule counts frames as its autoencoder does
    return config
