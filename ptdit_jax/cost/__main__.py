"""Parameters, multiply-accumulates (MACs) and training memory, of the published networks or of any configs.

    python -m ptdit_jax.cost [--resolution 256,512,1024,2048] [--json]
    python -m ptdit_jax.cost --config FILE [--config.FIELD=VALUE ...] [--resolution PX,...] [--json]
    python -m ptdit_jax.cost --configs FILE,FILE,... [--config.FIELD=VALUE ...] [--resolution PX,...] [--json]
    python -m ptdit_jax.cost --figures DIR

Without a config: every variant beside what its paper prints.  With one: that network by parts and the memory of its
training step, at the size of its data or at the resolutions asked for.  With several: the same in one table, each
with the overrides.  --figures draws the paper's comparisons of costs beside its own figures, as PNG and CSV.
Nothing is allocated and no accelerator is used.  MACs are those of one forward pass of one sample, counted from the
shapes of its matrix products (`ptdit_jax.models.complexity`); memory is what the training step keeps on one device that
holds the whole network (`ptdit_jax.cost.memory`).  Tables are Markdown.

Exit code: 0 done; 2 the command or the config is wrong.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs import common
from ptdit_jax import cli
from ptdit_jax import config as rules
from ptdit_jax.cost import figures, published
from ptdit_jax.cost import memory as cost_memory
from ptdit_jax.cost.peers import PEERS
from ptdit_jax.cost.report import (
    Cost,
    Size,
    as_json,
    attention_shares,
    config_report,
    configs_report,
    published_report,
)
from ptdit_jax.models import complexity

RESOLUTIONS = figures.RESOLUTIONS


def main(argv: Sequence[str]) -> int:
    """Count and print; returns the exit code."""
    options, rest = parse(argv)
    numbers: dict[str, Any] = {}
    text = ""
    config, folder, _ = cli.parse([argv[0], *rest], __doc__ or "")
    given = {argument.lstrip("-").split("=")[0] for argument in rest if argument.startswith("-")}
    overrides = any(flag.startswith("config.") for flag in given)
    modes = {"--config": "config" in given, "--configs": options.configs, "--figures": options.figures}
    chosen = [flag for flag, is_given in modes.items() if is_given]
    if len(chosen) > 1 or (options.figures and (overrides or options.resolution or options.json)):
        raise ValueError(
            f"{' and '.join(chosen)}: --config, --configs and --figures exclude each other, and --figures goes alone"
        )
    if options.figures:
        files = figures.save(list(figures.make(macs, config_of)), options.figures)
        print("\n".join(map(str, files)))
        return 0
    if options.configs:
        costs = []
        for file in options.configs:
            config, folder, _ = cli.parse([argv[0], f"--config={file}", *rest], __doc__ or "")
            costs.append(measured(folder.name, config, options.resolution))
        text = configs_report(costs)
    elif chosen or overrides:
        costs = [measured(folder.name, config, options.resolution)]
        if not options.json:
            height, width = (side // config.data.pixels_per_latent for side in costs[0].sizes[0].pixels)
            text = config_report(costs[0], cost_memory.policies(config, height=height, width=width))
    else:
        resolutions = options.resolution or RESOLUTIONS
        costs = [measure(p.name, published_config(p), resolutions, p) for p in published.NETWORKS]
        text = published_report(costs, resolutions)
        numbers["attention_share_percent"] = attention_shares(resolutions)
    numbers["networks"] = [as_json(cost) for cost in costs]
    print(json.dumps(numbers, indent=2) if options.json else text)
    return 0


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and the arguments left for the config's flags."""
    parser = cli.option_parser("ptdit_jax.cost", __doc__ or "")
    parser.add_argument("--resolution", type=resolutions, metavar="PX,...", help="image sides in pixels")
    parser.add_argument("--configs", type=files, metavar="FILE,...", help="config files, a row each")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="folder to draw the comparisons into")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser.parse_known_args(argv[1:])


def resolutions(text: str) -> list[int]:
    """Sides in pixels from "256,512"."""
    sides = [int(side) for side in text.split(",") if side.isdecimal()]
    if len(sides) != text.count(",") + 1 or 0 in sides:
        raise argparse.ArgumentTypeError(f"{text!r} must be positive whole numbers with commas: 256,512")
    return sides


def files(text: str) -> list[str]:
    """Names from "a.py,b.py"."""
    names = text.split(",")
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} must be config files with commas: a.py,b.py")
    return names


def published_config(network: published.Published) -> Any:
    """The config of a published network."""
    config = common.get_config()
    config.model.family, config.model.variant = network.family, network.variant
    config.model.condition, config.model.out_channels = network.condition, published.OUT_CHANNELS
    return config


def config_of(name: str) -> Any:
    """The config of a published network, by its name."""
    return published_config(next(network for network in published.NETWORKS if network.name == name))


def macs(name: str, side: int, frames: int) -> complexity.Macs:
    """MACs of a published network, or of one known by its public architecture, at a square size of latent frames."""
    if name not in {network.name for network in published.NETWORKS}:
        return complexity.total(PEERS[name].forward(side, frames))
    config = config_of(name)
    config.data.frames = frames
    return complexity.total(measure(name, config, [side]).sizes[0].parts)


def measured(name: str, config: Any, resolutions: Sequence[int] | None) -> Cost:
    """Count a user's config, with the memory of its training step.

    Raises:
      ValueError: the config is wrong, or a size is none for it.
    """
    rules.validate(config, check_data=False)
    return measure(name, config, resolutions, memory=True)


def measure(
    name: str,
    config: Any,
    resolutions: Sequence[int] | None,
    paper: published.Published | None = None,
    *,
    memory: bool = False,
) -> Cost:
    """Count a config at square resolutions in pixels, or at the size of its data.

    Raises:
      ValueError: a size is no whole number of latents or tokens, or the network cannot run it.
    """
    data, scale = config.data, config.data.pixels_per_latent
    latents = [(data.height, data.width)]
    if resolutions:
        for side in resolutions:
            if side % scale:
                raise ValueError(f"--resolution {side} must be a multiple of data.pixels_per_latent={scale}")
        latents = [(side // scale, side // scale) for side in resolutions]
    arch = rules.architecture(config)
    network = complexity.abstract(arch)
    sizes = []
    for height, width in latents:
        ratio, _ = rules.layout(config, height=height, width=width)
        layout = network.layout((data.frames, height, width), ratio, config.compression.proxy)
        parts = complexity.forward(arch, layout, config.model.text_length)
        needs = cost_memory.measure(config, height=height, width=width) if memory else None
        sizes.append(Size((height * scale, width * scale), data.frames, layout, parts, needs))
    return Cost(name, arch, config.model.text_length, complexity.parameters(network), sizes, paper)


if __name__ == "__main__":
    # Arithmetic only: leave an accelerator to who trains on it.
    sys.exit(cli.run(lambda: main(sys.argv), debug="--debug" in sys.argv, platforms="cpu"))
