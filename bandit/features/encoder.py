"""From a text to its embedding."""

import json
from importlib.util import find_spec
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
    """
    The default encoder: static token vectors, averaged; tokens and vectors come with its wheel.

    The vectors are read where they lie, as processes of one machine share them and most texts use
    few: the library's own way holds a copy of them in every process, twice as wide, and imports an
    HTTP client; 45 MB in all.
    """

    name = WORDLLAMA

    def __init__(self) -> None:
        # Imported here: callers that send vectors never need it.
        from tokenizers import Tokenizer

        found = find_spec("wordllama")
        assert found is not None and found.origin is not None  # noqa: S101, PT018 - a dependency
        folder = Path(found.origin).parent
        self._tokenizer = Tokenizer.from_file(
            str(folder / "tokenizers/l2_supercat_tokenizer_config.json")
        )
        self._tokenizer.no_truncation()
        self._vectors = _tensor(folder / "weights/l2_supercat_256.safetensors")

    def embed(self, texts: list[str]) -> NDArray[np.float64]:
        """(texts, 256), unit norm; a text without a known token gives zeros."""
        # One at a time: in a batch the padding would make a vector depend on its neighbours.
        vectors = np.array([self._mean(text) for text in texts], dtype=np.float64)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        usable = np.isfinite(norms) & (norms > 0)
        result: NDArray[np.float64] = np.divide(
            vectors, norms, out=np.zeros_like(vectors), where=usable
        )
        return result

    def _mean(self, text: str) -> NDArray[np.float32]:
        """(256,) the average of the vectors of a text's tokens."""
        tokens = self._tokenizer.encode(text, add_special_tokens=False).ids
        known = np.minimum(np.array(tokens, dtype=np.intp), len(self._vectors) - 1)
        vectors = self._vectors[known].astype(np.float32)
        mean: NDArray[np.float32] = vectors.sum(axis=0) / np.float32(max(len(tokens), 1))
        return mean


def _tensor(file: Path) -> NDArray[np.float16]:
    """
    The only tensor of a file, which stays there.

    Source: the safetensors format: length of a JSON header, the header, the bytes of the tensors.
    """
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        (tensor,) = (
            entry for name, entry in json.loads(opened.read(length)).items() if name[0] != "_"
        )
    rows, columns = tensor["shape"]
    offset = 8 + length + tensor["data_offsets"][0]
    return np.memmap(file, dtype="<f2", mode="r", offset=offset, shape=(rows, columns))
