r"""Make the file of C3D for the Inception score of films, of the two that TGANv2 publishes.

    python -m ptdit_jax.evaluate.c3d --weights conv3d_deepnetA_ucf.npz --mean mean2.npz --out c3d_ucf101.safetensors

Tensors are renamed and nothing else: `conv1a/W` of Chainer is `conv1a.weight` of PyTorch, and `mean` is (3, 16, 128,
171).  Nothing is downloaded, and nothing in the files is run.

Exit code: 0 done; 1 a file cannot be read or written; 2 the command is wrong.
"""

import argparse
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ptdit_jax import cli, files
from ptdit_jax.features import c3d
from ptdit_jax.weight_files import writer

PARTS = {"weight": "W", "bias": "b"}  # of PyTorch and of Chainer


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.option_parser("ptdit_jax.evaluate.c3d", __doc__ or "")
    add = parser.add_argument
    add("--weights", metavar="FILE", required=True, help="conv3d_deepnetA_ucf.npz")
    add("--mean", metavar="FILE", required=True, help="mean2.npz")
    add("--out", metavar="FILE", required=True, help="a .safetensors")
    add("--debug", action="store_true", help="show where an error comes from")
    args = parser.parse_args(argv)
    files.resolve(args, "weights", "mean", "out")
    return args


def converted(weights: Path, mean: Path) -> dict[str, np.ndarray]:
    """The tensors of `c3d.shapes`, float32.

    Args:
      weights: Chainer's `.npz` of the network; what else it holds is not read.
      mean: the `.npz` of the mean.

    Raises:
      ValueError: a file is no `.npz`, or an array lacks or has another shape; names it.
      OSError: there is no such file.
    """
    with _opened(weights, "--weights") as network, _opened(mean, "--mean") as volume:
        found = {}
        for name, shape in c3d.shapes().items():
            layer, _, part = name.partition(".")
            if name == c3d.MEAN:
                size = int(np.prod(shape))
                array = _array(volume, name, f"--mean={mean}")
                found[name] = array.reshape(shape) if array.size == size else array
                where = f"--mean={mean}: {name}"
            else:
                stored = f"{layer}/{PARTS[part]}"
                found[name] = _array(network, stored, f"--weights={weights}")
                where = f"--weights={weights}: {stored}"
            if found[name].shape != shape:
                raise ValueError(f"{where} is {found[name].shape} and must be {shape}")
    return {name: array.astype(np.float32) for name, array in found.items()}


def _opened(path: Path, flag: str) -> np.lib.npyio.NpzFile:
    if not path.is_file():
        raise FileNotFoundError(f"{flag}={path}: there is no such file")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{flag}={path} is no .npz")
    return np.load(path, allow_pickle=False)


def _array(arrays: Mapping[str, np.ndarray], name: str, where: str) -> np.ndarray:
    if name not in arrays:
        raise ValueError(f"{where} lacks {name}")
    array = arrays[name]
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{where}: {name} is {array.dtype} and must be of floating-point numbers")
    return array


def main(args: argparse.Namespace) -> int:
    """Convert; returns the exit code."""
    files.check_file(args.out, "--out", (".safetensors",))
    tensors = converted(args.weights, args.mean)
    files.write(
        args.out,
        lambda draft: writer.write_safetensors(draft, c3d.shapes(), tensors.items(), dtype="float32"),
    )
    print(f"see {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main(parse(sys.argv[1:]))))
