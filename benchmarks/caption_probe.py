"""Are the words of a caption in the states of the untrained byte-level T5?  A linear classifier tries to read them.

    python -m benchmarks.caption_probe

Half a minute on one core.
"""

import numpy as np
from sklearn.linear_model import RidgeClassifier
from tabulate import tabulate

from configs import t2i_demo
from data_pipelines.demos.digits import FACTS, ColoredDigits
from data_pipelines.demos.words import UNSAID
from ptdit_jax.experiment import live_text

FITTED, READ = 1000, 500  # captions


def main() -> None:
    """Prints the share of facts read right, by what of the states is read."""
    config = t2i_demo.get_config()
    source = ColoredDigits(config.data.height, config.data.width)
    records = range(FITTED + READ)
    facts = np.array([source.facts(record) for record in records])  # (K, k)
    states = live_text.unpadded(config, [source.caption(record) for record in records])
    rows = []
    for name, features in (
        ("mean of all states", np.stack([part.mean(0) for part in states])),
        ("state of the end", np.stack([part[-1] for part in states])),
    ):
        features = (features - features.mean(0)) / features.std(0)
        rows.append([name, *(_share(features, facts[:, turn]) for turn in range(len(FACTS)))])
    print(tabulate(rows, headers=("read from", *FACTS), floatfmt=".3f"))


def _share(features: np.ndarray, fact: np.ndarray) -> float:
    said = fact != UNSAID
    fit, read = said & (np.arange(len(fact)) < FITTED), said & (np.arange(len(fact)) >= FITTED)
    return RidgeClassifier().fit(features[fit], fact[fit]).score(features[read], fact[read])


if __name__ == "__main__":
    main()
