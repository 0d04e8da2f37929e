"""Caption cleaning beside diffusers' copy of DeepFloyd's."""

import random

import pytest
from diffusers import PixArtAlphaPipeline

from ptdit_jax.encoders.clean import CLEANINGS, cleaning

NASTY = [
    "https://foo.com/x?y=1 a cat", "WWW.Example.ORG/abc-def/ here", "me@mail.com", "co.it@x foo.co.uk", "www:abc",
    "<b>Bold</b> &amp; <person> &quot;hi&quot;", "&lt;i&gt;x&lt;/i&gt;", "<script>x</script><p>y", "@nick_99 hello",
    "猫と犬 カタカナ ㈱", "a—b–c−d_e-f_g-h", "this-is-my-cute-cat", "‘x’ “y” «z» ¨`´", "192.168.0.1", "12:30  ",
    "#123 #1234 #12345 1234567", "file.name.jpg photo.png", "***sale***...", "#AUSVERKAUFT!", "jc6640 jc6640vc",
    "6640vc231 j2d1a2a", "worldwide free shipping free download free", "click on here png images page 12",
    "20x30 4.5×6 7х8", "a : b,c.d/e", '"quoted"', "'single'", "-lead trail-", ".x", "\\n new\nline\t",
    "%20plus+sign%41", "schÃ¶n âœ”", "", " ", "İstanbul ſharp ß", "\u30a0\u3030~~", "_a'", "http:a%", "🐈 in a ﬁeld",
    "x" * 3000, "\x00\x1b[31m", "a.png", "/etc/passwd", "a  .  b", "«»", "50% off + more", "\u202eright to left",
]  # fmt: skip


@pytest.fixture(scope="module")
def oracle():
    pipeline = PixArtAlphaPipeline.__new__(PixArtAlphaPipeline)  # the method needs nothing of it
    return pipeline._clean_caption


def captions():
    rng = random.Random(0)
    letters = "aZ1 9.,:;-_'\"@#/\\<>&;+%()[]{}|*é×х猫\n\u2014“"
    yield from NASTY
    for _ in range(400):
        yield "".join(rng.choice(letters) for _ in range(rng.randint(1, 25)))
        yield rng.choice([" ", ""]).join(rng.sample(NASTY, rng.randint(2, 5)))


@pytest.mark.filterwarnings("ignore")
def test_release_is_the_cleaning_once_and_pixart_twice(oracle):
    changed = 0
    for caption in captions():
        once = oracle(caption)
        twice = oracle(once)
        assert CLEANINGS["release"](caption) == once
        assert CLEANINGS["pixart"](caption) == twice
        changed += once != twice
    assert changed > 20  # so that the two are told apart


def test_strip_is_what_diffusers_does_without_cleaning():
    pipeline = PixArtAlphaPipeline.__new__(PixArtAlphaPipeline)
    for caption in NASTY:
        assert [cleaning("strip")(caption)] == pipeline._text_preprocessing(caption, clean_caption=False)


def test_none_leaves_a_caption_as_it_is():
    assert all(cleaning("none")(caption) == caption for caption in NASTY)


def test_an_unknown_name_is_named():
    with pytest.raises(ValueError, match=r"text_encoder\.clean='soap' is unknown"):
        cleaning("soap")
