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

# What is read of a text, so that no request takes long: its length and lines are counted whole.
READ_CHARACTERS = 8192

# Gaps are bounded: an unbounded one makes the search quadratic on a long line.
_CODE = re.compile(
    r"```|\bdef \w+\(|\bclass \w+|\bimport \w+|\breturn\b[^\n]{0,200};|#include|\bfunction\b|=>"
    r"|\bSELECT\b[^\n]{0,200}\bFROM\b|\bpython\b",
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
    read = text[:READ_CHARACTERS]
    length = len(read)
    if length == 0:
        return np.zeros(len(CUES))
    return np.array(
        [
            np.log1p(len(text)),
            np.log1p(text.count("\n")),
            len(_DIGITS.findall(read)) / length,
            len(_SYMBOLS.findall(read)) / length,
            len(_UPPER.findall(read)) / length,
            float(_CODE.search(read) is not None),
            float("?" in read),
            0.0 if read.isascii() else sum(character > "\x7f" for character in read) / length,
        ]
    )
