"""What the judges of the demonstrations say of real records, and of the same records with each other's captions.

    python -m benchmarks.demo_judges

Half a minute on one core.
"""

import numpy as np

from configs import t2i_demo, t2mv_demo, t2v_demo
from ptdit_jax import evaluation

COUNTS = {t2i_demo: 600, t2v_demo: 150, t2mv_demo: 90}
"""Records judged; they are none that the judge of digits was fitted on, as to their paint and place."""
FIRST = 30_000


def main() -> None:
    """Prints two paragraphs for each judge."""
    for module, count in COUNTS.items():
        config = module.get_config()
        judged = evaluation.find(config.evaluation)
        assert judged is not None and judged.source is not None  # noqa: PT018
        source = judged.source(config.data)
        records = [(FIRST + turn) % len(source) for turn in range(count)]
        samples = np.stack([source[record]["x"] for record in records])
        facts = np.stack([source.facts(record) for record in records])
        order = np.random.default_rng(0).permutation(count)
        print(f"{config.evaluation.name}, real: {judged.judge(samples, facts)}")
        print(f"{config.evaluation.name}, other captions: {judged.judge(samples, facts[order])}\n")


if __name__ == "__main__":
    main()
