"""Captions to states: tokens, cleaning, fingerprints, the empty caption, the encoder of bytes."""

import os
import shutil
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import sentencepiece
import transformers

from configs import common
from ptdit_jax.encoders import text, tokenizer
from tests.encoders import folders

CAPTIONS = ["a handwritten three", "", "The digit 7", "eight " * 20]


def section(path="bytes", **changes):
    found = common.get_config().text_encoder
    found.update({"path": str(path)} | changes)
    return found


@pytest.fixture(scope="module")
def of_bytes():
    return text.open_text_encoder(section(), length=40)


@pytest.fixture(scope="module")
def spiece(tmp_path_factory):
    """A folder of a T5 with a vocabulary of its own."""
    folder = tmp_path_factory.mktemp("spiece")
    words = folder / "words.txt"
    words.write_text("\n".join(CAPTIONS * 20 + [f"number {i} of many words" for i in range(300)]))
    sentencepiece.SentencePieceTrainer.train(
        input=str(words), model_prefix=str(folder / "spiece"), vocab_size=60, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        minloglevel=2,
    )  # fmt: skip
    return folders.write(folder, folders.module("T5 v1.1"), tokenizer=False)


def test_the_tokens_of_bytes_are_those_of_byt5_cut_with_their_end(of_bytes):
    ids, mask = of_bytes.tokens(CAPTIONS)
    assert (ids.shape, ids.dtype, mask.dtype) == ((4, 40), np.int32, bool)
    for row, kept, caption in zip(ids, mask, CAPTIONS, strict=True):
        wanted = [*[byte + 3 for byte in caption.encode()][:39], 1]
        assert row[kept].tolist() == wanted
        assert (row[~kept] == 0).all()


def test_captions_that_have_names_are_not_cut(spiece):
    long = ["eight " * 60]
    for folder, vocabulary in ((None, 384), (spiece, 384)):
        run = tokenizer.Tokenizer(folder, vocabulary)
        whole = [array[:3] for array in run(CAPTIONS, 40)]
        for ours, cut in zip(run(CAPTIONS[:3], 40, names=["a", "b", "c"]), whole, strict=True):
            assert (ours == cut).all()
        tokens = run(long, 500)[1].sum()
        with pytest.raises(
            ValueError, match=rf"record 7 has a caption of {tokens} tokens; .*length = 40 takes 1"
        ):
            run(["short", *long], 40, names=["record 3", "record 7"])


def test_the_tokens_of_a_folder_are_those_of_its_vocabulary(spiece, tmp_path):
    ours = tokenizer.Tokenizer(tokenizer.folder_of(spiece), 384)
    ids, mask = ours(CAPTIONS, 12)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(spiece / "spiece.model"))
    for row, kept, caption in zip(ids, mask, CAPTIONS, strict=True):
        assert row[kept].tolist() == [*pieces.encode(caption)[:11], 1]
    transformers.AutoTokenizer.from_pretrained(str(spiece), local_files_only=True).save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").is_file()
    again, _ = tokenizer.Tokenizer(tmp_path, 384)(CAPTIONS, 12)
    assert (again == ids).all()


def test_a_pipeline_of_diffusers_has_its_tokenizer_beside(spiece, tmp_path):
    shutil.copytree(spiece, tmp_path / "text_encoder")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "text_encoder" / "spiece.model").rename(tmp_path / "tokenizer" / "spiece.model")
    assert text.find(str(tmp_path)).tokenizer == tmp_path / "tokenizer"
    assert text.find(str(tmp_path / "text_encoder")).tokenizer == tmp_path / "tokenizer"
    assert text.fingerprint_of(section(tmp_path)) == text.fingerprint_of(section(spiece))


def test_tokens_that_the_encoder_does_not_know_are_refused(spiece):
    with pytest.raises(ValueError, match=r"gives token \d+; the encoder knows 10"):
        tokenizer.Tokenizer(spiece, 10)(CAPTIONS, 12)


def test_states_are_those_of_transformers_without_padding(tmp_path):
    encoder = folders.module("mT5")
    found = text.open_text_encoder(section(folders.write(tmp_path, encoder), dtype="float32"), length=64)
    assert (found.dim, found.length) == (48, 64)
    ids, mask = found.tokens(CAPTIONS)
    theirs = folders.states(encoder, ids, mask)
    for ours, wanted, kept in zip(found.states(CAPTIONS, dtype=np.float32), theirs, mask, strict=True):
        np.testing.assert_allclose(ours, wanted[kept], atol=1e-4)
    stored = found.states(CAPTIONS)
    assert all(states.dtype == ml_dtypes.bfloat16 for states in stored)
    assert [len(states) for states in stored] == mask.sum(1).tolist()


