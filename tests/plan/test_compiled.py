"""The reader of compiled programs, on what XLA makes of small ones; their loops have known lengths."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plan.compiled import INNER, OUTER, ROWS, WIDTH

LAYERS = INNER * OUTER


@pytest.fixture(scope="module")
def costs():
    """Eight devices need a process of their own."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.plan.compiled"]
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    result = subprocess.run(command, cwd=root, env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(result.stdout)


def test_products_in_a_scan_count_once_a_layer(costs):
    rows, inputs = ROWS // 2, WIDTH // 4
    assert costs["layers"]["flops"] == LAYERS * 2 * rows * inputs * WIDTH
    assert not costs["layers"]["unknown_loops"]


def test_sums_in_a_scan_count_once_a_layer(costs):
    result = ROWS // 2 * WIDTH * 4
    assert costs["layers"]["collectives"] == [["all-reduce", ["context"], 2 * 3 / 4 * result, LAYERS]]


def test_permutes_in_nested_scans_count_as_often_as_both_run(costs):
    result = ROWS // 2 * WIDTH // 4 * 4
    assert costs["nested"]["collectives"] == [["collective-permute", ["context"], result, OUTER * INNER]]
