"""Judge samples: the field's figures of pictures and films, by the definitions of those who publish them.

    python -m ptdit_jax.evaluate --checkpoint RUN --count 50000 --reference REF --inception WEIGHTS [SAMPLING...]
    python -m ptdit_jax.evaluate --samples SAMPLES --reference REF --inception WEIGHTS [--metrics fid,kid]
    python -m ptdit_jax.evaluate --samples real/ --inception WEIGHTS --write-reference REF.npz
    python -m ptdit_jax.evaluate --samples films/ --reference real/ --protocol stylegan_v --i3d WEIGHTS
    python -m ptdit_jax.evaluate --samples real/ --protocol stylegan_v --i3d WEIGHTS --write-reference REF.npz
    python -m ptdit_jax.evaluate --samples films/ --metrics isv --c3d WEIGHTS
    python -m ptdit_jax.evaluate --samples films/ --metrics clipsim --clip FOLDER [--captions FILE]
        [--coordinator HOST:PORT --processes N --process-id I | --cluster auto] [--start-timeout S] [--step-timeout S]

With --checkpoint (or --from-release) samples are drawn as `ptdit_jax.sample.many` draws them, on all processes, into
the folder --samples (default: `judged` in the run's folder); those that are there are not made again.  Alone, --samples
is an .npz (arr_0, uint8 (N, H, W, 3), of films (N, F, H, W, 3)) or a folder of pictures or films.  REF is the same, or
ADM's file with mu, sigma, mu_s and sigma_s, and arr_0 for precision and recall, or for FVD what --write-reference wrote
by the same options and weights; --samples-source and --reference-source name raw sources, as `launch/encode.sh
--source` does (tfds, webdataset, parquet, ...), whose pictures are cut to size.

Weights are files that others publish (docs/evaluation.md); nothing is downloaded.  The figures, and all that they
depend on, are written to evaluation.json beside the samples, or to --out; they are the same on any number of devices
and processes.

Exit code: 0 done; 1 a file cannot be read or written; 2 the command is wrong; 143 and 130 after SIGTERM and Ctrl-C
while samples are drawn; 75 another process did not come, was lost or has failed; 76 a group took longer than
--step-timeout.
"""

import argparse
import importlib.metadata
import json
import sys
from collections.abc import Sequence
from typing import Any

import jax

from ptdit_jax import cli, files
from ptdit_jax.evaluate import by_inception, by_others, captions, drawn, flags
from ptdit_jax.evaluation import films, npz, pictures
from ptdit_jax.evaluation.films import Films
from ptdit_jax.evaluation.pictures import Pictures
from ptdit_jax.parallel.mesh import connect, make_mesh
from ptdit_jax.processes import decision, distributed, environment
from ptdit_jax.sample import sizes


def main(args: argparse.Namespace, launch: distributed.Launch = distributed.ALONE) -> int:
    """Draw and judge; returns the exit code.

    Args:
      args: the command line.
      launch: how the command was started.
    """
    # --- files, before anything is computed
    is_drawn = drawn.is_asked(args)
    out = args.out or (drawn.home(args) / "evaluation.json")
    for name in flags.FILES if is_drawn else ("samples", *flags.FILES):
        if (path := getattr(args, name)) is not None and not path.exists():
            raise FileNotFoundError(f"--{name.replace('_', '-')}={path}: there is no such file or folder")
    if not is_drawn or args.out is not None:  # the folder of the samples may not be there yet
        files.check_file(out, "--out")
    if args.write_reference is not None:
        files.check_file(args.write_reference, "--write-reference", (".npz",))

    if is_drawn:
        asked, (_, frames, rows, columns) = drawn.planned(args)
        flags.check_kind(args, is_film=frames > 1)
        flags.check_count(args, asked)
        reference, is_resized = args.reference, args.cut or frames > 1
        if reference is not None and not is_resized and (reference.is_dir() or npz.has_array(reference)):
            real = pictures.find(reference, "--reference", names=by_inception.chosen(args))
            pictures.check_size(real, (rows, columns))
        by_others.check_reference(args)

    # --- samples
    if is_drawn:
        if code := drawn.draw(args, launch):
            return code
        distributed.meet("judge the samples", decision.DAY)
    else:
        distributed.meet("start JAX's devices")
        environment.devices()
        connect(make_mesh({"data": -1}))
    found = find(args)
    flags.check_kind(args, is_film=isinstance(found, Films))
    count = found.count if is_drawn or args.count is None else args.count
    if count > found.count:
        raise ValueError(f"--count={count:,}: --samples={args.samples} has {found.count:,} samples")
    flags.check_count(args, count)
    cli.enable_compilation_cache()
    mesh = make_mesh({"data": -1})

    # --- figures
    result, told = judge(args, found, count, mesh)
    if jax.process_index() != 0 or not result:
        return 0
    content = {
        "figures": result,
        "samples": args.samples_source or str(args.samples),
        "count": count,
        "size": list(found.size),
        "protocol": args.protocol,
        "reference": args.reference_source or (None if args.reference is None else str(args.reference)),
        "reference_names_sha256": by_inception.chosen_digest(args),
        **told,
        "jax": importlib.metadata.version("jax"),
        "device": str(jax.devices()[0].device_kind),
        "made_by": drawn.settings(args),
    }
    text = json.dumps(content, indent=2) + "\n"
    files.write(out, lambda draft: draft.write_text(text))
    print(f"{count:,} samples: " + ", ".join(f"{name} {value:.6g}" for name, value in result.items()))
    print(f"see {out}")
    return 0


def find(args: argparse.Namespace) -> Pictures | Films:
    """The samples, whichever they are.

    Raises:
      ValueError: there are none.
      OSError: it cannot be read.
    """
    if args.samples_source is not None:
        return pictures.of_source(args.samples_source, "--samples-source", sizes.parse(args.size))
    path = args.samples
    if path.is_dir():
        is_film = any(file.suffix.lower() in films.SUFFIXES for file in path.iterdir())
    else:
        is_film = npz.mapped(path, "--samples").ndim == 5
    return films.find(path, "--samples") if is_film else pictures.find(path, "--samples")


def judge(
    args: argparse.Namespace, found: Pictures | Films, count: int, mesh: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures that are asked for, and what they depend on."""
    result: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for network in flags.networks(args):
        if network == "clip":
            texts = captions.of_samples(found.files, count, args.captions or args.prompts)
            made = by_others.by_clip(args, found, texts, mesh)
        elif isinstance(found, Films):
            by_network = {"i3d": by_others.by_i3d, "c3d": by_others.by_c3d}[network]
            made = by_network(args, found, count, mesh)
        elif network == "dinov2":
            made = by_others.by_dinov2(args, found, count, mesh)
        else:
            made = by_inception.judge(args, found, count, mesh)
        result, told = result | made[0], told | made[1]
    return result, told


def start(argv: Sequence[str]) -> int:
    """Read the command line, meet the other processes and judge; returns the exit code."""
    launch, rest = distributed.parse(argv)
    args = flags.parse(rest[1:], __doc__ or "")
    return cli.run_with_others(launch, lambda: main(args, launch), debug=args.debug)


if __name__ == "__main__":
    sys.exit(cli.run(lambda: start(sys.argv)))
