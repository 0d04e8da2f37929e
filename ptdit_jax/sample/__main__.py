"""Sample from a trained model.

    python -m ptdit_jax.sample --checkpoint runs/c2i_digits --label 3 --count 16 --guidance 2 --out grid.png
    python -m ptdit_jax.sample --checkpoint runs/t2i_digits --prompt "a handwritten three" --count 16
    python -m ptdit_jax.sample --checkpoint DIR --prompts FILE --negative "blurred" --size 720x1280 --out pictures/
    python -m ptdit_jax.sample --checkpoint DIR --prompt "a seven moving left" --frames 17 --out film.mp4
    python -m ptdit_jax.sample --checkpoint runs/t2i_xl_1024 --text states.npz --out latents.npy
    python -m ptdit_jax.sample --from-release WEIGHTS --text-encoder DIR --vae DIR --prompt "..." --out picture.png
    python -m ptdit_jax.sample --show grid.png

Prompts are encoded by the run's text encoder, whose memory is free again before the model is read; latents become
pictures by the run's autoencoder, batch by batch.  Sizes are in pixels, height first.  A file of --prompts has one a
line, or ends in .jsonl and has an object a line: {"prompt": "...", "negative": "...", "seed": 1}.

Equal seeds and labels give equal samples, whatever they are made together with: `--label 3` makes the threes
that are in the picture of all labels.  With prompts, the number of the prompt has the label's place: its line, from 0,
or what "number" in a .jsonl says.  What is not given is as in the config of the run.

states.npz holds the states of a text encoder: text (K, L, E) and mask (K, L), 1 = keep.  Guidance guides by the empty
caption that the run was trained with; for a model that was not trained here, the file holds it as null_text (L, E)
and null_mask (L,).

Exit code: 0 done; 1 a file cannot be read or written, or samples are not finite; 2 the command is wrong.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from ptdit_jax import cli, files, plots
from ptdit_jax import config as rules
from ptdit_jax.experiment import caching
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.decoding import Decoder, is_drawn, is_visible, pixel_shape, size_text
from ptdit_jax.experiment.generate import NotFinite, batches
from ptdit_jax.experiment.sampling_steps import Steps
from ptdit_jax.parallel import chips
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.processes import environment
from ptdit_jax.sample import conditions, flags, outputs, request, settings
from ptdit_jax.sample.sizes import latent_size


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line; see `flags.parse`."""
    return flags.parse(argv, __doc__ or "")


