"""The embedded solids: turntables that turn, captions that are so, pairs that training does not see."""

import numpy as np
import pytest

from configs import common
from data_pipelines import open_source
from data_pipelines.demos import solids, words
from data_pipelines.demos.solids import HELD_OUT, NAMES, TEMPLATES, Solids
from data_pipelines.raw.multiview import MultiviewSource
from data_pipelines.text import caption_of


def test_they_are_a_source_by_name():
    config = common.get_config()
    config.data.update({"name": "solids", "height": 24, "width": 24, "frames": 24})
    source = open_source(config.data)
    record = source[len(source) - 1]
    assert record["x"].shape == source.shape == (3, 24, 24, 24)
    assert record["x"].dtype == np.float32
    assert record["label"] in range(source.classes)
    assert solids.FILE.stat().st_size < 3e6


@pytest.mark.parametrize("size", [(12, 24, 24), (24, 32, 32), (1, 24, 16)])
def test_other_sizes_are_refused(size):
    with pytest.raises(
        ValueError, match=rf"data\.width = \({size[0]}, .*has \(24, 24, 24\), or \(1, 24, 24\)"
    ):
        Solids(*size)


@pytest.mark.parametrize("frames", [1, 24])
def test_each_solid_and_view_is_in_one_record_of_every_phrasing(frames):
    found = []
    for held_out in (False, True):
        source = Solids(frames, 24, 24, held_out=held_out)
        for record in range(len(source)):
            shape, color, pattern = source.facts(record)
            assert ((shape, color) in HELD_OUT) == held_out
            caption = caption_of(source[record]) if frames == 24 else source.caption(record)
            assert caption == source.caption(record)
            assert len(caption) <= words.LONGEST
            name = (solids.SHAPES[shape], words.COLORS[color], solids.PATTERNS[pattern])
            assert all(word in caption for word in name)
            found.append(caption)
    assert len(found) == len(NAMES) * len(TEMPLATES) * (24 // frames)
    assert len(set(found)) == len(NAMES) * len(TEMPLATES)


def test_every_shape_and_colour_is_in_training_and_every_shape_is_held_out():
    assert {shape for shape, _ in HELD_OUT} == set(range(6))
    facts = np.array([Solids(24, 24, 24).facts(record) for record in range(120)])
    for column, number in zip(facts.T, solids.SIZES, strict=True):
        assert set(column.tolist()) == set(range(number))
    assert len({tuple(row) for row in facts.tolist()}) == 120  # neighbours are different solids


def test_single_views_are_those_of_the_turntable():
    one, all_ = Solids(1, 24, 24), Solids(24, 24, 24)
    for record in (0, 7, 500, len(one) - 1):
        view = record // (len(one.solids) * len(TEMPLATES))
        turntable = all_[record % len(all_)]
        np.testing.assert_array_equal(one[record]["x"][:, 0], turntable["x"][:, view])
        assert caption_of(one[record]) == caption_of(turntable)


def test_views_turn_in_equal_steps():
    views = solids.rendered().astype(np.float32)
    change = {}
    for name, film in zip(NAMES, views, strict=True):
        steps = np.sqrt(((np.roll(film, -1, 0) - film) ** 2).mean((1, 2, 3)))
        if name[1] == "red":
            change[name] = steps
        if name[2] == "two-sided":  # a half turn shows the other side
            assert np.sqrt(((film[0] - film[12]) ** 2).mean()) > 30
    assert change["ball", "red", "plain"].max() < 3  # grey levels: the same from all sides
    assert change["cube", "red", "plain"].min() > 3
    cube = views[NAMES.index(("cube", "red", "plain"))]
    assert abs(cube[0] - cube[6]).max() < 16  # a quarter turn; light comes from the camera
    between = solids.rendered("between")
    assert between.shape == (6, 24, 24, 24, 3)
    assert (between[0] != cube).any()


def test_the_folder_that_the_script_writes_is_read_as_views(tmp_path):
    from benchmarks import make_solids

    make_solids.write_folder(tmp_path, solids.rendered())
    source = MultiviewSource(str(tmp_path))
    assert len(source) == 144
    record = source[0]
    assert record.problem is None
    assert len(record.media) == 24
    assert record.caption in {solids.caption(n, 0) for n in range(144)}
