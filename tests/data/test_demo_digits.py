"""The embedded pictures and films of coloured digits: what they show is what their captions say."""

import numpy as np
import pytest

from configs import common
from data_pipelines import open_source
from data_pipelines.captions import NUMERALS
from data_pipelines.demos import words
from data_pipelines.demos.asked import WithHeldOut
from data_pipelines.demos.digits import FACTS, HELD_OUT, MOVING_FACTS, ColoredDigits, DirectedDigits
from data_pipelines.scans import digit_scans
from data_pipelines.text import caption_of

MANY = range(0, 57_504, 29)
TABLES = {
    "color": words.PALETTE,
    "place": words.PLACES,
    "weight": words.WEIGHTS,
    "background": words.BACKGROUNDS,
    "direction": words.DIRECTIONS,
}


def sources(**fields):
    return ColoredDigits(24, 24, **fields), DirectedDigits(16, 24, 24, **fields)


@pytest.mark.parametrize("name", ["colored_digits", "directed_digits"])
def test_they_are_sources_by_name(name):
    config = common.get_config()
    config.data.update(dict(name=name, height=24, width=24, frames=1 if name == "colored_digits" else 16))
    source = open_source(config.data)
    record = source[57_503]
    assert record["x"].shape == source.shape == (3, config.data.frames, 24, 24)
    assert record["x"].dtype == np.float32
    assert abs(record["x"]).max() <= 1
    assert record["label"] == digit_scans()[1][57_503 % 1797]
    assert caption_of(record) == source.caption(57_503)
    assert len(source) == 32 * 1797


@pytest.mark.parametrize("size", [(24, 16), (12, 12), (18, 18)])
def test_a_canvas_that_is_too_small_or_not_square_is_refused(size):
    with pytest.raises(ValueError, match=rf"data\.height, data\.width = \(1, {size[0]}, .* 16, 20, 24"):
        ColoredDigits(*size)


def test_no_record_of_training_has_a_pair_that_is_held_out_and_each_word_is_there():
    for source in sources():
        drawn = np.array([source.drawn(record) for record in MANY])
        pairs = set(zip(drawn[:, 1].tolist(), drawn[:, 0].tolist(), strict=True))
        assert pairs == {(c, d) for c in range(6) for d in range(10)} - HELD_OUT
        said = np.array([source.facts(record) for record in MANY])
        for name, column, shown in zip(source.FACTS[1:], said.T[1:], drawn.T[1:], strict=True):
            there = column[column != words.UNSAID]
            assert np.bincount(there).min() > len(there) / len(TABLES[name]) / 2
            if name in words.USUAL:
                assert {list(TABLES[name])[v] for v in shown[column == words.UNSAID]} == {words.USUAL[name]}
    for source in sources(held_out=True):
        facts = np.array([source.facts(record) for record in MANY])
        assert set(zip(facts[:, 1].tolist(), facts[:, 0].tolist(), strict=True)) == HELD_OUT


def test_captions_say_the_facts_and_nothing_that_is_not_so():
    for source in (*sources(), *sources(held_out=True)):
        for record in MANY[:400]:
            caption, drawn, facts = source.caption(record), source.drawn(record), source.facts(record)
            assert len(caption.encode()) <= words.LONGEST
            assert facts[0] == drawn[0]
            digit = NUMERALS[drawn[0]]
            found = caption.replace(",", " ").replace(":", " ").split()
            assert digit in found or str(drawn[0]) in found
            for name, fact, true in zip(source.FACTS[1:], facts[1:], drawn[1:], strict=True):
                word = list(TABLES[name])[true]
                assert fact in (true, words.UNSAID)
                ends = caption.endswith(f"{'moving' if 'moving' in caption else 'moves'} {word}")
                assert (ends if name == "direction" else word in caption) == (fact == true)
    assert words.fill("a {x} one, a {y}", x="bold", y="orange") == "a bold one, an orange"
    assert words.fill("a {x}", x="one") == "a one"


def test_pictures_are_scans_in_two_colours_at_their_place():
    source = ColoredDigits(16, 16)  # digits of 8x8: the scans as they are
    scans, _ = digit_scans()
    for record in MANY[:60]:
        _, color, place, weight, background = source.drawn(record)
        ground, paint = (
            words.rgb(t)[n] for t, n in ((words.BACKGROUNDS, background), (words.PALETTE, color))
        )
        gain, shift = list(words.WEIGHTS.values())[weight]
        ink = np.clip(gain * (scans[record % 1797] + 1) / 2 + shift, 0, 1)
        crop = ground[:, None, None] + ink * (paint - ground)[:, None, None]
        x = source[record]["x"][:, 0]
        found = [
            (row, column)
            for row in range(9)
            for column in range(9)
            if np.allclose(x[:, row : row + 8, column : column + 8], crop, atol=1e-6)
        ]
        wanted = np.array(list(words.PLACES.values())[place]) * 4
        assert any(abs(np.array(corner) - wanted).max() <= 1 for corner in found)
        rest = np.ones((16, 16), bool)
        row, column = min(found, key=lambda corner: abs(np.array(corner) - wanted).max())
        rest[row : row + 8, column : column + 8] = False
        np.testing.assert_allclose(x[:, rest], np.broadcast_to(ground[:, None], x[:, rest].shape), atol=1e-6)


def test_films_go_straight_and_lose_no_ink():
    source = DirectedDigits(16, 24, 24)
    for record in MANY[:40]:
        _, color, direction, background = source.drawn(record)
        ground, paint = (
            words.rgb(t)[n] for t, n in ((words.BACKGROUNDS, background), (words.PALETTE, color))
        )
        channel = int(abs(paint - ground).argmax())
        ink = (source[record]["x"][channel] - ground[channel]) / (paint - ground)[channel]  # (F, H, W)
        mass = ink.sum((1, 2))
        np.testing.assert_allclose(mass, mass[0], rtol=1e-3)
        middle = np.stack([(ink * axis).sum((1, 2)) / mass for axis in np.mgrid[:24, :24]], 1)
        steps = np.diff(middle, axis=0)
        np.testing.assert_allclose(steps, np.broadcast_to(steps[0], steps.shape), atol=2e-2)
        assert (np.sign(steps[0].round(2)) == list(words.DIRECTIONS.values())[direction]).all()
        assert 0.4 * 12 - 0.1 <= abs(middle[-1] - middle[0]).max() <= 0.6 * 12 + 0.1


def test_a_record_is_a_function_of_its_number():
    for one, two in zip(sources(), sources(), strict=True):
        two[7]
        for record in (57_503, 11):
            assert (one[record]["x"] == two[record]["x"]).all()
        assert (one[11]["x"] != one[11 + 1797]["x"]).any()  # the same scan, drawn anew


def test_every_third_record_that_is_asked_for_is_held_out():
    seen, unseen = ColoredDigits(24, 24), ColoredDigits(24, 24, held_out=True)
    both = WithHeldOut(seen, unseen)
    facts = np.array([both.facts(record) for record in range(300)])
    assert facts.shape == (300, 1 + len(FACTS))
    assert facts[:, 0].tolist() == [0, 0, 1] * 100
    for record in range(300):
        given = (seen, seen, unseen)[record % 3]
        assert (facts[record, 1:] == given.facts(record)).all()
        assert caption_of(both[record]) == given.caption(record)
    assert set(facts[facts[:, 0] == 1, 1]) == set(range(10))
    assert len(MOVING_FACTS) == 4
