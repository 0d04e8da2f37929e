r"""Choose the captions of FID-30K: one of each of 30,000 pictures of COCO's val2014, by a seed.

    python -m ptdit_jax.evaluate.coco --annotations captions_val2014.json --out coco30k
    launch/evaluate.sh --checkpoint RUN --prompts coco30k/prompts.jsonl --protocol coco_fid30k \
        --reference val2014 --reference-names coco30k/pictures.txt --inception WEIGHTS

COCO publishes the annotations and the pictures; nothing is downloaded here.  DIR gets `prompts.jsonl`, a caption a
line, and `pictures.txt`, the file of each, in the same order.  The sha256 of the latter is printed, and stands in the
results of those who name it: figures of other pictures or captions do not compare.

Exit code: 0 done; 1 a file cannot be read or written; 2 the command is wrong.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ptdit_jax import cli, files

COUNT = 30_000


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.option_parser("ptdit_jax.evaluate.coco", __doc__ or "")
    add = parser.add_argument
    add("--annotations", metavar="FILE", required=True, help="captions_val2014.json")
    add("--out", metavar="DIR", required=True, help="folder of what is chosen")
    add("--count", type=int, default=COUNT, metavar="N", help=f"pictures (default {COUNT:,})")
    add("--seed", type=int, default=0, help="of the choice (default 0)")
    add("--debug", action="store_true", help="show where an error comes from")
    args = parser.parse_args(argv)
    for name, least in (("count", 1), ("seed", 0)):
        if (value := getattr(args, name)) < least:
            parser.error(f"--{name}={value} must be at least {least}")
    files.resolve(args, "annotations", "out")
    return args


def choose(annotations: Any, count: int, seed: int, where: str) -> list[tuple[str, str]]:
    """File and caption of some pictures, in the order of the pictures' numbers.

    Args:
      annotations: COCO's: `images` with `id` and `file_name`, `annotations` with `id`, `image_id` and `caption`.
      count: pictures.
      seed: of which pictures, and of which of the captions of each.
      where: for messages.

    Raises:
      ValueError: there are too few pictures with captions, or the fields are others.
    """
    try:
        names = {int(image["id"]): str(image["file_name"]) for image in annotations["images"]}
        captions: dict[int, list[tuple[int, str]]] = {}
        for each in annotations["annotations"]:
            text = " ".join(str(each["caption"]).split())
            captions.setdefault(int(each["image_id"]), []).append((int(each["id"]), text))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where} is no file of COCO's captions: {type(error).__name__} {error}") from error
    known = sorted(number for number in captions if number in names)
    if count > len(known):
        raise ValueError(f"--count={count:,}: {where} has {len(known):,} pictures with captions")
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(known))[:count])
    found = []
    for place in chosen.tolist():
        of_it = sorted(captions[known[place]])
        found.append((names[known[place]], of_it[int(rng.integers(len(of_it)))][1]))
    return found


def main(args: argparse.Namespace) -> int:
    """Choose and write; returns the exit code."""
    if not args.annotations.is_file():
        raise FileNotFoundError(f"--annotations={args.annotations}: there is no such file")
    try:
        annotations = json.loads(args.annotations.read_text())
    except ValueError as error:
        raise ValueError(f"--annotations={args.annotations} is no JSON: {error}") from error
    found = choose(annotations, args.count, args.seed, f"--annotations={args.annotations}")
    files.make_folder(args.out, "--out")
    lines = [json.dumps({"prompt": caption}, ensure_ascii=False) for _, caption in found]
    prompts, names = args.out / "prompts.jsonl", args.out / "pictures.txt"
    files.write(prompts, lambda draft: draft.write_text("\n".join(lines) + "\n"))
    text = "\n".join(name for name, _ in found) + "\n"
    files.write(names, lambda draft: draft.write_text(text))
    print(f"{len(found):,} captions in {prompts}; pictures in {names}, sha256 {digest(names)}")
    return 0


def digest(path: Path) -> str:
    """sha256 of a list of pictures, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    arguments = parse(sys.argv[1:])
    sys.exit(cli.run(lambda: main(arguments), debug=arguments.debug))
