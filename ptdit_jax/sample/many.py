"""Draw many samples, one file each, on any number of processes; started again it goes on.

    python -m ptdit_jax.sample.many --checkpoint DIR --prompts FILE --count K --out DIR [--size HxW] [--frames N]
    python -m ptdit_jax.sample.many --checkpoint DIR --count 50000 --out DIR --npz FILE
    python -m ptdit_jax.sample.many --from-release WEIGHTS --text-encoder DIR --vae DIR --prompts FILE --out DIR
        [--coordinator HOST:PORT --processes N --process-id I | --cluster auto] [--start-timeout S] [--step-timeout S]

FILE has a prompt a line; a model of classes or without condition has none, and --count is then of all samples.  DIR
gets a PNG or an MP4 a sample, `settings.json` and, when all are there, `summary.png`; the same command does what is not
done, and one with other settings for the same DIR is refused.  Each process has the whole model on its own devices and
makes its own share, so they need no connection but that they know of each other's end; DIR is on storage that all share.

--npz writes ADM's file when all samples are there: arr_0 uint8 (N, H, W, C) and, of a model of classes, arr_1 (N,).

Exit code: 0 done; 1 it cannot go on (disk, memory, samples that are not finite); 2 the command or the config is wrong;
143 and 130 after SIGTERM and Ctrl-C to any process, after the groups that are under way (a second one ends at once);
75 another process did not come, was lost or has failed; 76 a group took longer than --step-timeout seconds.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from ptdit_jax import cli, files
from ptdit_jax import config as rules
from ptdit_jax.encoders.autoencoder import Autoencoder, open_autoencoder
from ptdit_jax.experiment import live_text, null_text
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.sampling_steps import Steps
from ptdit_jax.parallel import chips
from ptdit_jax.parallel.mesh import connect, make_mesh
from ptdit_jax.processes import distributed, environment, peers, signals, watchdog
from ptdit_jax.progress import Bar
from ptdit_jax.sample import drawing, folder, one_file, origin, released

DAYS = (
    30 * 24 * 3600.0
)  # seconds: processes end at different times, and one that is lost is noticed all the same
OVERRIDES = ("guidance", "steps", "sampler", "batch")
FREE = ("count", "seed", "ema")  # fields of `sampling` that say nothing here


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line without what `distributed.parse` takes.

    Raises:
      ValueError: an option is missing or wrong.
    """
    parser = cli.option_parser("ptdit_jax.sample.many", __doc__ or "")
    add = parser.add_argument
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--checkpoint", metavar="DIR", help="a run's folder (its newest step), or a step")
    model.add_argument("--from-release", metavar="WEIGHTS", help="the released weights, read as they are")
    add("--key", help="with --from-release: where the network is in the file")
    add("--text-encoder", metavar="DIR", help="text_encoder.path, if other than in the run's config")
    add("--vae", metavar="DIR", help="autoencoder.path, if other than in the run's config")
    add("--prompts", metavar="FILE", help="a prompt a line")
    add("--negative", metavar="TEXT", help="what guidance leads away from")
    add("--label", type=int, help="the class of every sample; without it, all classes in turn")
    add("--count", type=int, default=1, metavar="K", help="samples of each prompt, else of all (default 1)")
    add("--size", metavar="HxW", help="pixels, rows x columns, if other than in training")
    add("--frames", type=int, help="frames of a film, if other than in training")
    add("--guidance", type=float, help="scale of classifier-free guidance, 1 = none")
    add("--steps", type=int, help="steps of the sampler")
    add("--sampler", help="method; flow: euler, heun, sde; vp: ddpm, ddim, dpmpp_2m")
    add("--seed", type=int, default=0, help="of the noise (default 0)")
    add("--ema", type=float, help="decay of the average that is sampled, 0 = the raw parameters")
    add("--batch", type=int, help="samples made together, a group")
    add("--out", metavar="DIR", help="folder of the samples")
    add("--format", choices=[name[1:] for name in one_file.FORMATS], help="default: png, of films mp4")
    add("--fps", type=float, default=8.0, help="frames a second of films (default 8)")
    add("--npz", metavar="FILE", help="for ADM's evaluator: arr_0 uint8 (N, H, W, C), arr_1 labels")
    add("--insist", action="store_true", help="try also what by plain arithmetic no memory here holds")
    add("--debug", action="store_true", help="show where an error comes from")
    args = parser.parse_args(argv)
    if args.checkpoint is None and args.from_release is None:
        raise ValueError("--checkpoint DIR or --from-release WEIGHTS is missing: what to sample from")
    if args.out is None:
        raise ValueError("--out is missing: the folder of the samples")
    files.resolve(args, "checkpoint", "from_release", "text_encoder", "vae", "prompts", "out", "npz")
    if args.count < 1:
        raise ValueError(f"--count={args.count} must be at least 1")
    if not 0 <= args.seed < 2**32:
        raise ValueError(f"--seed={args.seed} must be in [0, 2**32)")
    for name in ("guidance", "ema", "fps"):
        cli.check_finite(getattr(args, name), f"--{name}")
    if args.fps <= 0:
        raise ValueError(f"--fps={args.fps:g} must be above 0")
    if args.npz is not None:
        files.check_file(args.npz, "--npz", (".npz",))
    return args


