"""Sizes and costs as their papers print them, to stand beside our counts.

Sources: PT-DiT, arXiv 2409.04005 (text models: Table 4; class-conditional ones: the answers to its reviews at
ICLR 2025, which also measure DiT-S/2, -B/2 and -XL/2 at 256 px and DAM-B); DiT, arXiv 2212.09748; PixArt-alpha,
arXiv 2310.00426; DAM, arXiv 2408.05710 (the rest).
"""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Published:
    """One published network.

    Attributes:
      name: what to call it.
      family: `config.model.family`.
      variant: `config.model.variant`.
      condition: `config.model.condition`.
      parameters: millions, or None.
      macs: G multiply-accumulates of a forward pass, which the papers call GFLOPs, by image side in pixels.
    """

    name: str
    family: str
    variant: str
    condition: str
    parameters: float | None = None
    macs: Mapping[int, float] = dataclasses.field(default_factory=dict)


NETWORKS = (
    Published("PT-DiT/S", "ptdit", "S", "text"),
    Published("PT-DiT/B", "ptdit", "B", "text", 144),
    Published("PT-DiT/L", "ptdit", "L", "text", 605),
    Published("PT-DiT/XL", "ptdit", "XL", "text", 1142),
    Published("PT-DiT/H", "ptdit", "H", "text", 1795),
    Published("PT-DiT/S-Class", "ptdit", "S-Class", "class", 32.5, {256: 3.86}),
    Published("PT-DiT/B-Class", "ptdit", "B-Class", "class", 152, {256: 18.3, 512: 68.6, 1024: 269.6}),
    Published("PT-DiT/L-Class", "ptdit", "L-Class", "class", 693, {256: 82.64}),
    Published("DiT-S/2", "dit", "S", "class", 33, {256: 6.06}),
    Published("DiT-B/2", "dit", "B", "class", 130, {256: 23.0, 512: 106.5, 1024: 650.2}),
    Published("DiT-L/2", "dit", "L", "class", 458, {256: 80.71}),
    Published("DiT-XL/2", "dit", "XL", "class", 675, {256: 118.69, 512: 524.6}),
    Published("PixArt-alpha", "pixart", "XL", "text", 610),
    Published("DAM-B", "dam", "B", "class", 131, {256: 22.5, 512: 90.1, 1024: 360.6}),
)

OUT_CHANNELS = (
    8  # of 4: the class models learn the variance (DiT's recipe), the released text model has them too
)

# Sec. 3.3: image side in pixels -> share of global self-attention in percent, as printed.
ATTENTION_SHARES = {256: 34.3, 512: 9.7, 1024: 4.7, 2048: 2.3}


@dataclasses.dataclass(frozen=True)
class Ratio:
    """How much of another network's cost the paper says that a network has.

    Attributes:
      figure: of the paper that shows it.
      network: of the paper.
      against: the other one.
      percent: the network's MACs over the other's; where the paper prints a reduction, 100 less it.
      side: image side in pixels; None where the paper states one ratio and no size.
    """

    figure: str
    network: str
    against: str
    percent: float
    side: int | None = None


RATIOS = (
    Ratio("fig2", "PT-DiT/L", "PixArt-alpha", 66.0),  # Sec. 1
    Ratio("fig7", "PT-DiT/XL", "CogVideoX-2B", 50.0),  # Sec. 4.4, here and below
    Ratio("fig7", "PT-DiT/XL", "EasyAnimateV4", 50.0),
    Ratio("fig7", "PT-DiT/H", "CogVideoX-2B", 77.0),  # Sec. 1
    Ratio("fig7", "PT-DiT/H", "EasyAnimateV4", 82.0),
    Ratio("fig10", "PT-DiT/H", "Lumina-Next", 18.0, 512),  # Appendix A.4, here and below
    Ratio("fig10", "PT-DiT/H", "Lumina-Next", 17.5, 2048),
    Ratio("fig10", "PT-DiT/B-Class", "DiT-B/2", 40.5, 1024),
)

# Sec. 1: PT-DiT/XL trains at this size in this much memory, GB of one accelerator: (side, frames) in pixels -> GB.
TRAINS_IN = {(2048, 1): 64, (512, 288): 64}
