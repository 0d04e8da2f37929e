"""Parameters and multiply-accumulates (MACs) of the published networks, or of one config.

    python -m ptdit_jax.cost [--resolution 256,512,1024,2048] [--json]
    python -m ptdit_jax.cost --config FILE [--config.FIELD=VALUE ...] [--resolution PX,...] [--json]

Without a config: every variant beside what its paper prints.  With one: that network by parts, at the size of
its data or at the resolutions asked for.  Nothing is allocated and no accelerator is used.  MACs are those of
one forward pass of one sample, counted from the shapes of its matrix products (`ptdit_jax.complexity`).
Tables are Markdown.

Exit code: 0 done; 2 the command or the config is wrong.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import jax

from configs import common
from ptdit_jax import cli, complexity, models, published
from ptdit_jax import config as rules
from ptdit_jax.cost_report import Cost, Size, as_json, attention_shares, config_report, published_report

RESOLUTIONS = (256, 512, 1024, 2048)


def main(argv: Sequence[str]) -> int:
    """Count and print; returns the exit code."""
    options, rest = parse(argv)
    numbers: dict[str, Any] = {}
    config, _, _ = cli.parse([argv[0], *rest], __doc__ or "")
    if any(argument.lstrip("-").startswith("config") for argument in rest):
        rules.validate(config, check_data=False)
        costs = [measure(config.model.variant, config, options.resolution)]
        text = config_report(costs[0])
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
    about = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m ptdit_jax.cost",
        usage=about[1].strip(),
        description=about[0],
        epilog="\n\n".join(about[2:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--resolution", type=resolutions, metavar="PX,...", help="image sides in pixels")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser.parse_known_args(argv[1:])


def resolutions(text: str) -> list[int]:
    """Sides in pixels from "256,512"."""
    sides = [int(side) for side in text.split(",") if side.isdecimal()]
    if len(sides) != text.count(",") + 1 or 0 in sides:
        raise argparse.ArgumentTypeError(f"{text!r} must be positive whole numbers with commas: 256,512")
    return sides


def published_config(network: published.Published) -> Any:
    """The config of a published network."""
    config = common.get_config()
    config.model.family, config.model.variant = network.family, network.variant
    config.model.condition, config.model.out_channels = network.condition, published.OUT_CHANNELS
    return config


def measure(
    name: str,
    config: Any,
    resolutions: Sequence[int] | None,
    paper: published.Published | None = None,
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
    window, _ = rules.layout(config)
    arch = models.architecture(config.model, window, learn_variance=config.diffusion.learn_variance)
    network = complexity.abstract(arch)
    sizes = []
    for height, width in latents:
        ratio, _ = rules.layout(config, height=height, width=width)
        layout = network.layout((data.frames, height, width), ratio, config.compression.proxy)
        parts = complexity.forward(arch, layout, config.model.text_length)
        sizes.append(Size((height * scale, width * scale), data.frames, layout, parts))
    return Cost(name, arch, config.model.text_length, complexity.parameters(network), sizes, paper)


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")  # arithmetic only: leave an accelerator to who trains on it
    sys.exit(cli.run(lambda: main(sys.argv), debug="--debug" in sys.argv))