def find_model(args: argparse.Namespace) -> origin.Origin:
    """What the command line samples from, its config as it asks.

    Raises:
      ValueError: there is none, or a field has a wrong value.
      OSError: there is no such file.
    """
    if args.from_release is None:
        if args.key is not None:
            raise ValueError(f"--key={args.key} goes with --from-release")
        found = origin.of_checkpoint(args.checkpoint, ema=args.ema)
    else:
        for name in ("text_encoder", "vae"):
            if getattr(args, name) is None:
                raise ValueError(
                    f"--{name.replace('_', '-')} DIR is missing: --from-release needs it, the weights have none"
                )
        paths = {name: str(getattr(args, name)) for name in ("text_encoder", "vae")}
        found = released.of_release(args.from_release, key=args.key, **paths)
    config = found.config
    for name in OVERRIDES:
        if (value := getattr(args, name)) is not None:
            config.sampling[name] = value
    for section, name in (("text_encoder", "text_encoder"), ("autoencoder", "vae")):
        if (path := getattr(args, name)) is not None:
            config[section].path = str(path)
    config.mesh.check_memory = not args.insist
    rules.validate(config, check_data=False)
    return found


def read_prompts(args: argparse.Namespace, config: Any) -> list[str]:
    """The prompts; none for a model without text.

    Raises:
      ValueError: they do not go with the model, or the file has none.
      OSError: it cannot be read.
    """
    kind = config.model.condition
    for name, wanted in (("prompts", "text"), ("negative", "text"), ("label", "class")):
        if (value := getattr(args, name)) is not None and kind != wanted:
            raise ValueError(f"--{name}={value} must not be given: the model has model.condition={kind!r}")
    if kind != "text":
        return []
    if args.prompts is None:
        raise ValueError("a model with model.condition='text' needs --prompts FILE, a prompt a line")
    if args.negative is not None and config.sampling.guidance == 1:
        raise ValueError(f"--negative={args.negative} needs guidance, which is 1")
    try:
        lines = args.prompts.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"--prompts={args.prompts} must be text in UTF-8, a prompt a line") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise ValueError(f"--prompts={args.prompts} has no prompt; it must have one a line")
    if not config.text_encoder.path and config.data.name != "captioned_digits":
        raise ValueError(
            "--prompts needs a text encoder, and the config of the run has no text_encoder.path: name it with "
            "--text-encoder"
        )
    return prompts


