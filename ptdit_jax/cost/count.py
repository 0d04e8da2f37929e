"""What a network costs at some sizes of its input: parameters, multiply-accumulates by part, memory of a step."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from configs import common
from ptdit_jax import config as rules
from ptdit_jax.cost import memory as cost_memory
from ptdit_jax.cost import published
from ptdit_jax.cost.memory import Memory
from ptdit_jax.cost.peers import PEERS
from ptdit_jax.models import Architecture, complexity
from ptdit_jax.models.complexity import Macs
from ptdit_jax.models.window import Windowing


@dataclasses.dataclass(frozen=True)
class Size:
    """One size of input: (height, width) in pixels, latent frames, the layout of tokens, MACs by part, memory."""

    pixels: tuple[int, int]
    frames: int
    layout: Windowing
    parts: dict[str, Macs]
    memory: Memory | None = None

    @property
    def tokens(self) -> int:
        """N, without padding."""
        return math.prod(self.layout.grid)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one network costs, and what its paper says."""

    name: str
    arch: Architecture
    text_tokens: int
    parameters: int
    sizes: list[Size]
    paper: published.Published | None


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
        if problems := list(rules.network_problems(config, data.frames, height, width)):
            raise ValueError("\n".join(problems))
        ratio, _ = rules.layout(config, height=height, width=width)
        layout = network.layout((data.frames, height, width), ratio, config.compression.proxy)
        parts = complexity.forward(arch, layout, config.model.text_length)
        needs = cost_memory.measure(config, height=height, width=width) if memory else None
        sizes.append(Size((height * scale, width * scale), data.frames, layout, parts, needs))
    return Cost(name, arch, config.model.text_length, complexity.parameters(network), sizes, paper)


def equations(cost: Cost, size: Size) -> tuple[float, float | None, float]:
    """MACs of a block's attention products: Eq. 3, Eq. 4 (None without proxies), and the mean of those counted."""
    arch, grid = cost.arch, size.tokens
    counted = sum(macs.attention for part, macs in size.parts.items() if part != "text") / arch.depth
    eq4 = float(complexity.proxy_attention(grid, arch.width, size.layout.window)) if arch.giim else None
    return complexity.full_attention(grid, arch.width), eq4, counted


def paper_macs(cost: Cost, size: Size) -> float | None:
    """The paper's figure in G at this size, if it prints one."""
    return cost.paper.macs.get(size.pixels[0]) if cost.paper else None


def as_json(cost: Cost) -> dict[str, Any]:
    """Everything there is, in plain numbers."""
    arch, paper = cost.arch, cost.paper
    return {
        "name": cost.name,
        "family": arch.family,
        "blocks": arch.depth,
        "width": arch.width,
        "heads": arch.heads,
        "condition": arch.condition,
        "text_tokens": cost.text_tokens if arch.condition == "text" else 0,
        "out_channels": arch.out_channels,
        "parameters": cost.parameters,
        "paper_parameters": paper and paper.parameters and round(paper.parameters * 1e6),
        "sizes": [
            {
                "pixels": size.pixels,
                "frames": size.frames,
                "tokens": size.tokens,
                "window": size.layout.window,
                "proxies": size.layout.proxies if arch.giim else 0,
                "macs": complexity.total(size.parts).total,
                "macs_without_attention": complexity.total(size.parts).linear,
                "paper_macs": (figure := paper_macs(cost, size)) and round(figure * 1e9),
                "parts": {part: dataclasses.asdict(macs) for part, macs in size.parts.items()},
                "block_attention": dict(zip(("equation_3", "equation_4", "counted"), equations(cost, size))),
                "memory": size.memory and dataclasses.asdict(size.memory) | {"total": size.memory.total},
            }
            for size in cost.sizes
        ],
    }
