"""
What a policy's context is made of, versioned.

A context is a pure function of the request and its schema; the schema's id is stamped on every
decision and every posterior, and another schema means to learn anew from the log.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from bandit.domain.errors import InvalidInput
from bandit.domain.policy import ContextSettings, ContextSource
from bandit.domain.query import Query
from bandit.features.cues import CUES, READ_CHARACTERS, cues_of
from bandit.features.encoder import WORDLLAMA, WORDLLAMA_LENGTH, Encoder
from bandit.features.projection import PROJECTED, projection, standardised
from bandit.kernels.projection import project

_VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class Standardisation:
    """Means and deviations of the projected embedding (24,) and of the cues (8,)."""

    embedding_mean: NDArray[np.float64]
    embedding_deviation: NDArray[np.float64]
    cues_mean: NDArray[np.float64]
    cues_deviation: NDArray[np.float64]
    digest: str


@lru_cache(maxsize=1)
def standardisation() -> Standardisation:
    """The shipped constants, made by `scripts/make_standardisation.py`."""
    text = resources.files("bandit.features").joinpath("standardisation.json").read_text()
    numbers = json.loads(text)
    return Standardisation(
        embedding_mean=np.array(numbers["embedding_mean"]),
        embedding_deviation=np.array(numbers["embedding_deviation"]),
        cues_mean=np.array(numbers["cues_mean"]),
        cues_deviation=np.array(numbers["cues_deviation"]),
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )


@dataclass(frozen=True, slots=True)
class FeatureSchema:
    """
    The layout of a context: embedding | cues | named | 1.

    id          hash of all that the context depends on
    embedding   number of features from the text or vector
    cues        number of cues (none for the caller's own vectors)
    names       of the named features
    """

    id: str
    settings: ContextSettings
    embedding: int
    cues: int
    names: frozenset[str]

    @property
    def named(self) -> int:
        """Number of named features."""
        return len(self.names)

    @property
    def features(self) -> int:
        """Length of a context, d."""
        return self.embedding + self.cues + self.named + 1


@lru_cache(maxsize=256)
def schema_of(settings: ContextSettings) -> FeatureSchema:
    """The feature schema that these settings declare."""
    parts: dict[str, object] = {
        "version": _VERSION,
        "named": [asdict(feature) for feature in settings.named],
        "source": settings.source.value,
    }
    embedding = cues = 0
    match settings.source:
        case ContextSource.TEXT:
            embedding, cues = PROJECTED, len(CUES)
            parts |= {
                "encoder": WORDLLAMA,
                "characters": READ_CHARACTERS,
                "constants": standardisation().digest,
            }
        case ContextSource.VECTOR:
            embedding = min(PROJECTED, settings.vector_length)
            parts |= {"length": settings.vector_length}
        case ContextSource.NONE:
            pass
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    names = frozenset(feature.name for feature in settings.named)
    return FeatureSchema(digest[:16], settings, embedding, cues, names)


def contexts_of(
    schema: FeatureSchema, queries: Sequence[Query], encoder: Encoder
) -> NDArray[np.float32]:
    """
    The contexts of queries that passed `check`.

    returns  (queries, features) float32: rounded once, before scoring, as they will be stored
    """
    rows = np.empty((len(queries), schema.features))
    cut = schema.embedding + schema.cues
    if schema.settings.source is ContextSource.TEXT:
        constants = standardisation()
        texts = [query.text or "" for query in queries]
        embedded = encoder.embed([text[:READ_CHARACTERS] for text in texts])
        rows[:, : schema.embedding] = standardised(
            project(embedded, projection(WORDLLAMA_LENGTH)),
            constants.embedding_mean,
            constants.embedding_deviation,
        )
        rows[:, schema.embedding : cut] = standardised(
            np.array([cues_of(text) for text in texts]).reshape(len(texts), schema.cues),
            constants.cues_mean,
            constants.cues_deviation,
        )
    elif schema.settings.source is ContextSource.VECTOR:
        length = schema.settings.vector_length
        vectors = np.array([query.vector for query in queries], dtype=np.float64)
        # Scaled by the largest entry first: the square of a huge one would be infinite.
        vectors /= np.maximum(np.abs(vectors).max(axis=1, keepdims=True), 1e-300)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-300)
        rows[:, :cut] = standardised(
            project(vectors, projection(length)), *_vector_constants(cut, length)
        )
    if schema.named:
        names, mean, deviation = _named_constants(schema.settings)
        given = [list(map(query.features.__getitem__, names)) for query in queries]
        rows[:, cut:-1] = standardised(np.array(given), mean, deviation)
    rows[:, -1] = 1.0
    return rows.astype(np.float32)


@lru_cache(maxsize=256)
def _named_constants(
    settings: ContextSettings,
) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]:
    """Names, means and deviations of the named features."""
    return (
        tuple(feature.name for feature in settings.named),
        np.array([feature.mean for feature in settings.named]),
        np.array([feature.deviation for feature in settings.named]),
    )


@lru_cache(maxsize=256)
def _vector_constants(
    features: int, length: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A unit vector's entries have mean 0 and deviation 1 / sqrt(length) in any direction."""
    return np.zeros(features), np.full(features, length**-0.5)


def check(schema: FeatureSchema, query: Query) -> None:
    """Refuse a query that lacks what the schema reads, or brings what it does not."""
    source, length = schema.settings.source, schema.settings.vector_length
    if query.text is not None and source is not ContextSource.TEXT:
        raise InvalidInput("text", f"the policy takes {_takes(source, length)}")
    if query.vector is not None and source is not ContextSource.VECTOR:
        raise InvalidInput("vector", f"the policy takes {_takes(source, length)}")
    if source is ContextSource.TEXT and query.text is None:
        raise InvalidInput("text", "is required by the policy")
    if source is ContextSource.VECTOR:
        if query.vector is None:
            raise InvalidInput("vector", "is required by the policy")
        if len(query.vector) != length:
            raise InvalidInput(
                "vector.values", f"has {len(query.vector)} numbers, the policy takes {length}"
            )
    if query.features.keys() != schema.names:
        _check_named(schema.settings, query.features)


def _takes(source: ContextSource, length: int) -> str:
    match source:
        case ContextSource.TEXT:
            return "a text"
        case ContextSource.VECTOR:
            return f"a vector of {length} numbers"
        case ContextSource.NONE:
            return "named features only"


def _check_named(settings: ContextSettings, given: Mapping[str, float]) -> None:
    declared = {feature.name for feature in settings.named}
    for name in given:
        if name not in declared:
            raise InvalidInput(f"features[{name}]", "is not declared by the policy")
    for name in sorted(declared - set(given)):
        raise InvalidInput(f"features[{name}]", "is required by the policy")
