"""How fast batches come, beside webdataset and torch.utils.data on the same bytes, on one core.

.venv/bin/python -m benchmarks.loader [--records 8192] [--rounds 3] [--memory-batches 100000] [--entries 10000000]

Prints, for records of 256 px latents (4x32x32, as moments of a posterior in bfloat16) alone and with text states (40 of
4096 features in bfloat16): samples and stored bytes a second of `make_loader`, of a webdataset over a tar, and of a
`DataLoader` over a map-style dataset that reads the same bytes.  All give float32 latents and text that is padded to
its longest in the batch, shuffled, without worker processes; they run in turns, and the best of some rounds is shown.
Seconds are those of the processor, all threads together, so that a busy machine is none the slower.  Ours is also
shown with posteriors drawn, and padded to 120 states.  Then: the growth of memory over many batches, and the time to
the first batch on an index of many entries.
"""

import argparse
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

BATCH, STATES, FEATURES, LENGTH = 256, 40, 4096, 120
SHAPE = (4, 1, 32, 32)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--records", type=int, default=8192, help="latents; of those with text there are a quarter"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-batches", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=10_000_000)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        for text, count in ((False, options.records), (True, options.records // 4)):
            folder = Path(name) / ("text" if text else "latents")
            size = write(folder, count, text)
            print(
                f"\n{count:,} records of {size:,} bytes, {'latents and text' if text else 'latents alone'}, one core"
            )
            print("| loader | samples/s | GB/s | of the best peer |\n|---|---|---|---|")
            compare(folder, count, size, text, options.rounds)
        memory(Path(name) / "latents", options.memory_batches)
        first_batch(Path(name) / "index", options.entries)


def record(number: int, text: bool) -> dict[str, Any]:
    """One record: moments, and states of a caption."""
    rng = np.random.default_rng(number)
    fields = {
        "moments": rng.standard_normal((8, 1, 32, 32)).astype(ml_dtypes.bfloat16),
        "key": f"{number:09d}",
    }
    if text:
        fields["text"] = rng.standard_normal((STATES, FEATURES), np.float32).astype(ml_dtypes.bfloat16)
    return fields


def write(folder: Path, count: int, text: bool) -> int:
    """Writes the records as shards and, the same bytes, as a tar; returns the bytes of one."""
    from data_pipelines.shards.index import write_index
    from data_pipelines.shards.record import pack
    from data_pipelines.shards.writer import ShardWriter

    folder.mkdir()
    size = 0
    with (
        ShardWriter(folder / "0.array_record", shape=SHAPE) as writer,
        tarfile.open(folder / "0.tar", "w") as archive,
    ):
        for number in range(count):
            fields = record(number % 64, text)
            writer.write(fields)
            content = pack(fields)
            info = tarfile.TarInfo(f"{number:09d}.safetensors")
            size = info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    write_index(folder, [writer.entry or {}], {"scale": 0.18215})
    return size


def data_of(folder: Path, **fields: Any) -> Any:
    """The `data` part of a config for a folder of shards."""
    from configs import common

    data = common.get_config().data
    data.update({"name": "shards", "path": str(folder), "batch": BATCH} | fields)
    return data


def ours(folder: Path, text: bool, posterior: str, length: int) -> Iterator[Any]:
    """Batches of this project's loader."""
    from data_pipelines import make_loader

    return make_loader(
        data_of(folder), seed=0, posterior=posterior, text=(length, FEATURES) if text else None
    )


def decode(content: bytes) -> dict[str, Any]:
    """A record as a peer's user would read it: the mean's latents, and states."""
    import torch
    from safetensors.torch import load

    arrays = load(content)
    sample = {"x": arrays["moments"][:4].to(torch.float32) * 0.18215}
    return sample | ({"text": arrays["text"]} if "text" in arrays else {})


def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Samples as a batch, text padded to the longest."""
    import torch

    batch = {"x": torch.stack([sample["x"] for sample in samples])}
    if "text" in samples[0]:
        states = [sample["text"] for sample in samples]
        longest = max(len(each) for each in states)
        text = torch.zeros((len(states), longest, FEATURES))
        for row, each in zip(text, states, strict=True):
            row[: len(each)] = each
        batch["text"] = text
    return batch


def web(folder: Path, count: int) -> Iterator[Any]:
    """Batches of webdataset, from a tar that is read in order through a buffer."""
    from webdataset.compat import WebDataset

    dataset: Any = WebDataset(str(folder / "0.tar"), shardshuffle=False, empty_check=False)
    dataset = dataset.shuffle(1000).map(lambda sample: decode(sample["safetensors"]))
    return iter(dataset.repeat().batched(BATCH, collation_fn=collate))


def torch_data(folder: Path, count: int) -> Iterator[Any]:
    """Batches of `torch.utils.data`, map-style over the same tar, its members found once."""
    import torch

    with tarfile.open(folder / "0.tar") as archive:
        places = [(member.offset_data, member.size) for member in archive.getmembers()]
    file = os.open(folder / "0.tar", os.O_RDONLY)

    class Records(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(places)

        def __getitem__(self, number: int) -> dict[str, Any]:
            offset, size = places[number]
            return decode(os.pread(file, size, offset))

    loader = torch.utils.data.DataLoader(
        Records(), batch_size=BATCH, shuffle=True, collate_fn=collate, drop_last=True
    )
    while True:
        yield from loader


def compare(folder: Path, count: int, size: int, text: bool, rounds: int) -> None:
    """Prints a row for each loader, measured in turns."""
    import torch

    torch.set_num_threads(1)
    loaders: dict[str, Callable[[], Iterator[Any]]] = {
        "webdataset": lambda: web(folder, count),
        "torch.utils.data": lambda: torch_data(folder, count),
        "ours, posterior mode": lambda: ours(folder, text, "mode", STATES),
        "ours, posterior sample": lambda: ours(folder, text, "sample", STATES),
    }
    if text:
        loaders[f"ours, padded to {LENGTH}"] = lambda: ours(folder, text, "mode", LENGTH)
    opened = {name: open_loader() for name, open_loader in loaders.items()}
    for batches in opened.values():  # warm
        next(batches)
    best = dict.fromkeys(opened, 0.0)
    batches_a_round = max(count // BATCH, 8)
    for _ in range(rounds):
        for name, batches in opened.items():
            began = time.process_time()
            for _ in range(batches_a_round):
                next(batches)
            best[name] = max(best[name], BATCH * batches_a_round / (time.process_time() - began))
    peer = max(best["webdataset"], best["torch.utils.data"])
    for name, rate in best.items():
        print(f"| {name} | {rate:,.0f} | {rate * size / 1e9:.2f} | {rate / peer:.2f} |", flush=True)


def memory(folder: Path, batches: int) -> None:
    """Prints the resident memory early and late in a long run of small batches."""
    from data_pipelines import make_loader

    loader = make_loader(data_of(folder, batch=4), seed=0)
    warm = max(batches // 10, 1)
    for _ in range(warm):
        next(loader)
    early = resident()
    for _ in range(batches - warm):
        next(loader)
    late = resident()
    print(f"\nresident memory: {early:.1f} MiB after {warm:,} batches, {late:.1f} MiB after {batches:,}")


def resident() -> float:
    """MiB of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def first_batch(folder: Path, entries: int) -> None:
    """Prints the seconds from opening an index of many entries to the first batch; its shards are links to one file."""
    import json

    from data_pipelines import make_loader
    from data_pipelines.shards.index import write_index
    from data_pipelines.shards.writer import ShardWriter

    folder.mkdir()
    in_shard = 1000
    with ShardWriter(folder / "000000.array_record", shape=SHAPE) as writer:
        for number in range(in_shard):
            writer.write(record(number % 64, False))
    shards = max(entries // in_shard, 1)
    written = []
    for number in range(shards):
        path = folder / f"{number:06d}.array_record"
        if number:
            source = folder / f"{number // 10_000 * 10_000:06d}.array_record"
            if number % 10_000 == 0:
                path.write_bytes(writer.path.read_bytes())
            else:
                path.hardlink_to(source)
        written.append((writer.entry or {}) | {"file": path.name})
    write_index(folder, written, {"scale": 0.18215})
    size = len(json.dumps(written)) / 2**20
    began = time.perf_counter()
    next(make_loader(data_of(folder), seed=0))
    seconds = time.perf_counter() - began
    print(
        f"first batch of {shards * in_shard:,} entries in {shards:,} shards ({size:.1f} MiB of index): {seconds:.2f} s"
    )


if __name__ == "__main__":
    main()
