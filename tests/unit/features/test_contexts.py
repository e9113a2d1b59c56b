import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from bandit.domain.errors import InvalidInput
from bandit.domain.policy import ContextSettings, ContextSource, NamedFeature
from bandit.domain.query import Query
from bandit.features.cues import cues_of
from bandit.features.encoder import WordLlamaEncoder
from bandit.features.projection import projection
from bandit.features.schema import check, contexts_of, schema_of, standardisation

TEXT = schema_of(ContextSettings())
NAMED = (NamedFeature("tools", mean=2.0, deviation=4.0), NamedFeature("depth"))
LENGTHS = (1, 24, 25, 384)


@pytest.fixture(scope="module")
def encoder():
    return WordLlamaEncoder()


def of_vectors(*vectors):
    """The contexts of callers' own vectors."""
    schema = schema_of(ContextSettings(source=ContextSource.VECTOR, vector_length=len(vectors[0])))
    queries = [Query(policy="p", vector=np.asarray(vector, float).tolist()) for vector in vectors]
    return contexts_of(schema, queries, encoder=None)


def of_texts(encoder, *texts):
    return contexts_of(TEXT, [Query(policy="p", text=text) for text in texts], encoder)


def test_a_texts_context_is_its_projected_embedding_its_cues_and_one(encoder):
    text = "Which is larger, 9.11 or 9.9?"
    constants = standardisation()

    context = of_texts(encoder, text)[0]

    embedding = encoder.embed([text])[0]
    assert np.linalg.norm(embedding) == pytest.approx(1.0)
    projected = (embedding @ projection(256) - constants.embedding_mean) / (
        constants.embedding_deviation
    )
    cues = (cues_of(text) - constants.cues_mean) / constants.cues_deviation
    assert_allclose(context[:24], np.clip(projected, -3, 3), rtol=1e-6)
    assert_allclose(context[24:32], np.clip(cues, -3, 3), rtol=1e-6)
    assert context[32] == 1.0
    assert context.dtype == np.float32


@settings(deadline=None, max_examples=40, derandomize=True)
@given(texts=st.lists(st.text(max_size=60), min_size=2, max_size=4))
def test_a_text_gets_the_same_bits_alone_and_among_others(encoder, texts):
    together = of_texts(encoder, *texts)

    alone = np.concatenate([of_texts(encoder, text) for text in texts])

    assert_array_equal(together, alone)
    assert together.shape == (len(texts), 33)
    assert np.isfinite(together).all()
    assert np.abs(together).max() <= 3.0


def test_an_empty_text_has_a_context(encoder):
    constants = standardisation()

    context = of_texts(encoder, "")[0]

    cues = np.clip(-constants.cues_mean / constants.cues_deviation, -3, 3)
    assert np.isfinite(context).all()
    assert_allclose(context[24:32], cues, rtol=1e-6)


def test_a_long_run_of_symbols_is_clipped(encoder):
    contexts = of_texts(encoder, "$" * 10_000)

    assert np.abs(contexts).max() == 3.0


@pytest.mark.parametrize("length", LENGTHS)
def test_a_vectors_context_is_its_projected_direction(length):
    vector = np.random.default_rng(length).normal(size=length)

    context = of_vectors(vector)[0]

    direction = vector / np.linalg.norm(vector) @ projection(length) * np.sqrt(length)
    assert context.shape == (min(24, length) + 1,)
    assert_allclose(context[:-1], np.clip(direction, -3, 3), rtol=1e-5, atol=1e-6)
    assert context[-1] == 1.0


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.sampled_from(LENGTHS),
    exponent=st.integers(-250, 290),
)
def test_the_scale_of_a_vector_does_not_matter(seed, length, exponent):
    vector = np.random.default_rng(seed).uniform(-1, 1, size=length)

    scaled = of_vectors(vector * 10.0**exponent)

    assert_allclose(scaled, of_vectors(vector), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("value", [0.0, 5e-324, 1.7e308, -1.7e308])
def test_zero_and_extreme_vectors_have_finite_contexts(length, value):
    contexts = of_vectors(np.full(length, value))

    assert np.isfinite(contexts).all()
    assert np.abs(contexts).max() <= 3.0
    assert contexts[0, -1] == 1.0


def test_a_vectors_context_does_not_depend_on_its_neighbours():
    vectors = np.random.default_rng(5).normal(size=(4, 25))

    forwards, backwards = of_vectors(*vectors), of_vectors(*vectors[::-1])

    assert_allclose(forwards, backwards[::-1], rtol=1e-6, atol=1e-7)


def test_named_features_are_standardised_by_their_constants():
    """(8 - 2) / 4 = 1.5 and (-50 - 0) / 1, clipped to -3."""
    schema = schema_of(ContextSettings(source=ContextSource.NONE, named=NAMED))
    query = Query(policy="p", features={"depth": -50.0, "tools": 8.0})

    contexts = contexts_of(schema, [query], encoder=None)

    assert_array_equal(contexts, np.array([[1.5, -3.0, 1.0]], dtype=np.float32))


def test_named_features_stand_between_the_vector_and_the_constant():
    schema = schema_of(
        ContextSettings(source=ContextSource.VECTOR, vector_length=1, named=NAMED[:1])
    )
    query = Query(policy="p", vector=np.array([5.0]), features={"tools": 0.0})

    contexts = contexts_of(schema, [query], encoder=None)

    sign = projection(1)[0, 0]
    assert_array_equal(contexts, np.array([[sign, -0.5, 1.0]], dtype=np.float32))


def test_without_text_vector_or_features_the_context_is_the_constant():
    schema = schema_of(ContextSettings(source=ContextSource.NONE))

    contexts = contexts_of(schema, [Query(policy="p")] * 2, encoder=None)

    assert_array_equal(contexts, np.ones((2, 1), dtype=np.float32))


@pytest.mark.parametrize(
    ("field", "context", "query"),
    [
        ("text", ContextSettings(), {}),
        ("vector", ContextSettings(), {"text": "x", "vector": np.ones(3)}),
        ("features[tools]", ContextSettings(), {"text": "x", "features": {"tools": 1.0}}),
        ("features[depth]", ContextSettings(named=NAMED), {"text": "x", "features": {"tools": 1}}),
        (
            "features[turns]",
            ContextSettings(named=NAMED),
            {"text": "x", "features": {"tools": 1, "depth": 1, "turns": 1}},
        ),
        ("vector", ContextSettings(ContextSource.VECTOR, 3), {}),
        ("text", ContextSettings(ContextSource.VECTOR, 3), {"text": "x"}),
        ("vector.values", ContextSettings(ContextSource.VECTOR, 3), {"vector": np.ones(2)}),
        ("text", ContextSettings(ContextSource.NONE), {"text": "x"}),
        ("vector", ContextSettings(ContextSource.NONE), {"vector": np.ones(3)}),
    ],
)
def test_a_query_that_does_not_fit_the_policy_is_refused_by_field(field, context, query):
    with pytest.raises(InvalidInput) as refusal:
        check(schema_of(context), Query(policy="p", **query))

    assert refusal.value.field == field


def test_a_query_that_fits_is_let_through():
    schema = schema_of(ContextSettings(named=NAMED))

    check(schema, Query(policy="p", text="", features={"tools": 1.0, "depth": 0.0}))
