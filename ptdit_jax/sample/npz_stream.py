"""ADM's .npz of samples, written sample by sample: 50,000 pictures of 256x256 are 9.8 GB, which nobody must hold.

The file is what `numpy.savez` writes: a zip without compression whose members are .npy files, their headers first.

Shapes: N samples, F frames, H rows, W columns, C channels.
"""

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

SAMPLES, LABELS = "arr_0", "arr_1"


def write(
    path: Path, samples: Iterable[np.ndarray], shape: Sequence[int], labels: np.ndarray | None = None
) -> None:
    """Write samples as the evaluator of ADM (arXiv 2105.05233) and its successors read them.

    Args:
      path: the file.
      samples: N arrays of uint8, one held at a time.
      shape: (N, H, W, C) of all, of videos (N, F, H, W, C).
      labels: (N,), arr_1; None leaves it out.

    Raises:
      ValueError: a sample has another shape or dtype, or there are not N.
    """
    count, *one = shape
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with archive.open(f"{SAMPLES}.npy", "w", force_zip64=True) as file:
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False}
            np.lib.format.write_array_header_1_0(file, header | {"shape": tuple(map(int, shape))})
            written = 0
            for sample in samples:
                if sample.dtype != np.uint8 or list(sample.shape) != list(one):
                    raise ValueError(
                        f"{path}: sample {written} is {sample.dtype} of shape {sample.shape}, the others are uint8 of "
                        f"{tuple(one)}"
                    )
                file.write(np.ascontiguousarray(sample).data)
                written += 1
        if written != count:
            raise ValueError(f"{path}: {written} samples, not {count}")
        if labels is not None:
            with archive.open(f"{LABELS}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(labels))