def test_a_caption_has_the_same_states_whatever_goes_with_it(of_bytes):
    many = of_bytes.states([f"number {i}" * (i % 4 + 1) for i in range(70)] + CAPTIONS, dtype=np.float32)
    alone = of_bytes.states(CAPTIONS, dtype=np.float32)
    for a, b in zip(many[70:], alone, strict=True):
        np.testing.assert_allclose(a, b, atol=0.05)
    assert of_bytes.states([]) == []


def test_the_empty_caption_is_in_float32_whatever_the_dtype(of_bytes, tmp_path):
    encoder = folders.module("T5 v1.1")
    path = folders.write(tmp_path, encoder)
    nulls = [text.open_text_encoder(section(path, dtype=dtype), length=9).null() for dtype in text.DTYPES]
    assert nulls[0].dtype == nulls[1].dtype == np.float32
    assert (nulls[0] == nulls[1]).all()
    wanted = folders.states(encoder, np.array([[1]], np.int32), np.array([[True]]))[0]
    np.testing.assert_allclose(nulls[0], wanted, atol=1e-5)
    exact, rounded = of_bytes.null(), of_bytes.states([""], dtype=np.float32)[0]
    assert 1e-4 < np.abs(exact - rounded).max() < 0.1  # the other way is not so exact


def test_the_fingerprint_is_of_what_decides_states_and_not_of_the_dtype(spiece, tmp_path):
    base = text.open_text_encoder(section(spiece), length=5).fingerprint
    same = {
        "another dtype": section(spiece, dtype="float32"),
        "another file": section(shutil.copytree(spiece, tmp_path / "a")),
    }
    (tmp_path / "a" / "model.safetensors").unlink()
    folders.module("T5 v1.1").save_pretrained(tmp_path / "a", max_shard_size="60KB")
    changed = shutil.copytree(spiece, tmp_path / "b")
    encoder = folders.module("T5 v1.1")
    encoder.shared.weight.data[7, 7] += 1e-6
    encoder.save_pretrained(changed)
    words = shutil.copytree(spiece, tmp_path / "c")
    with (words / "spiece.model").open("ab") as file:
        file.write(b"\0")
    eps = folders.write(tmp_path / "d", folders.module("T5 v1.1", layer_norm_epsilon=1e-5), tokenizer=False)
    shutil.copy(spiece / "spiece.model", eps)
    others = {
        "weights": section(changed),
        "tokenizer": section(words),
        "cleaning": section(spiece, clean="release"),
        "architecture": section(eps),
        "bytes": section(),
    }
    for name, one in same.items():
        assert text.fingerprint_of(one) == base, name
    prints = {name: text.fingerprint_of(one) for name, one in others.items()}
    assert len({base, *prints.values()}) == 1 + len(prints), prints


def test_the_encoder_of_bytes_has_these_numbers_on_every_machine(of_bytes):
    assert of_bytes.dim == 128
    assert of_bytes.fingerprint == "dd70d498694e575c561606eb2808b820f85fdda07397385f18c90dd1f7065c3c"
    np.testing.assert_allclose(
        of_bytes.null()[0, :4], [-0.0731617, 0.5892692, 0.0180768, 0.3295748], atol=1e-5
    )


def test_the_encoder_of_bytes_tells_the_places_of_bytes_apart(of_bytes):
    one, two = of_bytes.states(["ab", "ba"], dtype=np.float32)
    swapped = np.abs(one[:2] - two[1::-1]).max(1)  # the same bytes at the other place
    assert swapped.min() > 0.3


def test_captions_are_cleaned_by_the_name_in_the_config():
    found = text.open_text_encoder(section(clean="release"), length=40)
    ids, mask = found.tokens(["A <b>Cat</b> https://cats.com/x"])
    assert "".join(chr(i - 3) for i in ids[0][mask[0]][:-1]) == "a cat"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float16"}, "text_encoder.dtype='float16' must be one of 'float32', 'bfloat16'"),
        ({"clean": "soap"}, "text_encoder.clean='soap' is unknown; it is one of 'none', 'strip'"),
        ({"path": "/nowhere/t5"}, "text_encoder.path=/nowhere/t5: there is no such folder"),
    ],
)
def test_wrong_fields_are_named(changes, message):
    with pytest.raises((ValueError, OSError), match=message):
        text.open_text_encoder(section(**changes), length=5)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    folders.write(tmp_path / "t5", folders.module("T5 v1.1"), tokenizer=False)
    with pytest.raises(ValueError, match="has no tokenizer"):
        text.find(str(tmp_path / "t5"))


def test_neither_transformers_nor_torch_is_imported_before_there_are_captions():
    code = "import sys, ptdit_jax.encoders.text; print({'transformers', 'torch'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
