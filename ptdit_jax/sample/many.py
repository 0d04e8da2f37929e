"""Draw many samples, one file each, on any number of processes; started again it goes on.

    python -m ptdit_jax.sample.many --checkpoint DIR --prompts FILE --count K --out DIR [--size HxW] [--frames N]
    python -m ptdit_jax.sample.many --checkpoint DIR --count 50000 --out DIR --npz FILE
    python -m ptdit_jax.sample.many --from-release WEIGHTS --text-encoder DIR --vae DIR --prompts FILE --out DIR
        [--coordinator HOST:PORT --processes N --process-id I | --cluster auto] [--start-timeout S] [--step-timeout S]

FILE has a prompt a line; a model of classes or without condition has none, and --count is then of all samples.  DIR
gets a PNG or an MP4 a sample, `settings.json` and, when all are there, `summary.png`; the same command does what is
not done, and one with other settings for the same DIR is refused.  Each process has the whole model on its own devices
and makes a share of its own, so they only have to know of each other's end; DIR is on storage that all share.

--npz writes ADM's file when all samples are there: arr_0 uint8 (N, H, W, C) and, of a model of classes, arr_1 (N,).

Exit code: 0 done; 1 it cannot go on (disk, memory, samples that are not finite); 2 the command or the config is wrong;
143 and 130 after SIGTERM and Ctrl-C to any process, after the groups that are under way (a second one ends at once);
75 another process did not come, was lost or has failed; 76 a group took longer than --step-timeout seconds.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ptdit_jax import cli, files
from ptdit_jax import config as rules
from ptdit_jax.encoders import autoencoder
from ptdit_jax.experiment import caching, decoding
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.origin import Origin
from ptdit_jax.experiment.sampling_steps import Steps
from ptdit_jax.parallel import chips
from ptdit_jax.parallel.mesh import connect, make_mesh
from ptdit_jax.processes import distributed, environment, signals
from ptdit_jax.sample import drawing, folder, request, sizes
from ptdit_jax.sample import settings as how
from ptdit_jax.sample.prompts import Prompt

FREE = ("count", "seed", "ema", "batch")  # fields of `sampling` that say nothing here, or elsewhere


def main(args: argparse.Namespace, launch: distributed.Launch, *, flag: str = "--out") -> int:
    """Draw; returns the exit code.

    Args:
      args: the command line.
      launch: how the run was started; its timeouts count here.
      flag: that named `args.out`, for messages.
    """
    # --- devices and model
    distributed.meet("start JAX's devices")
    devices = environment.devices()
    is_host = jax.process_index() == 0
    if is_host:
        print(f"devices: {environment.describe(devices, chips.host_memory())}", flush=True)
    model = request.find_model(args)
    config = model.config
    prompts = request.read_prompts(args, config)
    if not decoding.is_drawn(config):
        raise ValueError(
            f"the model makes latents of {config.model.channels} channels, and its config has no autoencoder.path: "
            "give the folder of its autoencoder with --vae"
        )
    size = sizes.latent_size(config, args.size, args.frames, views=args.views)
    plan = make_plan(args, config, prompts, size)
    latents = {name: value for name, value in size.items() if name != "pixel_frames"}
    if problems := list(rules.sampling_problems(config, chips.here(), count=plan.batch, **latents)):
        raise ValueError("\n".join(problems))
    distributed.meet("connect their devices")
    connect(make_mesh({"data": -1}))
    cli.enable_compilation_cache()
    mesh = make_mesh({"data": -1}, jax.local_devices())  # each process works alone
    null = model.empty_caption()
    experiment = build(config, mesh=mesh, **size, null_text=null)
    calibration = caching.load(model.home)
    steps = Steps(experiment, config.sampling, mesh, count=plan.batch, calibration=calibration)

    # --- folder
    if is_host:
        files.make_folder(args.out, flag)
    distributed.meet("find the folder")
    with folder.Folder(args.out, flag) as place:
        settings = describe(args, model, plan, prompts, experiment.shape)
        if is_host:
            place.lock()
            place.begin(settings, write=True)
            place.forget_stop()
        distributed.meet("divide the samples")
        if not is_host:
            place.begin(settings, write=False)
        groups, left = share(place, plan)
        if is_host:
            print(f"{model.title}: {plan.total:,} samples, {plan.total - left:,} of them done", flush=True)

        # --- samples
        signal = 0
        if left:
            params, decoder = model.load(experiment, mesh), decoding.Decoder(config, mesh, views=args.views)
            shape = decoding.pixel_shape(config, experiment.shape, views=args.views)
            shared = how.common(model, shape, seed=args.seed, sampling=config.sampling)
            given = (plan, prompts, null, steps, params, decoder)
            studio = drawing.Studio(args.seed, args.fps, config, shared, *given)
            signal = drawing.run(studio, groups, place, launch)
        if is_host:
            return finish(args, plan, place, signal)
        return signals.exit_code(signal) if signal else 0


def make_plan(
    args: argparse.Namespace, config: Any, prompts: Sequence[Prompt], size: dict[str, int]
) -> folder.Plan:
    """What samples there will be.

    Raises:
      ValueError: --label is no class, or --format or --npz does not go with films.
    """
    classes = config.model.classes if config.model.condition == "class" else 1
    if args.label is not None and not 0 <= args.label < classes:
        raise ValueError(f"--label={args.label} must be in [0, {classes}), the classes of the model")
    is_film = (size["frames"] or config.data.frames) > 1
    suffix = f".{args.format or ('mp4' if is_film else 'png')}"
    if is_film and suffix == ".png":
        raise ValueError("--format=png: the samples are films; take mp4 or npy")
    if args.npz is not None and suffix == ".mp4":
        raise ValueError(
            f"--npz={args.npz} takes samples as they were made, and MP4 is lossy: use --format npy"
        )
    total = args.count * max(1, len(prompts))
    batch = min(config.sampling.batch, total)
    return folder.Plan(args.count, len(prompts), classes, args.label, batch, suffix)


def describe(
    args: argparse.Namespace,
    model: Origin,
    plan: folder.Plan,
    prompts: Sequence[Prompt],
    shape: tuple[int, ...],
) -> dict[str, Any]:
    """All that the samples depend on, plain values by name."""
    config = model.config
    found: dict[str, Any] = {"model": model.identity, "count": args.count, "seed": args.seed}
    found |= {"shape": list(shape), "format": plan.suffix[1:], "sampling.batch": plan.batch}
    if prompts:
        lines = [repr((p.text, p.negative, p.number, p.seed)) for p in prompts]
        found |= {"prompts": len(prompts), "prompts.sha256": folder.digest(lines)}
        found |= {f"text_encoder.{name}": value for name, value in config.text_encoder.items()}
    elif plan.classes > 1:
        found["label"] = args.label
    if config.autoencoder.path not in ("", autoencoder.PIXELS):
        found |= {f"autoencoder.{name}": value for name, value in config.autoencoder.items()}
    if plan.suffix == ".mp4":
        found["fps"] = args.fps
    if args.views:
        found["views"] = True
    if config.sampling.cache == "magcache" and (file := model.home / caching.FILE).is_file():
        found["calibration.sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    sampling = config.sampling.to_dict().items()
    return found | {f"sampling.{name}": value for name, value in sampling if name not in FREE}


def share(place: folder.Folder, plan: folder.Plan) -> tuple[list[int], int]:
    """The groups that this process is to do, every P-th of those that lack samples, and how many samples lack.

    All processes come here at once: they are to divide what process 0 sees.
    """
    made = place.made()
    lack = [sum(plan.name(unit) not in made for unit in plan.group(group)) for group in range(plan.groups)]
    lacking = np.array(lack, np.int32)
    if jax.process_count() > 1:
        lacking = np.asarray(multihost_utils.broadcast_one_to_all(lacking))
    todo = np.flatnonzero(lacking)
    return [int(n) for n in todo[jax.process_index() :: jax.process_count()]], int(lacking.sum())


def finish(args: argparse.Namespace, plan: folder.Plan, place: folder.Folder, signal: int) -> int:
    """On process 0, at the end: the summary and the .npz, or what is left; returns the exit code."""
    made = place.made()
    lacking = sum(plan.name(plan.unit(number)) not in made for number in range(plan.total))
    if signal and lacking:
        place.forget_stop()
        print(
            f"stopped; {lacking:,} of {plan.total:,} samples are left, the same command goes on", flush=True
        )
        return signals.exit_code(signal)
    if lacking:
        raise cli.RunError(f"{lacking:,} of {plan.total:,} samples are not in {place.path}; start it again")
    seen = [str(folder.write_summary(place, plan))]
    if args.npz is not None:
        folder.write_npz(place, plan, args.npz)
        seen.append(str(args.npz))
    print(f"all {plan.total:,} samples are in {place.path}; see {', '.join(seen)}", flush=True)
    return 0


def start(argv: Sequence[str]) -> int:
    """Read the command line, meet the other processes and draw; returns the exit code."""
    launch, rest = distributed.parse(argv)
    args = request.parse(rest[1:], __doc__ or "")
    return cli.run_with_others(launch, lambda: main(args, launch), debug=args.debug)


if __name__ == "__main__":
    sys.exit(cli.run(lambda: start(sys.argv)))
