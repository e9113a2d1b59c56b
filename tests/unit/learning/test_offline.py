from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from bandit.domain.errors import CorruptPosterior, InvalidInput
from bandit.domain.offline_prior import MOST_STRENGTH, OfflinePrior
from bandit.features.schema import schema_of
from bandit.kernels.folding import lower_triangle
from bandit.learning.offline import check, of_schema, offline_prior, with_offline
from bandit.learning.posterior import posterior_from
from bandit.learning.prior import Prior
from bandit.learning.sums import Evidence, folded, no_outcomes
from tests.builders import A_CONTEXT, NOW

SCHEMA = schema_of(A_CONTEXT)  # three features of a vector, and 1


def recorded(seed, rows):
    """Contexts within 3 deviations that end with 1, and targets."""
    random = np.random.default_rng(seed)
    contexts = np.clip(random.normal(size=(rows, SCHEMA.features)), -3, 3).astype(np.float32)
    contexts[:, -1] = 1.0
    return contexts, random.normal(size=rows)


def a_prior_of(rows=40, *, strength=20.0, seed=0):
    return offline_prior(*recorded(seed, rows), SCHEMA.id, strength=strength)


def observed(contexts, targets, weight):
    evidence = [
        Evidence(0, context, float(target), weight)
        for context, target in zip(contexts, targets, strict=True)
    ]
    return folded([no_outcomes(SCHEMA.features, epoch=NOW)], evidence)[0]


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 80),
    strength=st.floats(0.01, MOST_STRENGTH),
    outcomes=st.integers(0, 20),
)
def test_a_prior_is_the_same_as_observing_its_rows_with_a_share_of_their_weight(
    seed, rows, strength, outcomes
):
    """By the Normal-Inverse-Gamma posterior with SSR in its long form, from plain matrices."""
    contexts, targets = recorded(seed, rows)
    own_contexts, own_targets = recorded(seed + 1, outcomes)
    prior = Prior(np.array([50.0, 5.0, 1.0, 2.0]), noise_deviation=0.4, shape=3.0)
    sums = observed(own_contexts, own_targets, 1.0)

    offline = offline_prior(contexts, targets, SCHEMA.id, strength=strength)
    posterior = posterior_from(with_offline(sums, offline), prior)

    total = min(strength, rows)
    x = np.concatenate([contexts, own_contexts]).astype(float)
    y = np.concatenate([targets, own_targets])
    g = np.concatenate([np.full(rows, total / rows), np.ones(outcomes)])
    gram, moment = x.T @ (g[:, None] * x), x.T @ (g * y)
    precision = np.diag(prior.precision) + gram
    mean = np.linalg.solve(precision, moment)
    residual = (g * y) @ y - 2 * moment @ mean + mean @ gram @ mean
    residual += mean @ np.diag(prior.precision) @ mean
    noise = (3.0 * 0.16 + residual / 2) / (3.0 + (total + outcomes) / 2)
    covariance = noise * np.linalg.inv(precision)
    assert_allclose(posterior.mean, mean, atol=1e-9)
    assert posterior.noise == pytest.approx(noise)
    assert_allclose(posterior.covariance, covariance[lower_triangle(4)], atol=1e-9)


def test_a_prior_never_counts_more_than_its_rows():
    offline = a_prior_of(rows=7, strength=20.0)

    assert (offline.rows, offline.strength) == (7, 7.0)
    assert np.frombuffer(offline.sums)[-1] == 7.0


@pytest.mark.parametrize("strength", [0.0, -1.0, np.nan, np.inf, 50.1])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(InvalidInput) as refusal:
        a_prior_of(strength=strength)

    assert refusal.value.field == "prior.strength"


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("rows", {"rows": 0}),
        *[("strength", {"strength": value}) for value in (0.0, -1.0, np.nan, 40.5, 51.0)],
    ],
)
def test_a_prior_that_cannot_be_is_refused_by_field(field, changes):
    with pytest.raises(InvalidInput) as refusal:
        OfflinePrior(**{"rows": 40, "strength": 20.0, "schema_id": "x", "sums": b"", **changes})

    assert refusal.value.field == f"offline.{field}"


def test_nothing_recorded_is_refused():
    contexts, targets = recorded(0, 0)

    with pytest.raises(InvalidInput, match="no outcome"):
        offline_prior(contexts, targets, SCHEMA.id, strength=1.0)


def test_without_a_prior_the_sums_are_what_they_are():
    sums = observed(*recorded(3, 5), 1.0)

    assert with_offline(sums, None) is sums


def test_a_prior_whose_sums_are_lost_is_said_to_be_corrupt():
    lost = replace(a_prior_of(), sums=b"")

    with pytest.raises(CorruptPosterior):
        with_offline(no_outcomes(SCHEMA.features, epoch=NOW), lost)


def test_a_prior_of_another_schema_is_not_used():
    offline = a_prior_of()

    assert of_schema(offline, SCHEMA) is offline
    assert of_schema(replace(offline, schema_id="another"), SCHEMA) is None
    assert of_schema(None, SCHEMA) is None


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 200),
    strength=st.floats(0.001, MOST_STRENGTH),
    scale=st.floats(0, 99),
)
def test_whatever_was_recorded_passes_the_check(seed, rows, strength, scale):
    contexts, targets = recorded(seed, rows)
    contexts[:, :-1] = np.clip(contexts[:, :-1] * 10, -3, 3)
    targets = np.clip(targets * scale, -99, 99)

    check(offline_prior(contexts, targets, SCHEMA.id, strength=strength), SCHEMA, field="offline")


def altered(position, value):
    values = np.frombuffer(a_prior_of().sums).copy()
    values[position] = value
    return values


GRAM_BIAS, MOMENT, SQUARE, WEIGHT = 9, 10, -2, -1


@pytest.mark.parametrize(
    ("problem", "values"),
    [
        ("numbers", np.frombuffer(a_prior_of().sums)[:-1]),
        ("numbers", np.array([])),
        ("finite", altered(0, np.nan)),
        ("finite", altered(SQUARE, np.inf)),
        ("semi-definite", altered(1, 100.0)),
        ("semi-definite", altered(MOMENT, 1e6)),
        ("semi-definite", altered(SQUARE, 0.0)),
        ("semi-definite", altered(0, -1.0)),
        ("beyond", altered(0, 20 * 9.1)),
        ("beyond", altered(SQUARE, 1e7)),
        ("strength", altered(WEIGHT, 21.0)),
        ("strength", altered(GRAM_BIAS, 19.0)),
    ],
)
def test_sums_that_no_outcomes_could_have_are_refused(problem, values):
    offline = replace(a_prior_of(), sums=values.tobytes())

    with pytest.raises(InvalidInput, match=problem) as refusal:
        check(offline, SCHEMA, field="heads[0]")

    assert refusal.value.field == "heads[0].sums"


def test_the_order_of_the_rows_does_not_matter():
    contexts, targets = recorded(0, 40)

    one = offline_prior(contexts, targets, SCHEMA.id, strength=20)
    other = offline_prior(contexts[::-1], targets[::-1], SCHEMA.id, strength=20)

    assert_allclose(np.frombuffer(one.sums), np.frombuffer(other.sums), atol=1e-12)


def test_a_prior_is_not_changed_by_its_use():
    offline = a_prior_of()
    before = np.frombuffer(offline.sums).copy()

    with_offline(observed(*recorded(3, 5), 1.0), offline)

    assert_array_equal(np.frombuffer(offline.sums), before)