def main(args: argparse.Namespace) -> int:
    """Sample; returns the exit code."""
    if args.show is not None:
        settings.show(files.path(args.show, "--show"))
        return 0

    # --- files
    into_folder = bool(args.out) and args.out.endswith("/")
    paths = ("checkpoint", "from_release", "text", "prompts", "text_encoder", "vae", "out", "npz")
    files.resolve(args, *paths)
    picture: Path | None = args.out if args.out and args.out.suffix.lower() != ".npy" else None
    for path, name, suffixes in ((args.out, "--out", flags.SUFFIXES), (args.npz, "--npz", (".npz",))):
        if path is not None and not (into_folder and path is args.out):
            files.check_file(path, name, suffixes)
            for source in filter(None, (args.text, args.prompts)):
                if path.resolve() == source.resolve():
                    flag = "--text" if source is args.text else "--prompts"
                    raise ValueError(f"{name}={path} is the file of {flag}, which it would overwrite")

    # --- config
    cli.check_finite(args.fps, "--fps")
    model = request.find_model(args)
    config = model.config
    speed = args.fps if args.fps is not None else config.encode.fps or plots.SPEED
    if not 0 < speed <= plots.FASTEST:
        raise ValueError(f"--fps={speed:g} must be above 0 and at most {plots.FASTEST}")
    if (picture or args.npz) and not is_drawn(config):
        raise ValueError(
            f"the model of {model.path} makes latents of {config.model.channels} channels, each "
            f"{config.data.pixels_per_latent} pixels wide, and its config names no autoencoder: name its folder with "
            "--vae DIR, or write the latents with --out FILE.npy"
        )
    conditions.check(args, config)
    size = latent_size(config, args.size, args.frames, views=args.views)
    latents = {name: value for name, value in size.items() if name != "pixel_frames"}
    devices = environment.devices()
    mesh = make_mesh({"data": -1}, devices)
    cli.enable_compilation_cache()

    # --- what is asked for
    null = model.empty_caption() if model.folder is None else None
    given = conditions.make(args, config, model.home, null)
    count = len(given.wanted.labels)
    held = min(count, config.sampling.batch) if into_folder and not args.npz else count
    if problems := list(rules.sampling_problems(config, chips.here(), count=held, **latents)):
        raise ValueError("\n".join(problems))
    experiment = build(config, mesh=mesh, **size, null_text=given.null)
    drawn = is_drawn(config) and (picture is not None or args.npz is not None)
    shape = pixel_shape(config, experiment.shape, views=args.views) if drawn else experiment.shape
    folder = None
    if into_folder and picture:
        folder = outputs.Folder(picture, given, shape, frames_per_second=speed)
    elif picture:
        outputs.check_size(picture, (count, *shape), given)

    calibration = caching.load(model.home)
    meter = caching.Meter(experiment) if args.calibrate_cache else None
    if meter is not None:
        files.check_file(model.home / caching.FILE, "--calibrate-cache")
    steps = Steps(experiment, config.sampling, mesh, count=count, calibration=calibration, observe=meter)

    # --- text, whose encoder is gone before the model comes
    given = given.encoded(config)

    # --- model
    print(f"devices: {environment.describe(devices, chips.host_memory())}")
    params = model.load(experiment, mesh)
    decoder = Decoder(config, mesh, views=args.views) if drawn else None
    how = f"{config.sampling.sampler}, {config.sampling.steps} steps, guidance {config.sampling.guidance:g}"
    what = f"{count} samples of {size_text(shape)}" + " pixels" * (drawn or is_visible(config))
    print(f"{model.title}: {what}, {how}, seed {args.seed}")
    if steps.plan.reuse.any():
        print(f"cache {config.sampling.cache}: {steps.plan}")

    # --- samples, written as they are made into a folder
    shared = settings.common(model, shape, seed=args.seed, sampling=config.sampling)
    made: list[np.ndarray] = []
    images: list[np.ndarray] = []
    before = time.perf_counter()
    try:
        for numbers, samples in batches(steps, params, given.wanted, seed=args.seed):
            pictures = samples if decoder is None else decoder(samples)
            if folder is not None:
                folder.add(numbers, pictures, shared)
            if folder is None or args.npz:
                made.append(samples)
                images.append(pictures)
    except NotFinite as error:
        done = np.concatenate(made) if made else error.samples
        kept = folder.kept() if folder is not None else outputs.keep_some(args.out or args.npz, done)
        raise cli.RunError(f"{error}{kept}") from error
    if meter is not None:
        measured = meter.calibration(config.sampling, samples=count, checkpoint=model.title)
        print(f"MagCache's ratios, of {count} samples: {caching.save(measured, model.home)}")
    seconds = time.perf_counter() - before - steps.seconds
    print(
        f"{count} samples in {seconds:.1f} s, {seconds / count:.3g} s each, and {steps.seconds:.1f} s of compiling"
    )

    # --- what they are written as
    if args.npz:
        labels = given.wanted.labels if given.has_classes else None
        files.write(args.npz, lambda draft: outputs.write_npz(draft, np.concatenate(images), labels))
    if folder is not None:
        folder.finish(shared)
    elif picture:
        outputs.write_one(picture, np.concatenate(images), given, settings.of_all(shared, given), speed)
    elif args.out:
        files.write(args.out, lambda draft: outputs.write_npy(draft, np.concatenate(made)))
    print("see " + ", ".join(str(path) for path in (args.out, args.npz) if path is not None))
    return 0


if __name__ == "__main__":
    arguments = parse(sys.argv[1:])
    sys.exit(cli.run(lambda: main(arguments), debug=arguments.debug))
