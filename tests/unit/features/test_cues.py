import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bandit.features.cues import CUES, cues_of


def test_the_cues_of_a_small_text_worked_out_by_hand():
    """11 characters: A, b, 1, 2, ?, two line breaks, e acute, !, a blank and z."""
    text = "Ab12?\n\né! z"

    cues = dict(zip(CUES, cues_of(text), strict=True))

    assert cues == pytest.approx(
        {
            "log characters": math.log(12),
            "log line breaks": math.log(3),
            "digit fraction": 2 / 11,
            "symbol fraction": 2 / 11,
            "upper-case fraction": 1 / 11,
            "code marker": 0.0,
            "question mark": 1.0,
            "non-ASCII fraction": 1 / 11,
        }
    )


@pytest.mark.parametrize(
    "text", ["```\nx\n```", "def add(a, b):", "select a from b", "#include <x>", "x => x"]
)
def test_code_is_marked(text):
    marked = cues_of(text)[CUES.index("code marker")]

    assert marked == 1.0


def test_an_empty_text_has_no_cues():
    cues = cues_of("")

    assert_array_equal(cues, np.zeros(8))


def test_a_text_of_line_breaks_alone_is_finite():
    cues = cues_of("\n" * 10)

    assert_allclose(cues, [math.log(11), math.log(11), 0, 0, 0, 0, 0, 0])
