"""Eight plain numbers about a text that predict difficulty and length."""

import re

import numpy as np
from numpy.typing import NDArray

CUES = (
    "log characters",
    "log line breaks",
    "digit fraction",
    "symbol fraction",
    "upper-case fraction",
    "code marker",
    "question mark",
    "non-ASCII fraction",
)

_CODE = re.compile(
    r"```|\bdef \w+\(|\bclass \w+|\bimport \w+|\breturn\b.*;|#include|\bfunction\b|=>"
    r"|\bSELECT\b.*\bFROM\b|\bpython\b",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"\d")
_SYMBOLS = re.compile(r"[^\w\s]")
_UPPER = re.compile(r"[A-Z]")


def cues_of(text: str) -> NDArray[np.float64]:
    """
    The cues of a text, not yet standardised.

    returns  (8,)  in the order of `CUES`; an empty text gives zeros
    """
    length = len(text)
    if length == 0:
        return np.zeros(len(CUES))
    return np.array(
        [
            np.log1p(length),
            np.log1p(text.count("\n")),
            len(_DIGITS.findall(text)) / length,
            len(_SYMBOLS.findall(text)) / length,
            len(_UPPER.findall(text)) / length,
            float(_CODE.search(text) is not None),
            float("?" in text),
            0.0 if text.isascii() else sum(character > "\x7f" for character in text) / length,
        ]
    )
