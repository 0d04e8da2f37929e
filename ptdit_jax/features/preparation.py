"""Pictures as a network of `transformers` was fed with them: resized by Pillow on the host, cropped and normalised.

What a folder's preprocessor_config.json says is what CLIPImageProcessor and BitImageProcessor of `transformers` do on
their Pillow path.  Pillow filters before it makes smaller and rounds to 8 bits after each of its two passes; other
resizes give other numbers.

Shapes: N pictures, H rows, W columns, h and w of what comes out.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ptdit_jax.features.folder import Section
from ptdit_jax.weight_files import json_files

FILE, WHOLE_FILE, PART = "preprocessor_config.json", "processor_config.json", "image_processor"
"""The file, and that of newer versions, which holds the same under a name."""
KINDS = ("CLIPImageProcessor", "BitImageProcessor", "CLIPFeatureExtractor")
VARIANTS = ("", "Fast", "Pil")
"""What the names of kinds may end with; the fields are the same."""
SIDE = 224  # pixels, of resize and crop, where the file says none
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Those of CLIP (arXiv 2103.00020), where the file says none."""


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What happens to a picture, in this order.

    Attributes:
      side: pixels of its shorter side after the resize, or (h, w); None for no resize.
      resample: Pillow's number of the filter, 3 is bicubic.
      crop: (h, w) around the middle, or None.
      scale: what values 0..255 are multiplied with, or None.
      mean: of each channel, subtracted, or None.
      std: of each channel, divided by, or None.
    """

    side: int | tuple[int, int] | None = SIDE
    resample: int = Image.Resampling.BICUBIC.value
    crop: tuple[int, int] | None = (SIDE, SIDE)
    scale: float | None = 1 / 255
    mean: tuple[float, ...] | None = MEAN
    std: tuple[float, ...] | None = STD

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of a picture (H, W) after the resize, before the crop."""
        if not isinstance(self.side, int):
            return self.side or (height, width)
        long = int(self.side * max(height, width) / min(height, width))
        return (long, self.side) if width <= height else (self.side, long)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Pictures (N, H, W, 3) uint8 -> (N, h, w, 3) float32.

        Raises:
          ValueError: they are of another shape or dtype, or smaller than the crop.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or not min(images.shape[1:]):
            raise ValueError(f"images are {images.dtype} {images.shape}; they must be uint8 (N, H, W, 3)")
        size = self.size(*images.shape[1:3])
        if self.side is not None:
            resized = np.empty((len(images), *size, 3), np.uint8)
            for place, image in zip(resized, images):
                place[...] = self._resized(image, size)
            images = resized
        if self.crop:
            if size[0] < self.crop[0] or size[1] < self.crop[1]:
                raise ValueError(
                    f"images of {size[0]}x{size[1]} pixels are smaller than the crop, {self.crop[0]}x{self.crop[1]}"
                )
            top, left = ((have - want) // 2 for have, want in zip(size, self.crop))
            images = images[:, top : top + self.crop[0], left : left + self.crop[1]]
        values = images.astype(np.float32)
        if self.scale is not None:
            values = (images.astype(np.float64) * self.scale).astype(np.float32)
        if self.mean is not None and self.std is not None:
            values = (values - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return values

    def _resized(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        made = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling(self.resample))
        return np.asarray(made)


def read(folder: Path) -> Preparation:
    """The preparation that a folder asks for.

    Raises:
      ValueError: a field is not what is supported.
      OSError: the folder has no such file.
    """
    section = _open(folder)
    kinds = [kind + variant for kind in KINDS for variant in VARIANTS]
    for name in ("image_processor_type", "feature_extractor_type"):
        section.one_of(name, kinds, KINDS[0])
    for name in ("do_pad", "use_square_size"):
        if section.flag(name, False):
            raise section.wrong(name, True, "false")
    normalises = section.flag("do_normalize", True)
    resample = section.whole("resample", Image.Resampling.BICUBIC.value, least=0)
    if resample not in {item.value for item in Image.Resampling}:
        raise section.wrong("resample", resample, "a filter of Pillow, 0 to 5")
    return Preparation(
        _side(section) if section.flag("do_resize", True) else None,
        resample,
        _crop(section) if section.flag("do_center_crop", True) else None,
        section.number("rescale_factor", 1 / 255) if section.flag("do_rescale", True) else None,
        _channels(section, "image_mean", MEAN) if normalises else None,
        _channels(section, "image_std", STD) if normalises else None,
    )


def _open(folder: Path) -> Section:
    file, whole = folder / FILE, folder / WHOLE_FILE
    if file.is_file():
        return Section(json_files.read(file, "preparation of pictures"), str(file))
    if whole.is_file():
        found = Section(json_files.read(whole, "preparation of pictures"), str(whole))
        if found.facts.get(PART) is not None:
            return found.part(PART)
    raise FileNotFoundError(f"{file}: there is no such file, which says how pictures are prepared")


def _pixels(section: Section, name: str) -> dict[str, Any]:
    """A field of sizes, without those that are null; a lone number is the shorter side."""
    value = section.facts.get(name)
    if value is None:
        return {}
    sizes = value if isinstance(value, dict) else {"shortest_edge": value}
    sizes = {key: size for key, size in sizes.items() if size is not None}
    whole = all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes.values())
    if not whole or set(sizes) not in ({"shortest_edge"}, {"height", "width"}):
        raise section.wrong(name, value, "pixels of the shortest_edge, or height and width")
    return sizes


def _side(section: Section) -> int | tuple[int, int]:
    sizes = _pixels(section, "size") or {"shortest_edge": SIDE}
    return sizes["shortest_edge"] if "shortest_edge" in sizes else (sizes["height"], sizes["width"])


def _crop(section: Section) -> tuple[int, int]:
    sizes = _pixels(section, "crop_size") or {"height": SIDE, "width": SIDE}
    if isinstance(section.facts.get("crop_size"), dict) and "shortest_edge" in sizes:
        raise section.wrong("crop_size", section.facts["crop_size"], "height and width")
    lone = sizes.get("shortest_edge", SIDE)
    return sizes.get("height", lone), sizes.get("width", lone)


def _channels(section: Section, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
    value = section.facts.get(name)
    if value is None:
        return default
    right = isinstance(value, list) and len(value) == 3
    if not right or not all(isinstance(each, int | float) and not isinstance(each, bool) for each in value):
        raise section.wrong(name, value, "3 numbers, of red, green and blue")
    if name == "image_std" and not all(each > 0 for each in value):
        raise section.wrong(name, value, "3 numbers above 0")
    return tuple(map(float, value))
