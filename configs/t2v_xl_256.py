"""Text to video with PT-DiT/XL, 96 frames of 256x256 pixels: T2V 1 of the paper (Table 3), on WebVid's 10 M films.

launch/run.sh --config configs/t2v_xl_256.py --config.data.path=SHARDS --config.mesh.fsdp=16
.venv/bin/python -m ptdit_jax.plan --config configs/t2v_xl_256.py --topology v5e:16x16 --mesh fsdp=16
Planned: v5e:16x16: 4.4 of 16 GiB a chip; 100,000 steps take 0.5 days at least, 1.9 at 25% of peak
Reported: T2V of both stages, UCF-101: FVD 384.03, IS 35.19, FID 51.95; MSR-VTT: FVD 375.23, CLIPSIM 0.2349

It starts from the run of t2i_xl_256.py, whose network it is: frames, the window's and positions in time are no
parameters.  SHARDS as there, of films, encoded with this config.
"""

import ml_collections

from configs import t2i_xl_256


def get_config() -> ml_collections.ConfigDict:
    """As `t2i_xl_256` on 24x32x32x4 latents: 6,144 tokens in 384 windows of (4, 2, 2)."""
    config = t2i_xl_256.get_config()
    config.data.frames = 24
    config.data.pixel_frames = 93  # of which the released CausalVAE makes 24 latent ones
    config.data.batch = 512
    config.train.init_from = "runs/t2i_xl_256"
    return config
