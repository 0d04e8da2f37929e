"""Datasets of TensorFlow Datasets in ArrayRecord files, such as imagenet2012, their pictures as they are stored."""

from pathlib import Path
from typing import Any

from data_pipelines.arrays import named
from data_pipelines.raw import captions as texts
from data_pipelines.raw.captions import Labels
from data_pipelines.raw.media import Held
from data_pipelines.raw.problems import Unusable
from data_pipelines.raw.records import RawRecord
from data_pipelines.records import ArrayRecords

NAMES = ("file_name", "image/filename", "id")  # features that name a record


class TfdsSource:
    """A split of a prepared dataset with a feature `image`, read at random and without TensorFlow."""

    kind = "image"

    def __init__(
        self,
        path: str,
        *,
        dataset: str = "",
        split: str = "train",
        image: str = "image",
        captions: str = "auto",
        caption: str = "",
        label: str = "",
        max_caption: int = texts.LONGEST,
    ) -> None:
        """Opens a dataset.

        Args:
            path: the folder of one prepared version, which holds `dataset_info.json`; with `dataset` the data folder
                that it was prepared in, "" for `~/tensorflow_datasets`.
            dataset: its name, such as "imagenet2012" or "imagenet2012:5.1.0".
            split: "train", "validation", and what else the dataset has, such as "train[:10%]".
            image: the feature of the pictures.
            captions: "required"; "optional"; "none"; "auto" is required where there is a feature of them.
            caption: the feature of captions; "" is the first of "caption", "text", "prompt".
            label: the feature of class labels; "" is "label" where there is one.
            max_caption: characters of a caption.

        Raises:
            ValueError: tensorflow-datasets is not installed, or there is no such dataset, split or feature.
        """
        texts.check_option(captions)
        try:
            import tensorflow_datasets as tfds  # pyright: ignore[reportMissingImports]  # optional
        except ImportError as error:
            raise ValueError(
                "tfds: needs tensorflow-datasets: pip install -r requirements-tfds.txt"
            ) from error
        name = f"tfds: {dataset or path}"
        folder = Path(path).expanduser()
        if not dataset and not (path and (folder / "dataset_info.json").is_file()):
            raise ValueError(
                f"{name}: must be a prepared version's folder (with dataset_info.json), or name a dataset=NAME"
            )
        with named(name):
            if dataset:
                builder = _by_name(tfds, dataset, str(folder) if path else None)
            else:
                builder = tfds.builder_from_directory(str(folder))
            features = builder.info.features
            if image not in features or not isinstance(features[image], tfds.features.Image):
                raise ValueError(f"image={image!r} must be a feature Image; it has {', '.join(features)}")
            builder.as_data_source(split=split)  # says what cannot be read so; would keep every file open
            self._records = ArrayRecords(builder.info.splits[split].file_instructions)
            self._caption = texts.column(caption, "caption", list(features))
            self._label = texts.column(label, "label", list(features), ("label",))
        self._captions = captions if captions != "auto" else "required" if self._caption else "none"
        self._max_caption, self._image, self._features = max_caption, image, features
        self._skip = {image: tfds.decode.SkipDecoding()}
        self._split = split.partition("[")[0]
        self.notes: tuple[str, ...] = ()
        self.classes: int | None = None
        self.class_names: tuple[str, ...] = ()
        if self._label:
            if not isinstance(features[self._label], tfds.features.ClassLabel):
                raise ValueError(f"{name}: label={self._label!r} must be a feature ClassLabel")
            self.classes = features[self._label].num_classes
            self.class_names = tuple(features[self._label].names or ())
        self._labels = Labels([], self.classes or 0) if self._label else None

    def __len__(self) -> int:
        """Returns the number of records of the split."""
        return len(self._records)

    def __getitem__(self, record: int) -> RawRecord:
        """Reads record number `record`; its picture is not decoded."""
        key = f"{self._split}/{record:09d}"
        try:
            try:
                content = self._records[record]
                with named(f"record {record}"):
                    sample = self._features.deserialize_example_np(content, decoders=self._skip)
            except ValueError as error:
                raise Unusable("damaged", str(error)) from error
            caption = None
            if self._captions != "none":
                value = sample.get(self._caption)
                if value is not None:
                    text = texts.text_of(value) if isinstance(value, bytes) else value
                    caption = texts.checked(text, self._max_caption)
                elif self._captions == "required":
                    raise Unusable("no_caption", texts.MISSING)
            # -1 is the label of a test split, of which nobody is told the classes
            label = None if self._labels is None else self._labels.number(int(sample[self._label]))
            facts = {name: _plain(sample[name]) for name in NAMES if name in sample}
            return RawRecord(key, self.kind, (Held(bytes(sample[self._image])),), caption, label, facts)
        except Unusable as problem:
            return RawRecord(key, self.kind, problem=problem)


def _by_name(tfds: Any, dataset: str, data_dir: str | None) -> Any:
    """The builder of a dataset that was prepared before; nothing is downloaded."""
    name, _, version = dataset.partition(":")
    builder = tfds.builder(dataset, data_dir=data_dir, try_gcs=False)
    if not builder.data_path.exists():
        raise ValueError(
            f"is not prepared in {builder.data_path.parent.parent}: run tfds build {name} --file_format=array_record"
            f"{f' (version {version})' if version else ''}"
        )
    return builder


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
