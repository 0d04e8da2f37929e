"""Damaged inputs: each becomes what its kind says, nothing is printed, and nothing is written."""

import collections
import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.raw import REASONS, Unusable, decode, open_raw
from tests.data.raw import damaged

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

ROOT = Path(__file__).parents[3]
NAMES = ("images", "metadata", "table", "tars", "broken_tars", "parquet", "videos", "objects", "gobjaverse")


def state(folder):
    """Every entry of a folder, with its bytes."""
    found = {}
    for below, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(below, name)
            regular = path.is_file() and not path.is_symlink()
            found[str(path)] = (
                hashlib.sha256(path.read_bytes()).hexdigest() if regular else path.lstat().st_mode
            )
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("damaged")
    datasets = dict(zip(NAMES, damaged.make(root / "in"), strict=True))
    return root, datasets, state(root)


def outcome(source, number, decoding):
    """(key, outcome, caption, first frame) of a record."""
    record = source[number]
    try:
        return record.key, damaged.USED, record.caption, decode(record, **decoding)[0]
    except Unusable as problem:
        return record.key, problem.reason, problem.text, None


@pytest.mark.parametrize("name", NAMES)
def test_each_becomes_what_a_user_wants(made, name):
    _, datasets, _ = made
    dataset = datasets[name]
    source = open_raw(dataset.name, dataset.path, **dataset.options)
    with ThreadPoolExecutor(4) as pool:  # decoding is asked for by many threads
        found = list(pool.map(lambda number: outcome(source, number, dataset.decoding), range(len(source))))
    assert len({key for key, *_ in found}) == len(found)
    assert {key: what for key, what, *_ in found} == {case.key: case.outcome for case in dataset.cases}
    cases = {case.key: case for case in dataset.cases}
    for key, what, caption, frame in found:
        case = cases[key]
        if what != damaged.USED:
            assert caption, key  # what is wrong, in one line
            assert "\n" not in caption, key
            continue
        assert caption == case.caption, key
        assert frame.dtype == np.uint8, key
        if (
            case.pixel is not None
        ):  # of the lower right corner, which a rotation or a half-read picture would change
            np.testing.assert_allclose(frame[-4:, -4:].mean(axis=(0, 1)), case.pixel, atol=14, err_msg=key)


def test_there_are_many_kinds(made):
    _, datasets, _ = made
    kinds = collections.Counter(case.kind for dataset in datasets.values() for case in dataset.cases)
    kinds.pop("plain")
    assert len(kinds) >= 40
    assert kinds.total() >= 200
    met = {case.outcome for dataset in datasets.values() for case in dataset.cases}
    elsewhere = {
        "animated",
        "aspect",  # of encode.max_aspect
        "no_times",
        "slow_video",
        "unreadable",
    }  # by options, permissions, and rare containers
    assert met - {damaged.USED} == set(REASONS) - elsewhere


def test_nothing_is_printed_and_nothing_is_written(made, tmp_path):
    root, datasets, before = made
    script = """
import sys
from data_pipelines.raw import Unusable, decode, open_raw
for name, path, options, decoding in eval(sys.stdin.read()):
    source = open_raw(name, path, **options)
    for number in range(len(source)):
        try:
            decode(source[number], **decoding)
        except Unusable:
            pass
"""
    work = [(d.name, d.path, d.options, d.decoding) for d in datasets.values()]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", script],
        input=repr(work), capture_output=True, text=True, cwd=tmp_path, env=environment, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())
    assert state(root) == before


def test_the_page_counts_them(made):
    _, datasets, _ = made
    kinds = collections.Counter(case.kind for dataset in datasets.values() for case in dataset.cases)
    kinds.pop("plain")
    page = " ".join((ROOT / "docs" / "raw_data.md").read_text().split())
    assert f"makes {kinds.total()} such inputs of {len(kinds)} kinds" in page
