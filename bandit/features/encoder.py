"""From a text to its embedding."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

WORDLLAMA = "wordllama-l2-supercat-256"
WORDLLAMA_LENGTH = 256


class Encoder(Protocol):
    """Turns texts into vectors of one length and unit norm."""

    name: str

    def embed(self, texts: list[str]) -> NDArray[np.float64]:
        """(texts, length); a text without a known token gives zeros."""
        ...


class WordLlamaEncoder:
    """The default encoder: static token vectors, averaged; its weights are inside the wheel."""

    name = WORDLLAMA

    def __init__(self) -> None:
        # Imported here: it takes a second, and callers that send vectors never need it.
        import wordllama

        self._model = wordllama.WordLlama.load(
            cache_dir=Path(wordllama.__file__).parent, disable_download=True
        )

    def embed(self, texts: list[str]) -> NDArray[np.float64]:
        """(texts, 256), unit norm; a text without a known token gives zeros."""
        # One at a time: in a batch the padding would make a vector depend on its neighbours.
        vectors = np.concatenate([self._model.embed(text, norm=False) for text in texts])
        vectors = np.asarray(vectors, dtype=np.float64)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        usable = np.isfinite(norms) & (norms > 0)
        result: NDArray[np.float64] = np.divide(
            vectors, norms, out=np.zeros_like(vectors), where=usable
        )
        return result
