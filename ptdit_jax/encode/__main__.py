"""Encode raw pictures, films and captions into shards that training reads.

    python -m ptdit_jax.encode --config FILE --source NAME:PATH [--source ...] --out DIR
        [--config.FIELD=VALUE ...] [--debug] [--start-timeout S] [--step-timeout S]
        [--coordinator HOST:PORT --processes N --process-id I | --cluster auto]

FILE is the experiment that is to be trained: its encoders (text_encoder, autoencoder), its size (data.height,
data.width, data.frames) and its section encode say what becomes of a record.  NAME is a raw source and PATH its
folder or file, as in --source images:/data/photos; options follow: --source 'webdataset:/data/tars?captions=required'.
DIR gets

    *.array_record  index.json  null_text.npz (with text: the empty caption)
    quarantine.jsonl (what was left out, and why)  summary.png  encode.json  units/

and is what training reads with data.name=shards and data.path=DIR.

Records are encoded in units of encode.unit; the same command again, with any number of processes, does the units that
are not done, or says that all are.  Another config, source or encoder for the same DIR is refused.  A run of several
processes is started as one of training (`launch/encode.sh --simulate` starts some on one machine); DIR and PATH are on
storage that all share.

Exit code: 0 done; 1 it cannot go on (disk, memory, nothing is left); 2 the command or the config is wrong;
143 and 130 after SIGTERM and Ctrl-C to any process, after the units that are under way (a second one ends at once);
75 another process did not come, was lost or has failed; 76 a batch took longer than --step-timeout seconds.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from ptdit_jax import cli, files
from ptdit_jax import config as rules
from ptdit_jax.encode import finish, folder, networks, reading, shapes, sources, work
from ptdit_jax.parallel import chips
from ptdit_jax.parallel.mesh import connect, make_mesh
from ptdit_jax.processes import distributed, environment, signals


def main(config: Any, names: Sequence[sources.SourceName], out: Path, launch: distributed.Launch) -> int:
    """Encode; returns the exit code.

    Args:
      config: the whole config.
      names: the sources.
      out: the folder of the shards.
      launch: how the run was started; its timeouts count here.
    """
    with folder.Folder(out) as place:
        return encode(config, names, place, launch)


def encode(
    config: Any, names: Sequence[sources.SourceName], place: folder.Folder, launch: distributed.Launch
) -> int:
    """Encode into a folder, which is locked as long as its context lasts; see `main`."""
    # --- devices, and what can be refused before anything is read
    distributed.meet("start JAX's devices")
    devices = environment.devices()
    is_host = jax.process_index() == 0
    if is_host:
        print(f"devices: {environment.describe(devices, chips.host_memory())}", flush=True)
    rules.validate(config, check_data=False)
    networks.check(config)
    sources.check_apart(names, place.path)
    distributed.meet("connect their devices")
    connect(make_mesh({"data": -1}))
    cli.enable_compilation_cache()

    # --- records and folder; process 0 first, which may have to index the files
    if not is_host:
        distributed.meet("open the sources", work.DAYS)
    files.make_folder(place.path, "--out")
    opened = sources.Sources(names, config.encode.unit, place.path / folder.SOURCE_INDEX)
    autoencoder = networks.open_autoencoder(config)
    networks.check_sizes(config, autoencoder)
    made = shapes.make_shapes(config, autoencoder.factor)
    fingerprints = {"autoencoder": autoencoder.fingerprint, "text_encoder": networks.text_fingerprint(config)}
    identity = folder.identity(config, shapes=str(made.latent), **opened.identity(), **fingerprints)
    if is_host:
        place.lock()
        place.begin(identity, write=True)
        place.forget_stop()
        for source in opened.opened:
            for note in source.notes:
                print(f"note: {note}", flush=True)
        distributed.meet("open the sources", work.DAYS)
    else:
        place.begin(identity, write=False)
    distributed.meet("divide the units")
    units, todo = work.share(place, opened)
    if is_host:
        count = f"{opened.units:,} units of up to {config.encode.unit:,}"
        print(f"{len(opened):,} records in {count}, {opened.units - todo:,} of them done", flush=True)
    if not todo and finish.is_finished(place):
        if is_host:
            print(f"all done: {finish.describe(place)}")
        return 0

    # --- encode
    encoders = networks.Networks(config, autoencoder)
    reader = reading.Reader(opened, made, config.encode, captions=networks.needs_captions(config))
    signal = work.encode_units(config, units, reader, opened, encoders, place, launch)

    # --- finish
    if signal and finish.missing(place, opened):
        if is_host:
            place.forget_stop()
            left = len(finish.missing(place, opened))
            print(
                f"stopped; {left:,} of {opened.units:,} units are left, the same command goes on", flush=True
            )
        return signals.exit_code(signal)
    if is_host:
        finish.finish(config, place, opened, encoders)
    return 0


def parse(argv: Sequence[str]) -> tuple[list[sources.SourceName], Path, list[str]]:
    """Our options, and the arguments left for the config's flags.

    Raises:
      ValueError: naming the option that is missing or wrong.
    """
    parser = cli.option_parser("ptdit_jax.encode", __doc__ or "")
    parser.add_argument("--source", action="append", default=[], metavar="NAME:PATH", help="raw records")
    parser.add_argument("--out", metavar="DIR", help="folder of the shards")
    options, rest = parser.parse_known_args(argv[1:])
    if any(argument.partition("=")[0].lstrip("-") == "workdir" for argument in rest):
        raise ValueError("--workdir is no option of encode; --out names the folder of the shards")
    if not options.source:
        raise ValueError("--source is missing: NAME:PATH of the raw records, such as images:/data/photos")
    if options.out is None:
        raise ValueError("--out is missing: the folder of the shards")
    return (
        [sources.parse(text) for text in options.source],
        files.path(options.out, "--out"),
        [argv[0], *rest],
    )


def start(argv: Sequence[str]) -> int:
    """Read the command line, meet the other processes and encode; returns the exit code."""
    launch, rest = distributed.parse(argv)
    names, out, rest = parse(rest)
    config, _, debug = cli.parse(rest, __doc__ or "")
    return cli.run_with_others(launch, lambda: main(config, names, out, launch), debug=debug)


if __name__ == "__main__":
    sys.exit(cli.run(lambda: start(sys.argv)))