def sizes(args: argparse.Namespace, config: Any, autoencoder: Autoencoder | None) -> dict[str, int]:
    """Latent frames, rows and columns; those that are as in training are not named.

    Raises:
      ValueError: --size or --frames is none that the autoencoder and the network take.
    """
    time, rows, columns = (1, 1, 1) if autoencoder is None else autoencoder.factor
    found: dict[str, int] = {}
    if args.size is not None:
        match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", args.size)
        units = (rows * config.model.patch, columns * config.model.patch)
        if match is None:
            raise ValueError(f"--size={args.size} must be HEIGHTxWIDTH in pixels, such as 512x768")
        if int(match[1]) % units[0] or int(match[2]) % units[1]:
            raise ValueError(f"--size={args.size} must be multiples of {units[0]} and {units[1]} pixels")
        found = {"height": int(match[1]) // rows, "width": int(match[2]) // columns}
    if args.frames is not None:
        if args.frames < 1 or (args.frames - 1) % time:
            raise ValueError(f"--frames={args.frames} must be {time}k+1 frames")
        found["frames"] = (args.frames - 1) // time + 1
    return {name: value for name, value in found.items() if value != config.data[name]}


def main(args: argparse.Namespace, launch: distributed.Launch) -> int:
    """Draw; returns the exit code.

    Args:
      args: the command line.
      launch: how the run was started; its timeouts count here.
    """
    # --- devices and model
    distributed.meet("start JAX's devices")
    devices = environment.devices()
    is_host = jax.process_index() == 0
    if is_host:
        print(f"devices: {environment.describe(devices, chips.host_memory())}", flush=True)
    model = find_model(args)
    config = model.config
    prompts = read_prompts(args, config)
    decodes = drawing.needs_autoencoder(config)
    distributed.meet("connect their devices")
    connect(make_mesh({"data": -1}))
    cli.enable_compilation_cache()
    mesh = make_mesh({"data": -1}, jax.local_devices())  # each process works alone
    autoencoder = None
    if decodes:
        autoencoder = open_autoencoder(config.autoencoder, mesh=mesh if mesh.size > 1 else None)
        drawing.check_autoencoder(config, autoencoder)
    size = sizes(args, config, autoencoder)
    null = model.null_text()
    if null is None and config.model.condition == "text" and config.sampling.guidance != 1:
        if not config.text_encoder.path:
            raise ValueError(
                f"guidance {config.sampling.guidance:g} needs the empty caption, which the run lacks"
            )
        null = null_text.padded(config, live_text.null(config))
    experiment = build(config, mesh=mesh, **size, null_text=null)
    film = experiment.shape[1] > 1
    suffix = f".{args.format or ('mp4' if film else 'png')}"
    if film and suffix == ".png":
        raise ValueError("--format=png: the samples are films; take mp4 or npy")
    if args.npz is not None and suffix == ".mp4":
        raise ValueError("--npz needs pictures as they were made, and an MP4 is coded: take --format npy")
    classes = experiment.classes or 1
    if args.label is not None and not 0 <= args.label < classes:
        raise ValueError(f"--label={args.label} must be in [0, {classes}), the classes of the model")
    total = args.count * max(1, len(prompts))
    batch = min(config.sampling.batch, total)
    plan = folder.Plan(args.count, len(prompts), classes, args.label, batch, suffix)
    if problems := list(rules.sampling_problems(config, chips.here(), count=batch, **size)):
        raise ValueError("\n".join(problems))
    steps = Steps(experiment, config.sampling, mesh, count=batch)

    # --- folder
    if is_host:
        files.make_folder(args.out, "--out")
    distributed.meet("find the folder")
    with folder.Folder(args.out) as place:
        settings = describe(args, model, plan, prompts, experiment.shape, autoencoder)
        if is_host:
            place.lock()
            place.begin(settings, write=True)
            place.forget_stop()
        distributed.meet("divide the samples")
        if not is_host:
            place.begin(settings, write=False)
        groups, left = share(place, plan)
        if is_host:
            print(f"{model.title}: {total:,} samples, {total - left:,} of them done", flush=True)
        signal = 0
        if left:
            params = model.load(experiment, mesh)
            signal = run(args, config, plan, groups, prompts, steps, params, autoencoder, place, launch, mesh)
        return finish(args, plan, place, signal) if is_host else signals.exit_code(signal) if signal else 0


def describe(
    args: argparse.Namespace,
    model: origin.Origin,
    plan: folder.Plan,
    prompts: Sequence[str],
    shape: tuple[int, ...],
    autoencoder: Autoencoder | None,
) -> dict[str, Any]:
    """All that the samples depend on, plain values by name."""
    config = model.config
    found: dict[str, Any] = {"model": model.identity, "count": args.count, "seed": args.seed}
    found |= {"shape": list(shape), "format": plan.suffix[1:], "batch": plan.batch}
    if prompts:
        found |= {
            "prompts": len(prompts),
            "prompts.sha256": folder.digest(prompts),
            "negative": args.negative,
        }
        found |= {f"text_encoder.{name}": value for name, value in config.text_encoder.items()}
    elif plan.classes > 1:
        found["label"] = args.label
    if autoencoder is not None:
        names = ("dtype", "tile", "tile_size", "tile_frames")
        found |= {f"autoencoder.{name}": config.autoencoder[name] for name in names}
        found["autoencoder"] = autoencoder.fingerprint
    if plan.suffix == ".mp4":
        found["fps"] = args.fps
    sampling = {k: v for k, v in config.sampling.to_dict().items() if k not in FREE}
    return found | {f"sampling.{name}": value for name, value in sampling.items()}


def share(place: folder.Folder, plan: folder.Plan) -> tuple[list[int], int]:
    """The groups that this process is to do, every P-th of those that lack samples, and how many samples lack.

    All processes come here at once: they are to divide what process 0 sees.
    """
    made = place.made()
    lacking = np.array(
        [sum(plan.name(unit) not in made for unit in plan.group(group)) for group in range(plan.groups)],
        np.int32,
    )
    if jax.process_count() > 1:
        lacking = np.asarray(multihost_utils.broadcast_one_to_all(lacking))
    todo = np.flatnonzero(lacking)
    return [int(n) for n in todo[jax.process_index() :: jax.process_count()]], int(lacking.sum())


def run(
    args: argparse.Namespace,
    config: Any,
    plan: folder.Plan,
    groups: Sequence[int],
    prompts: Sequence[str],
    steps: Steps,
    params: Any,
    autoencoder: Autoencoder | None,
    place: folder.Folder,
    launch: distributed.Launch,
    mesh: Mesh,
) -> int:
    """Make the samples of this process's groups; returns the signal that stopped any process, 0 for none."""
    processes, made = jax.process_count(), place.made()
    lacking = sum(plan.name(unit) not in made for group in groups for unit in plan.group(group))
    name = "samples" if processes == 1 else f"samples (process 0 of {processes})"
    bar = Bar(lacking, name, "picture", silent=jax.process_index() != 0)
    where = place.path / f"hang-p{jax.process_index()}.txt"
    dog = watchdog.Watchdog(launch.step_timeout, where, first=launch.start_timeout)
    done, negative = 0, args.negative is not None
    with signals.StopRequest() as stop, bar, dog:
        for chunk in drawing.chunks(plan, groups):
            if stop.signal is not None or place.stopping():
                break
            states = drawing.states_of(config, plan, prompts, args.negative, chunk, mesh) if prompts else {}
            for group in chunk:
                if stop.signal is not None or place.stopping():
                    break
                given = (plan, group, states.get(group), negative, autoencoder, args.seed)
                for unit, film in drawing.draw(steps, params, config, *given):
                    path = place.path / plan.name(unit)
                    if path.name in made:
                        continue
                    facts = {"seed": args.seed, "sample": unit.turn, "label": unit.label}
                    if prompts:
                        facts |= {"prompt": prompts[unit.label], "negative": args.negative}
                    one_file.write(path, film, facts | brief(config), fps=args.fps)
                    bar.update()
                dog.beat(done := done + 1)
        signal = 0 if stop.signal is None else int(stop.signal)
        if signal:
            place.ask_to_stop()
    if processes > 1:
        if jax.process_index() == 0 and not signal:
            print("process 0 has done its part; waiting for the others", flush=True)
        distributed.meet("see that all is done", DAYS)
    return signals.Agreement().now(signal)


def brief(config: Any) -> dict[str, Any]:
    """What a file says of how its sample was made."""
    return {name: config.sampling[name] for name in ("sampler", "steps", "guidance", "time_grid")}


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
    args = parse(rest[1:])
    try:
        others = distributed.initialize(launch)
    except peers.Missing as error:
        raise cli.RunError(str(error), code=peers.LOST) from error
    return distributed.run(others, lambda: cli.run(lambda: main(args, launch), debug=args.debug))


if __name__ == "__main__":
    sys.exit(cli.run(lambda: start(sys.argv)))
