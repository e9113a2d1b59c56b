"""The default encoder beside the library that its vectors come from."""

import string
from pathlib import Path

import numpy as np
import pytest
import wordllama
from hypothesis import given
from hypothesis import strategies as st

from bandit.features.encoder import WORDLLAMA_LENGTH, WordLlamaEncoder

WORDS = st.lists(st.text(string.ascii_letters, min_size=1, max_size=12), max_size=200)


@pytest.fixture(scope="module")
def encoder():
    return WordLlamaEncoder()


@pytest.fixture(scope="module")
def library():
    return wordllama.WordLlama.load(
        cache_dir=Path(wordllama.__file__).parent, disable_download=True
    )


@given(text=st.one_of(st.text(max_size=300), WORDS.map(" ".join)))
def test_a_text_has_the_librarys_direction_to_the_last_bit(encoder, library, text):
    (mean,) = library.embed(text, norm=False).astype(np.float64)
    norm = np.linalg.norm(mean[None], axis=1)[0]

    (vector,) = encoder.embed([text])

    assert vector.shape == (WORDLLAMA_LENGTH,)
    assert (vector == (mean / norm if norm > 0 else 0.0)).all()


def test_a_text_has_the_same_vector_alone_and_in_company(encoder):
    texts = ["a", "", "what is the capital of France?", "x " * 3000]

    together = encoder.embed(texts)

    assert (together == np.concatenate([encoder.embed([text]) for text in texts])).all()
    assert not together[1].any()
