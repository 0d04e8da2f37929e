"""Every field of a run, its default, its unit and its meaning.

An experiment file calls `get_config()` and overwrites what differs; the command line overwrites again
(`--config.train.steps=500`).  The tree is locked, so a field that is not listed here is an error.  What a
combination of fields may be is checked by `ptdit_jax.config.validate` before anything is built.
"""

import os
from typing import Any

import ml_collections
import numpy as np


class Fields(ml_collections.ConfigDict):
    """A `ConfigDict` that takes numpy's numbers and paths as the plain numbers and text they stand for."""

    def __setitem__(self, key: str, value: Any) -> None:
        value = _plain(value)
        if isinstance(value, bool) and isinstance(self.get(key), float):  # would be 0.0 or 1.0
            raise TypeError(f"field {key!r} is a number, not {value}")
        super().__setitem__(key, value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | list):
        return type(value)(map(_plain, value))
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def get_config() -> ml_collections.ConfigDict:
    """The defaults: a class-conditional PT-DiT/S-Class on 32x32x4 latents with the linear flow path."""
    config = Fields()
    config.seed = 0  # seeds parameters, noise, times, dropout and the data order

    model = config.model = Fields()
    # "ptdit" or a baseline (docs/baselines.md): "dit" (also SiT), "pixart", "dam", and for video "full3d", "factorized"
    model.family = "ptdit"
    model.variant = "S-Class"  # a row of `ptdit_jax.models.variants`, or "custom" (then set the next three)
    model.depth = 0  # blocks; 0 = the variant's
    model.width = 0  # D, features a token, a multiple of 16; 0 = the variant's
    model.heads = 0  # attention heads; 0 = the variant's
    model.mlp_ratio = 4  # hidden width of the MLP over D
    model.patch = 2  # latent pixels a token covers along height and width (time is never patched)
    model.patch_height = (
        0  # along height where it is another, such as 1 for signals of one row; 0 = model.patch
    )
    model.channels = 4  # C, channels of the data the network denoises
    model.out_channels = 0  # 0 = C, or 2C when the variance is learned; the release has 8 for C=4
    model.sample_size = 32  # latent side the positions are declared for (they divide by max(size // 64, 1))
    model.condition = "class"  # "class", "text" or "none"
    model.classes = 1000  # number of classes; the null class of guidance is one more row
    model.text_dim = 4096  # features of the text encoder's states
    model.text_length = 120  # text tokens L
    # Which tokens of the empty caption count: "own", those of its mask; "caption", as many as the caption has that it
    # replaces (PixArt-α's code, for its learned empty caption of L tokens)
    model.null_mask = "own"
    model.adaln = (
        "auto"  # "single" (shared, text models), "zero" (a Linear a block); auto: text single, else zero
    )
    model.modulated = (  # with adaln "zero": which norms are modulated (spec: class_conditional)
        "proxy",
        "injection",
        "injection_kv",
        "window",
        "shift",
        "mlp",
    )
    model.zero_linears = (
        "auto"  # linear_1/linear_2 with zero init, "yes"/"no"; auto: with adaln "single" only
    )
    model.shift_every = 0  # shifted windows in every n-th block, -1 never (w/o SWSA); 0: text 1, else 2
    model.giim = True  # proxies and their injection (Eq. 1)
    model.tcm = True  # window and shifted-window attention (Eq. 2)
    model.extraction = "average"  # "average", "top_left", "random", "similarity" (Table 2)
    model.injection = "cross_attention"  # "cross_attention", "interpolate", "linear" (Table 2)
    model.mediators = (1, 8, 8)  # family "dam": mediator tokens at most, along frames, rows and columns
    # What is embedded of t: "1000t"; for weights of families "dit" and "dam" also "1-t" (SiT's) and "1000t_diffusers"
    # (1000t at the frequencies of DiT in diffusers, which are not DiT's, if they were trained there).
    model.time_input = "1000t"
    # "grid": rows and columns are counted; "released": the release's, scrambled on grids that are not square (families
    # ptdit, full3d, factorized); "rescaled": the range of sample_size on any grid, as PixArt's multi-scale networks and
    # diffusers (families dit, dam, pixart).  "auto": rescaled for pixart, grid for the others.
    model.positions = "auto"
    model.size_condition = (
        0  # "pixart": 8 = its MS models, which embed the size in (8) pixels a latent pixel; 0 = not
    )
    model.compute_dtype = "float32"  # "float32" or "bfloat16"; parameters, norms and softmax stay float32
    # What the backward pass keeps: "none" everything; "block" the blocks' inputs; "attention" and the outputs of
    # their attentions; "dots" and all matrix products; "offload" the inputs alone, in the host's memory.
    model.remat = "none"
    # What computes attention (docs/attention.md): "einsum" anywhere, "cudnn" on GPUs, "splash" and "pallas" on TPUs;
    # "auto": cudnn or splash where the platform and the network allow it, else einsum.
    model.attention = "einsum"
    model.attention_chunk = (
        0  # of einsum: queries whose attention weights exist at once (arXiv 2112.05682); 0 = all
    )
    model.unroll = 1  # blocks a scan step runs inline; 0 = all (no loop: slower to compile, faster on CPU)

    ratio = config.compression = Fields()  # (p_f, p_h, p_w) in tokens, Sec. 3.2.3
    ratio.px256 = (1, 2, 2)
    ratio.px512 = (1, 4, 4)
    ratio.px1024 = (1, 8, 8)
    ratio.px2048 = (1, 16, 16)
    ratio.video_frames = 4  # p_f when there is more than one latent frame
    ratio.fixed = ()  # if set, this window at every size instead of the four above
    # If set, a window for each part of the path from data (t = 0) to noise (t = 1) instead of all of these:
    # ((t_from, t_to, (p_f, p_h, p_w)), ...), which cover [0, 1] in order; see docs/dynamic_compression.md.
    ratio.by_time = ()
    ratio.proxy = ()  # (., p_h, p_w) inside a window for several proxies a window; () = one proxy

    data = config.data = Fields()
    data.name = "digits"  # a key of `data_pipelines.sources.SOURCES`
    data.path = ""  # folder of your own records ("arrays", "tfds", "shards"); "" for the embedded sources
    # With name "mixture": its sources, each the text "WEIGHT NAME PATH", such as "0.8 shards data/images"; NAME+flip
    # and NAME-flip differ from data.flip.  Each batch is of one source.
    data.mixture = ()
    data.max_shapes = 18  # different shapes of records at most; a training step is compiled for each
    data.height = 32  # latent rows
    data.width = 32  # latent columns
    data.frames = 1  # latent frames F
    data.pixel_frames = 0  # frames of the decoded sample (only `diffusion.shift` asks); 0 = data.frames
    data.pixels_per_latent = 8  # pixel side over latent side, to look a resolution up in `compression`
    # Where text states come from: "stored" in the data, or "live", of text_encoder inside the training step.
    data.text = "stored"
    data.batch = 256  # samples a step over all processes
    data.flip = False  # random horizontal flips
    data.truncate_text = False  # text longer than model.text_length is cut (True) or an error (False)
    data.read_threads = 1  # grain threads that read and decode
    data.prefetch = 4  # batches prepared ahead

    # Frozen networks between people and the denoiser; shards say which they were made with.
    text_encoder = config.text_encoder = Fields()
    # A folder of Hugging Face with a T5, mT5, ByT5 or UMT5 encoder; "bytes": a small seeded T5 of bytes that needs no
    # file; "": none, the data hold the states of another.
    text_encoder.path = ""
    text_encoder.clean = "none"  # of captions before they are encoded: "none", "strip", "release", "pixart"
    text_encoder.dtype = (
        "bfloat16"  # of its products, "float32" or "bfloat16"; "" is always encoded in float32
    )

    autoencoder = config.autoencoder = Fields()
    # A folder of diffusers with an AutoencoderKL, or of the released CausalVAE; "pixels": none, what is denoised is
    # pixels; "": none, the data hold latents of another.
    autoencoder.path = ""
    autoencoder.dtype = "bfloat16"  # of its products, "float32" or "bfloat16"
    autoencoder.posterior = (
        "sample"  # latents are drawn from the encoder's normal ("sample") or are its mean ("mode")
    )
    autoencoder.pixel_channels = 3  # with path "pixels": of pictures, 3 or 1 (grey)
    # What is larger than a tile is encoded and decoded in tiles that are blended, in the memory of one: "yes", "no", or
    # "auto", as the folder's config.json says (the released CausalVAE: yes, AutoencoderKL: no).
    autoencoder.tile = "auto"
    autoencoder.tile_size = (
        0  # pixels a side; 0 = the autoencoder's (CausalVAE 512, AutoencoderKL its sample_size)
    )
    autoencoder.tile_frames = (
        0  # frames, 4k+1; 0 = the autoencoder's (CausalVAE 29; an AutoencoderKL has none)
    )

    # Raw pictures and films to shards (`launch/encode.sh`), of the sizes in `data`.
    encode = config.encode = Fields()
    encode.unit = 2048  # raw records that a process does at a time; so many are done again after a kill
    encode.batch = 32  # pictures, or frames of films, that a device encodes at once
    encode.captions = 32  # captions that a device encodes at once
    encode.decode_threads = 8  # threads of a process that read and decode
    # Records go to the nearest in aspect ratio of the shapes with about as many windows as data.height x data.width
    # (True), or all to that one (False); what is too long there is cut off on both sides.
    encode.aspects = True
    encode.max_aspect = 5.0  # longer side over shorter that is used; 0 = any
    encode.min_side = 0  # pixels that the shorter side must have; 0 = any
    encode.max_enlarge = 1.0  # times that a record is enlarged at most to fill its shape; 0 = any
    encode.fps = 0.0  # frames a second that are taken of a film; 0 = its own
    encode.stride = 1  # with fps = 0: every so many-th frame of a film
    encode.clip = "start"  # where the frames of a film are taken: "start" or "middle"
    encode.no_caption = (
        "skip"  # a record without a caption: "skip" it into the quarantine, or take it as "empty"
    )
    encode.shard_mib = 1024  # MiB after which a shard of a unit ends and another begins

    diffusion = config.diffusion = Fields()  # t in [0, 1], t = 1 is noise
    diffusion.path = "flow"  # "flow" (x_t = (1-t) x0 + t eps) or "vp" (DiT's linear beta schedule)
    diffusion.prediction = "velocity"  # flow: "velocity"; vp: "eps", "x0" or "v"
    diffusion.learn_variance = False  # vp only: 2C outputs and the hybrid loss
    diffusion.times = "logit_normal"  # flow: "uniform" or "logit_normal"; vp always draws uniform steps
    diffusion.shift = "none"  # resolution shift of flow times: "none", "latent_frames" or "released"
    diffusion.shift_scale = 1.0  # factor on the shift
    diffusion.weighting = "uniform"  # "uniform" or "min_snr"
    diffusion.min_snr_gamma = 5.0  # SNR clip of min-SNR weighting

    # What the environment would decide otherwise; other JAX_... variables that change numbers are pinned or refused.
    numerics = config.numerics = Fields()
    numerics.prng = (
        "threefry2x32"  # makes numbers of keys; the one whose draws do not depend on the rest of a batch
    )
    numerics.default_dtype = "float32"  # of numbers that have no other: 64-bit types are off
    # Of the network's products of float32: "default", the device's fastest (GPU: TensorFloat-32, TPU: bfloat16, CPU:
    # float32), "tensorfloat32" (TPU: three products of bfloat16), or "float32", as parity checks and judges have.
    numerics.matmul_precision = "default"

    optimizer = config.optimizer = Fields()  # AdamW
    optimizer.learning_rate = 1e-4  # peak
    optimizer.schedule = "constant"  # "constant", "cosine" or "linear" (decays to 0 at train.steps)
    optimizer.warmup_steps = 0  # optimizer steps of linear warm-up
    optimizer.b1 = 0.9
    optimizer.b2 = 0.999
    optimizer.eps = 1e-8
    optimizer.weight_decay = 0.0
    optimizer.clip_norm = 1.0  # global gradient norm; 0 = no clipping
    optimizer.accumulate = 1  # micro-batches a step; they split data.batch

    train = config.train = Fields()
    train.steps = 400_000  # optimizer steps
    train.init_from = ""  # run or converted checkpoint whose parameters a new run starts with; "" = random
    train.init_ema = 0.0  # decay of its average that is taken; 0 = its raw parameters
    # Names of tensors, or patterns like "final_layer.*", that need not fit; those that do not start fresh.
    train.init_skip = ()
    train.ema_decays = (0.9999,)  # one averaged copy of the parameters for each
    train.condition_dropout = 0.1  # share of samples trained with the null condition
    train.log_every = 50  # steps between lines on TensorBoard and screen; metrics.csv has every step
    train.on_nonfinite = "stop"  # "stop" or "skip" the update of a step whose loss or gradient is bad
    train.explode_factor = 1e3  # a loss above this times the running mean counts as bad; 0 = off

    checkpoint = config.checkpoint = Fields()
    checkpoint.every = 5000  # steps
    checkpoint.keep = 3  # newest checkpoints kept; 0 = all
    checkpoint.on_damage = "stop"  # newest damaged: "stop", or go on from the "previous" that is whole

    sampling = config.sampling = Fields()
    sampling.sampler = "euler"  # flow: euler, heun, sde; vp: ddpm, ddim, dpmpp_2m
    sampling.steps = 50
    sampling.guidance = 4.0  # 1 = none
    sampling.guidance_interval = (0.0, 1.0)  # guide only for t inside
    # Guide the first so many channels; 0 = all; 3 as the published samples of DiT and SiT.
    sampling.guidance_channels = 0
    # The times of the steps (docs/sampling.md has their sources); "auto": the sampler's own, here the first.  euler,
    # heun: even, sit (steps - 1 steps), flow_match_euler; sde: even; ddpm, ddim: guided_diffusion ("N"),
    # guided_diffusion_ddim ("ddimN"), quadratic, and diffusers' linspace, leading, trailing; dpmpp_2m: quadratic and
    # the others of these; ddim and dpmpp_2m also DPM-Solver's time_uniform, logSNR, time_quadratic.
    sampling.time_grid = "auto"
    # sde: its last step is the ODE's, "euler" (on this path "tweedie" too), the SDE's without noise, "mean" (SiT), or
    # like the others, "none" (steps - 1 of them).
    sampling.sde_last_step = "euler"
    # Time at which that step starts, 0.04 in SiT; 0 = that of an even step, 1 / steps.
    sampling.sde_last_step_size = 0.0
    # Fewer computations a picture (docs/cache.md): "none"; "magcache", all blocks are skipped at some evaluations, by
    # MagCache's rule (arXiv 2506.09045), from what `sample --calibrate-cache` measured; "global", proxies and their
    # injection are computed at every cache_every-th evaluation only (family ptdit).
    sampling.cache = "none"
    sampling.cache_threshold = (
        0.06  # magcache: error of the evaluations skipped in a row stays below; 0 skips none
    )
    sampling.cache_skips = 3  # magcache: evaluations skipped in a row, at most
    sampling.cache_first = 0.2  # magcache: share of the evaluations, the first ones, that is never skipped
    sampling.cache_every = 2  # global: 1 computes at every evaluation
    sampling.count = 64  # samples in the picture that a run ends with
    sampling.batch = 64  # samples made together (with guidance the network sees twice as many)
    sampling.seed = 0  # of the noise of that picture and of the samples judged
    sampling.ema = 0.9999  # the EMA that is sampled; 0 = the raw parameters

    evaluation = config.evaluation = Fields()
    # What samples are judged by (docs/evaluation.md): "none"; "inception", "dinov2", "i3d", "c3d" or "clip", networks
    # whose weights you have; "digits" and others of ptdit_jax/evaluation; or MODULE:NAME, a judge of your own.
    evaluation.name = "none"
    evaluation.count = 500  # samples judged
    evaluation.every = (
        0  # steps from one evaluation of the average sampling.ema to the next; 0 = at the end only
    )
    evaluation.weights = ""  # of the network: its file or folder
    # inception: ADM's .npz of images or statistics, or a folder; i3d: films or their statistics; dinov2: images
    evaluation.reference = ""
    # inception: the first of these figures is the one that the best checkpoint and networks are ranked by
    evaluation.metrics = ("fid", "sfid", "is", "precision", "recall")
    evaluation.clips = "stylegan_v"  # i3d: protocol of FVD; its counts do not count here

    profile = config.profile = Fields()
    profile.steps = ""  # "FIRST:LAST", steps whose trace the profiler writes into the run's folder; "" = none

    mesh = config.mesh = Fields()  # devices along each mesh axis; one may be -1 (the rest)
    mesh.data = -1  # replicas of the network; with fsdp they share data.batch
    mesh.fsdp = 1  # replicas that split parameters, averages and moments (ZeRO); must divide D
    mesh.tensor = 1  # splits heads and the MLP's hidden features; must divide both
    # Whether what is sure not to fit the memory of the devices or the host is refused before it is built.
    mesh.check_memory = True
    mesh.context = 1  # splits the windows of each sample, and parameters as fsdp does

    return config.lock()
