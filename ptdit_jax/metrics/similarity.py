"""How well pictures and films fit their captions, by unit vectors of a network that knows both, as CLIP.

Shapes: N pictures, V films, F frames of one of them, P features.
"""

from collections.abc import Sequence

import numpy as np


def clipsim(captions: np.ndarray, frames: Sequence[np.ndarray]) -> float:
    """CLIPSIM of GODIVA (arXiv 2104.14806): the mean cosine of a film's caption and each of its frames, over films.

    The cosine is not scaled; published numbers with CLIP ViT-B/32 on MSR-VTT are about 0.3.  A film counts once,
    however many frames it has.

    Args:
      captions: (V, P), of any length but 0.
      frames: of each film (F, P), of any length but 0; or one array (V, F, P).

    Returns:
      A number in [-1, 1], computed in float64.

    Raises:
      ValueError: the shapes do not fit, there is no film, or a vector is 0 or not finite.
    """
    texts = _unit(captions, "captions")
    if len(frames) != len(texts):
        raise ValueError(f"{len(frames)} films and {len(texts)} captions: must be as many")
    means = []
    for number, (text, film) in enumerate(zip(texts, frames)):
        pictures = _unit(film, f"frames of film {number}")
        _check_features(texts, pictures, f"frames of film {number}")
        means.append((pictures @ text).mean())
    return float(np.mean(means))


def clip_score(captions: np.ndarray, images: np.ndarray) -> float:
    """CLIP score: the mean over pairs of max(100 cos, 0), a caption and a picture each (arXiv 2104.08718, Sec. 3).

    The paper has 2.5 where others, torchmetrics among them, have 100.  torchmetrics cuts the mean at 0 and not each
    pair; both are the same where no cosine is negative, as those of captions and their pictures are not in practice.

    Args:
      captions: (N, P), of any length but 0.
      images: (N, P), of any length but 0.

    Returns:
      A number in [0, 100], computed in float64.

    Raises:
      ValueError: the shapes do not fit, there is no pair, or a vector is 0 or not finite.
    """
    texts, pictures = _unit(captions, "captions"), _unit(images, "images")
    _check_features(texts, pictures, "images")
    if len(texts) != len(pictures):
        raise ValueError(f"{len(pictures)} images and {len(texts)} captions: must be as many")
    return float(np.maximum(100 * (texts * pictures).sum(axis=1), 0).mean())


def _unit(vectors: np.ndarray, name: str) -> np.ndarray:
    """Vectors (N, P) float64 of length 1."""
    exact = np.asarray(vectors, np.float64)
    if exact.ndim != 2 or not exact.size:
        raise ValueError(f"{name} are {exact.shape}: must be (vectors, features), at least one of each")
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.all()):
        row = int(np.argmin(np.isfinite(lengths) & (lengths > 0)))
        raise ValueError(f"{name}: vector {row} has length {lengths[row, 0]}: must be finite and not 0")
    return exact / lengths


def _check_features(texts: np.ndarray, pictures: np.ndarray, name: str) -> None:
    if texts.shape[1] != pictures.shape[1]:
        raise ValueError(
            f"{name} have {pictures.shape[1]} features, captions {texts.shape[1]}: must be as many"
        )
