"""Datasets prepared by TensorFlow Datasets, read at random from ArrayRecord files and without TensorFlow.

Shapes: N records, C channels, F frames, H rows, W columns, l text states of a record, E features of a state.
"""

from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.arrays import named
from data_pipelines.records import ArrayRecords
from data_pipelines.text import TextInfo, check_states, read_null
from data_pipelines.values import as_x, check_x_dtype

KEYS = ("x", "image", "video")


class PreparedDataset:
    """The `train` split of a prepared dataset: latents `x` or pixels `image` or `video`, perhaps `label`, `text`.

    `x` is a tensor (C, F, H, W) or (C, H, W), of floats, taken as they are, or of uint8; `image` (H, W, C) and
    `video` (F, H, W, C) are uint8. uint8 is mapped from 0..255 to [-1, 1]. `label` is a `ClassLabel`. `text` is a
    tensor (None, E) of a caption's states, as many as each has; dtypes and the file of the empty caption are those of
    `data_pipelines.text`. All other sizes must be fixed by the dataset's features, and the files must be
    ArrayRecord (`builder.download_and_prepare(file_format="array_record")`).
    """

    def __init__(self, path: str) -> None:
        """Opens `path`, the folder of one prepared version (it holds `dataset_info.json`).

        Raises:
            ValueError: tensorflow-datasets is not installed, the folder holds no prepared ArrayRecord
                dataset, or its features are not as described above.
        """
        try:
            import tensorflow_datasets as tfds  # pyright: ignore[reportMissingImports]  # optional
        except ImportError as error:
            raise ValueError(
                "data.name = 'tfds': needs tensorflow-datasets: pip install -r requirements-tfds.txt"
            ) from error
        folder = Path(path).expanduser()
        if not path or not (folder / "dataset_info.json").is_file():
            raise ValueError(
                f"data.path = {path!r}: must be a prepared version's folder (with dataset_info.json)"
            )
        with named(f"data.path = {path!r}"):
            builder = tfds.builder_from_directory(str(folder))
        features = builder.info.features
        self._key = next((key for key in KEYS if key in features), "")
        if not self._key or None in features[self._key].shape:
            raise ValueError(
                f"data.path = {path!r}: needs a feature 'x', 'image' or 'video' of fixed size, has {features}"
            )
        dtype = np.dtype(features[self._key].np_dtype)
        try:
            check_x_dtype(dtype)
        except ValueError as error:
            raise ValueError(f"data.path = {path!r}: feature {features[self._key]}: {error}") from error
        if self._key != "x" and dtype != np.uint8:
            raise ValueError(
                f"data.path = {path!r}: feature {self._key!r} has dtype {dtype}, must be uint8 (pixels 0..255); floats "
                "are taken as they are as feature 'x' (C, H, W)"
            )
        self._labelled = "label" in features
        if self._labelled and not isinstance(features["label"], tfds.features.ClassLabel):
            raise ValueError(
                f"data.path = {path!r}: feature 'label' must be a ClassLabel, is {features['label']}"
            )
        self.classes = features["label"].num_classes if self._labelled else None
        self.text = None
        if "text" in features:
            self.text = _text_info(path, features["text"])
        try:
            builder.as_data_source(split="train")  # says what cannot be read so; would keep every file open
            self._records = ArrayRecords(builder.info.splits["train"].file_instructions)
        except (NotImplementedError, ValueError) as error:
            raise ValueError(f"data.path = {path!r}: cannot be read at random: {error}") from error
        self._path, self._features = path, features
        if not len(self._records):
            raise ValueError(f"data.path = {path!r}: split 'train' has no records")
        self.shape = self._decode(np.zeros(features[self._key].shape, features[self._key].np_dtype)).shape

    def __len__(self) -> int:
        """Returns N, the records of the split."""
        return len(self._records)

    def __getitem__(self, record: int) -> dict[str, np.ndarray]:
        """Reads record number `record`."""
        content = self._records[record]
        with named(f"data.path = {self._path!r}", f"record {record}"):
            features = self._features.deserialize_example_np(content)
        sample = {"x": self._decode(np.asarray(features[self._key]))}
        if self._labelled:
            sample["label"] = np.asarray(features["label"], np.int32)
        if self.text is not None:
            sample["text"] = np.asarray(features["text"])
        return sample

    def _decode(self, x: np.ndarray) -> np.ndarray:
        """Returns one feature as x (C, F, H, W) float32."""
        x = as_x(x if self._key == "x" else np.moveaxis(x, -1, 0))
        return x[:, None] if x.ndim == 3 else x


def _text_info(path: str, feature: Any) -> TextInfo:
    """Returns what the feature `text` of a dataset holds, or raises."""
    try:
        if len(feature.shape or ()) != 2 or feature.shape[1] is None:
            raise ValueError("must be a Tensor of shape (None, E)")
        dim = check_states(np.empty((0, feature.shape[1]), feature.np_dtype)).shape[1]
    except ValueError as error:
        raise ValueError(f"data.path = {path!r}: feature 'text' is {feature}: {error}") from error
    return TextInfo(dim, feature.shape[0], read_null(Path(path).expanduser(), dim))
