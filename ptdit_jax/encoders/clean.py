"""Captions cleaned before they are encoded, as the encoders of published models saw them.

    none     as they are
    strip    lower case, and without white space at both ends: what diffusers' pipelines do without cleaning
    release  the cleaning of DeepFloyd IF, once: the released PT-DiT models
    pixart   the same twice, which is not the same: PixArt-α

A model that was trained with one of them should be asked with it, too.
"""

import html
import re
import urllib.parse
import warnings
from collections.abc import Callable

_DOMAIN = r"[a-z0-9.\-]+[.](?:com|co|ru|net|org|edu|gov|it)[\w/-]*\b/?(?!@)"
_FILE = r"(?:png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4)"
_DASHES = "-\u058a\u05be\u1400\u1806\u2010-\u2015\u2e17\u2e1a\u2e3a\u2e3b\u2e40"
_DASHES += "\u301c\u3030\u30a0\ufe31\ufe32\ufe58\ufe63\uff0d"

Steps = tuple[tuple[re.Pattern, str], ...]


def _steps(*pairs: tuple[str, str]) -> Steps:
    return tuple((re.compile(pattern), text) for pattern, text in pairs)


# Order counts in all three: what one step leaves is what the next one sees.
_ADDRESSES = _steps(
    ("<person>", "person"),
    (rf"\b(?:https?:(?:/{{1,3}}|[a-z0-9%])|{_DOMAIN})", ""),
    (rf"\b(?:www:(?:/{{1,3}}|[a-z0-9%])|{_DOMAIN})", ""),
)
_CHARACTERS = _steps(
    (r"@\w+\b", ""),  # nicknames
    ("[\u31c0-\u9fff]+", ""),  # Chinese characters, and the strokes and symbols before them
    (f"[{_DASHES}]+", "-"),
    ("[`´«»“”¨]", '"'),
    ("[‘’]", "'"),
    ("&quot;?", ""),
    ("&amp", ""),
    (r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}", " "),  # addresses of machines
    (r"\d:\d\d\s+$", ""),
    (r"\\n", " "),  # a line break that was written out
    (r"#\d{1,3}\b", ""),
    (r"#\d{5,}\b", ""),
    (r"\b\d{6,}\b", ""),
    (rf"\S+\.{_FILE}", ""),
    ("[\"']{2,}", '"'),
    (r"\.{2,}", " "),
    (r"[#®•©™&@·º½¾¿¡§~()\[\]{}|\\/*]+", " "),
    (r"\s+\.\s+", " "),
)
_WORDS = _steps(
    (r"\b[a-zA-Z]{1,3}\d{3,15}\b", ""),  # numbers of articles: jc6640, jc6640vc, 6640vc231
    (r"\b[a-zA-Z]+\d+[a-zA-Z]+\b", ""),
    (r"\b\d+[a-zA-Z]+\d+\b", ""),
    (r"(?:worldwide\s+)?(?:free\s+)?shipping", ""),
    (r"(?:free\s)?download(?:\sfree)?", ""),
    (r"\bclick\b\s(?:for|on)\s\w+", ""),
    (rf"\b{_FILE}(?:\simages?)?", ""),
    (r"\bpage\s+\d+\b", ""),
    (r"\b\d*[a-zA-Z]+\d+[a-zA-Z]+\d+[a-zA-Z\d]*\b", " "),
    (r"\b\d+\.?\d*[xх×]\d+\.?\d*\b", ""),  # sizes: 20x30, with any of three letters
    (r"\b\s+:\s+", ": "),
    (r"(\D[,./])\b", r"\1 "),
    (r"\s+", " "),
    (r"""^["']([\w\W]+)["']$""", r"\1"),
    (r"^['_,\-:;]", ""),
    (r"['_,\-:+]$", ""),
    (r"^\.\S+$", ""),
)
_JOINTS = re.compile("[-_]")


def _run(steps: Steps, caption: str) -> str:
    for pattern, text in steps:
        caption = pattern.sub(text, caption)
    return caption


def _cleaned(caption: str) -> str:
    """The cleaning of DeepFloyd IF, once."""
    import bs4
    import ftfy

    caption = _run(_ADDRESSES, urllib.parse.unquote_plus(caption).strip().lower())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a caption may look like the name of a file
        caption = bs4.BeautifulSoup(caption, features="html.parser").text
    caption = _run(_CHARACTERS, caption)
    if len(_JOINTS.findall(caption)) > 3:  # a-name-of-many-words
        caption = _JOINTS.sub(" ", caption)
    caption = html.unescape(html.unescape(ftfy.fix_text(caption)))
    return _run(_WORDS, caption).strip()


CLEANINGS: dict[str, Callable[[str], str]] = {
    "none": lambda caption: caption,
    "strip": lambda caption: caption.lower().strip(),
    "release": _cleaned,
    "pixart": lambda caption: _cleaned(_cleaned(caption)),
}
"""What `text_encoder.clean` can be."""


def cleaning(name: str) -> Callable[[str], str]:
    """The function of a name.

    Raises:
      ValueError: there is none.
    """
    if name not in CLEANINGS:
        raise ValueError(
            f"text_encoder.clean={name!r} is unknown; it is one of {', '.join(map(repr, CLEANINGS))}"
        )
    return CLEANINGS[name]
