"""Similarities to captions equal torchmetrics' and brute force."""

import types

import numpy as np
import pytest
import torch

from ptdit_jax.metrics import similarity
from tests.features import published


def vectors(*shape, seed=0, shift=0.0):
    """Vectors of any length, float32."""
    return (np.random.default_rng(seed).normal(size=shape) + shift).astype(np.float32)


def cosine(one, other):
    """Of two vectors."""
    dots = sum(float(a) * float(b) for a, b in zip(one, other))
    return dots / (sum(float(a) ** 2 for a in one) * sum(float(b) ** 2 for b in other)) ** 0.5


def torchmetrics(captions, images):
    """Its score of a network that gives these vectors."""
    module = published.torchmetrics("functional.multimodal.clip_score")
    model = types.SimpleNamespace(
        config=None,
        to=lambda device: model,
        get_image_features=lambda pixels: pixels[:, 0, 0],
        get_text_features=lambda ids, mask: torch.from_numpy(captions)[ids],
    )

    def process(images=None, text=None, **options):
        if images is not None:
            return {"pixel_values": torch.stack(images)}
        ids = torch.tensor([int(words) for words in text])
        return {"input_ids": ids, "attention_mask": ids}

    texts = [str(number) for number in range(len(captions))]
    pixels = torch.from_numpy(images)[:, None, None]
    return module.clip_score(pixels, texts, lambda: (model, process)).item()


# --- CLIPSIM


def test_clipsim_is_the_mean_over_frames_then_over_films():
    captions = vectors(3, 5)
    films = [vectors(frames, 5, seed=frames) for frames in (1, 4, 2)]
    each = [sum(cosine(text, frame) for frame in film) / len(film) for text, film in zip(captions, films)]
    found = similarity.clipsim(captions, films)
    assert found == pytest.approx(sum(each) / 3, abs=1e-12)
    flat = np.mean([cosine(text, frame) for text, film in zip(captions, films) for frame in film])
    assert abs(found - flat) > 0.01  # a film counts once


def test_clipsim_takes_films_of_one_length_and_is_not_scaled():
    captions, films = vectors(2, 5), vectors(2, 3, 5, seed=1)
    assert similarity.clipsim(captions, films) == similarity.clipsim(captions, list(films))
    same = np.repeat(captions[:, None] * 3, 2, axis=1)
    assert similarity.clipsim(captions, same) == pytest.approx(1)
    assert similarity.clipsim(captions, -same) == pytest.approx(-1)


# --- CLIP score


def test_clip_score_is_torchmetrics_where_no_cosine_is_negative():
    captions, images = vectors(7, 5, shift=3), vectors(7, 5, seed=1, shift=3)
    assert similarity.clip_score(captions, images) == pytest.approx(torchmetrics(captions, images), rel=1e-6)


def test_each_negative_pair_counts_as_nothing():
    """As in the paper; torchmetrics cuts their mean alone."""
    captions, images = vectors(7, 5), vectors(7, 5, seed=1)
    cosines = [cosine(text, image) for text, image in zip(captions, images)]
    assert min(cosines) < 0 < max(cosines)
    found = similarity.clip_score(captions, images)
    assert found == pytest.approx(sum(max(100 * value, 0) for value in cosines) / 7, abs=1e-10)
    assert torchmetrics(captions, images) == pytest.approx(max(100 * np.mean(cosines), 0), abs=1e-4)
    assert abs(found - torchmetrics(captions, images)) > 1
    assert similarity.clip_score(captions, -captions) == 0


@pytest.mark.parametrize("function", [similarity.clipsim, similarity.clip_score])
def test_half_precision_is_computed_in_double(function):
    captions, images = (vectors(6, 4, seed=seed).astype(np.float16) for seed in (0, 1))
    shape = (6, 1, 4) if function is similarity.clipsim else (6, 4)
    wanted = function(captions.astype(np.float64), images.astype(np.float64).reshape(shape))
    assert function(captions, images.reshape(shape)) == wanted


@pytest.mark.parametrize(
    ("captions", "images", "line"),
    [
        ((3, 5), (2, 5), "2 images and 3 captions: must be as many"),
        ((3, 5), (3, 4), "images have 4 features, captions 5: must be as many"),
        ((3,), (3, 4), r"captions are \(3,\): must be \(vectors, features\), at least one of each"),
        ((0, 5), (0, 5), r"captions are \(0, 5\): must be"),
    ],
)
def test_shapes_that_do_not_fit_are_a_line(captions, images, line):
    with pytest.raises(ValueError, match=line):
        similarity.clip_score(vectors(*captions), vectors(*images))


def test_films_that_do_not_fit_are_a_line():
    captions, films = vectors(2, 5), list(vectors(2, 3, 5, seed=1))
    with pytest.raises(ValueError, match="3 films and 2 captions: must be as many"):
        similarity.clipsim(captions, [*films, films[0]])
    with pytest.raises(ValueError, match=r"frames of film 1 are \(0, 5\): must be"):
        similarity.clipsim(captions, [films[0], films[1][:0]])
    with pytest.raises(ValueError, match="frames of film 1 have 4 features, captions 5"):
        similarity.clipsim(captions, [films[0], films[1][:, :4]])


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_vector_without_direction_is_a_line(value):
    images = vectors(3, 5)
    images[1] = value
    with pytest.raises(ValueError, match=r"images: vector 1 has length .*: must be finite and not 0"):
        similarity.clip_score(vectors(3, 5), images)
