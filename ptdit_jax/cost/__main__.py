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

Exit code: 0 done; 1 the figures cannot be written; 2 the command or the config is wrong.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from ptdit_jax import cli
from ptdit_jax import config as rules
from ptdit_jax import files as outputs
from ptdit_jax.cost import figures, page, published
from ptdit_jax.cost import memory as cost_memory
from ptdit_jax.cost.count import as_json, measure, measured, published_config
from ptdit_jax.cost.published_report import attention_shares, published_report
from ptdit_jax.cost.report import config_report, configs_report
from ptdit_jax.experiment import ratio_cost, text_cost
from ptdit_jax.text_tables import triple

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
        outputs.resolve(options, "figures")
        outputs.make_folder(options.figures, "--figures")
        files = page.save(list(figures.make()), options.figures)
        print("\n".join(map(str, files)))
        return 0
    if options.configs:
        costs, texts = [], []
        for file in [outputs.path(name, "--configs") for name in options.configs]:
            config, folder, _ = cli.parse([argv[0], f"--config={file}", *rest], __doc__ or "")
            for name, part in ratios(folder.name, config):
                costs.append(measured(name, part, options.resolution))
                texts.append(text_cost.as_json(part))
        text = configs_report(costs)
    elif chosen or overrides:
        named = ratios(folder.name, config)
        costs = [measured(name, part, options.resolution) for name, part in named]
        texts = [text_cost.as_json(part) for _, part in named]
        if len(named) > 1:
            numbers["by_time"] = ratio_cost.rows_of(config)
        if not options.json:
            height, width = (side // config.data.pixels_per_latent for side in costs[0].sizes[0].pixels)
            pages = [
                config_report(cost, cost_memory.policies(part, height=height, width=width))
                for cost, (_, part) in zip(costs, named, strict=True)
            ]
            pages += [ratio_cost.report(config), text_cost.report(config)]
            text = "\n\n".join(filter(None, pages))
    else:
        resolutions = options.resolution or RESOLUTIONS
        costs = [measure(p.name, published_config(p), resolutions, p) for p in published.NETWORKS]
        texts = [None] * len(costs)
        text = published_report(costs, resolutions)
        numbers["attention_share_percent"] = attention_shares(resolutions)
    numbers["networks"] = [as_json(cost) | {"text": found} for cost, found in zip(costs, texts, strict=True)]
    print(json.dumps(numbers, indent=2) if options.json else text)
    return 0


def ratios(name: str, config: Any) -> list[tuple[str, Any]]:
    """A config under its name; with `compression.by_time`, once for each of its ratios.

    Raises:
      ValueError: it is wrong.
    """
    rules.validate(config, check_data=False)
    parts = rules.parts(config)
    if len(parts) == 1:
        return [(name, config)]
    return [(f"{name}, ratio {triple(part.config.compression.fixed)}", part.config) for part in parts]


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and the arguments left for the config's flags."""
    parser = cli.option_parser("ptdit_jax.cost", __doc__ or "")
    parser.add_argument("--resolution", type=resolutions, metavar="PX,...", help="image sides in pixels")
    parser.add_argument("--configs", type=files, metavar="FILE,...", help="config files, a row each")
    parser.add_argument("--figures", metavar="DIR", help="folder to draw the comparisons into")
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


if __name__ == "__main__":
    # Arithmetic only: leave an accelerator to who trains on it.
    sys.exit(cli.run(lambda: main(sys.argv), debug="--debug" in sys.argv, platforms="cpu"))
