"""Random transformations of single samples, seeded by the pipeline and not by themselves."""

import grain
import numpy as np


class RandomFlip(grain.transforms.RandomMap):
    """Mirrors `x` (C, F, H, W) left to right in half of the cases, all frames of a video together."""

    def random_map(self, element: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Returns the sample, its `x` mirrored along W with probability 1/2."""
        if rng.random() < 0.5:
            return element
        return element | {"x": element["x"][..., ::-1]}
