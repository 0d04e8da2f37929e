"""Text states: stored ones are read exactly, padded once, and refused by name; captions of digits encode exactly."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines import captions, text


def states(count, dim=6, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def test_stored_states_are_read_exactly():
    values = states(5) * np.float32(1e30)
    np.testing.assert_array_equal(text.decode(values), values)
    half = states(5).astype(np.float16)
    np.testing.assert_array_equal(text.decode(half), half.astype(np.float32))
    brain = values.astype(ml_dtypes.bfloat16)
    assert text.decode(brain.view(np.uint16)).dtype == np.float32
    np.testing.assert_array_equal(text.decode(brain.view(np.uint16)), brain.astype(np.float32))
    swapped = brain.view(np.uint16).astype(">u2")  # the other byte order
    np.testing.assert_array_equal(text.decode(text.check_states(swapped)), brain.astype(np.float32))


@given(st.integers(1, 7))
def test_padding_adds_only_what_the_mask_hides(count):
    padded, mask = text.pad(states(count), 7)
    assert (padded.shape, padded.dtype, mask.shape, mask.dtype) == ((7, 6), np.float32, (7,), bool)
    np.testing.assert_array_equal(padded[mask], states(count))
    assert not padded[~mask].any()
    assert mask.sum() == count


def test_texts_that_do_not_fit():
    with pytest.raises(ValueError, match=r"record 3 has 5 text states; model\.text_length = 4 takes 1 to 4"):
        text.pad(states(5), 4, name="record 3")
    with pytest.raises(ValueError, match="a caption has 0 text states"):
        text.pad(states(0), 4, truncate=True)
    cut, mask = text.pad(states(5), 4, truncate=True)
    np.testing.assert_array_equal(cut, states(5)[:4])
    assert mask.all()
    bad = states(3)
    bad[1, 2:4] = np.nan, np.inf
    with pytest.raises(ValueError, match="caption 1 has text states with 2 values that are not finite"):
        text.pad_all([states(3), bad], 4)


def test_a_mask_of_zeros_is_refused_by_the_number_of_its_caption(tmp_path):
    path = tmp_path / "states.npz"
    stored, mask = np.stack([states(5)] * 3), np.ones((3, 5))
    mask[1] = 0
    np.savez(path, text=stored, mask=mask)
    with pytest.raises(
        ValueError, match=r"states\.npz: caption 1 has a mask that is all zero; 1 is for states"
    ):
        text.read_captions(path, 6)
    np.savez(path, text=stored, mask=np.ones((3, 5)), null_text=stored[0], null_mask=mask[1])
    with pytest.raises(ValueError, match=r"states\.npz: the empty caption has a mask that is all zero"):
        text.read_captions(path, 6)
    text.write_null(tmp_path / text.NULL_FILE, stored[0], mask[1])
    with pytest.raises(ValueError, match=r"null_text\.npz: the empty caption has a mask that is all zero"):
        text.read_null(tmp_path, 6)


def test_files_of_captions(tmp_path):
    path = tmp_path / "states.npz"
    stored = np.stack([states(5, seed=1), states(5, seed=2)])
    mask = np.array([[1, 1, 0, 0, 0], [1, 0, 1, 1, 1]], np.float32)  # what is kept moves together
    np.savez(path, text=stored, mask=mask, null_text=stored[0], null_mask=mask[0])
    found, null = text.read_captions(path, 6)
    np.testing.assert_array_equal(found[0], stored[0, :2])
    np.testing.assert_array_equal(found[1], stored[1][[0, 2, 3, 4]])
    np.testing.assert_array_equal(null, stored[0, :2])
    np.savez(path, text=stored, mask=mask)
    assert text.read_captions(path, 6)[1] is None
    text.write_null(tmp_path / text.NULL_FILE, stored[1], mask[1])
    np.testing.assert_array_equal(text.read_null(tmp_path, 6), found[1])
    assert text.read_null(tmp_path / "nowhere", 6) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": None}, "lacks mask; it has text"),
        ({"null_text": np.zeros((5, 6), np.float32)}, "lacks null_mask"),
        ({"text": np.zeros((5, 6), np.float32)}, r"'text' has shape \(5, 6\)"),
        ({"text": np.zeros((2, 5, 7), np.float32)}, r"'text' has shape \(5, 7\), its last axis must be 6"),
        ({"text": np.zeros((2, 5, 6))}, r"states\.npz: 'text' has dtype float64"),
        ({"mask": np.ones((2, 4))}, r"'mask' \(2, 4\)"),
        ({"mask": np.full((2, 5), "yes")}, "caption 0 has a mask of dtype <U3, must be bool or numbers"),
        ({"mask": np.zeros((2, 5), [("a", "f4")])}, r"states\.npz: caption 0 has a mask of dtype \[\('a'"),
        ({"text": np.zeros((2, 5, 6), [("a", "f4")])}, r"states\.npz: 'text' has dtype \[\('a'"),
    ],
)
def test_wrong_files_are_named(tmp_path, changes, message):
    arrays = {"text": np.zeros((2, 5, 6), np.float32), "mask": np.ones((2, 5))} | changes
    np.savez(tmp_path / "states.npz", **{name: a for name, a in arrays.items() if a is not None})
    with pytest.raises(ValueError, match=message):
        text.read_captions(tmp_path / "states.npz", 6)


def test_what_is_no_file(tmp_path):
    (tmp_path / "states.npz").write_text("no array")
    with pytest.raises(ValueError, match=r"states\.npz: cannot be read as \.npz"):
        text.read_captions(tmp_path / "states.npz", 6)
    with pytest.raises(ValueError, match=r"absent\.npz: No such file or directory"):
        text.read_captions(tmp_path / "absent.npz", 6)


@given(st.text(st.characters(min_codepoint=1, max_codepoint=0x2FF), max_size=15))
def test_a_caption_is_its_bytes_in_their_places(caption):
    encoded = captions.encode(caption)
    assert encoded.shape == (len(caption.encode()) + 1, captions.DIM)
    codes, places = encoded[:, :256].argmax(1), encoded[:, 256:].argmax(1)
    assert bytes(codes.tolist()).decode() == caption + "\0"
    np.testing.assert_array_equal(places, np.arange(len(encoded)))
    np.testing.assert_array_equal(encoded.sum(1), 2)


def test_every_phrasing_of_every_digit_is_another_caption_and_fits():
    found = {captions.digit_caption(d, p) for d in range(10) for p in range(len(captions.PHRASES))}
    assert len(found) == 10 * len(captions.PHRASES)
    assert "a handwritten three" in found
    assert all(len(captions.encode(caption)) <= captions.PLACES for caption in found)
    for caption in ("x" * captions.PLACES, "a\0b"):
        with pytest.raises(ValueError, match="must have at most 31 bytes"):
            captions.encode(caption)


def test_every_bfloat16_that_is_not_finite_is_found_among_others():
    padded = np.empty((2, 256), np.float32)
    for start in range(0, 2**16, 256):
        bits = np.zeros((2, 256), np.uint16)
        bits[1] = np.arange(start, start + 256)
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(bits.astype(np.uint16).view(ml_dtypes.bfloat16).astype(np.float32))
            if finite.all():
                assert text.fill(padded, bits, name="a caption") == 2
                continue
            with pytest.raises(ValueError, match=rf"{np.sum(~finite)} values that are not finite"):
                text.fill(padded, bits, name="a caption")
