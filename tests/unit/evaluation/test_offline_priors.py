import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bandit.domain.errors import InvalidInput
from bandit.domain.objective import Objective
from bandit.domain.policy import ContextSettings, ContextSource, NamedFeature, PolicySettings
from bandit.domain.preference import Preference
from bandit.domain.price import Price
from bandit.evaluation.offline import offline_priors, prior_contexts, read_recorded
from bandit.evaluation.table import OutcomeTable

NONE = ContextSettings(source=ContextSource.NONE)
PRICES = {"a": Price(1.0, 4.0), "b": Price(10.0, 40.0)}


def a_table(rows=8, *, latency_ms=None):
    random = np.random.default_rng(0)
    return OutcomeTable(
        query_ids=tuple(f"q{row}" for row in range(rows)),
        texts=tuple(f"query {row}?" for row in range(rows)),
        models=("a", "b"),
        quality=random.random((rows, 2)),
        cost_usd=random.random((rows, 2)) / 100,
        latency_ms=latency_ms,
        request_tokens=np.arange(1, rows + 1) * 100,
    )


def totals(prior):
    """Sums of y, of y^2 and of the weights, of a prior that knows the bias alone."""
    _, moment, square, weight = np.frombuffer(prior.sums)
    return moment, square, weight


def test_each_head_is_fitted_to_its_target_worked_out_row_by_row():
    """Strength 4 of 8 rows: each counts half. Targets: q - .9, ln c - ln list, ln ms - ln 1500."""
    latency_ms = np.full((8, 2), 3000.0)
    table = a_table(latency_ms=latency_ms)
    settings = PolicySettings(context=NONE)
    contexts = np.ones((8, 1), dtype=np.float32)

    priors = offline_priors(table, contexts, settings, PRICES, strength=4)

    lists = np.array([PRICES["b"].list_usd(tokens) for tokens in table.request_tokens])
    expected = {
        Objective.QUALITY: table.quality[:, 1] - 0.9,
        Objective.COST: np.log(table.cost_usd[:, 1]) - np.log(lists),
        Objective.LATENCY: np.full(8, np.log(2.0)),
    }
    assert set(priors) == {"a", "b"}
    for objective, y in expected.items():
        prior = priors["b"][objective]
        assert (prior.rows, prior.strength) == (8, 4.0)
        assert_allclose(totals(prior), (0.5 * y.sum(), 0.5 * (y**2).sum(), 4.0))


def test_what_was_not_measured_has_no_prior():
    latency_ms = np.full((8, 2), np.nan)
    latency_ms[2:, 0] = 100.0
    settings = PolicySettings(context=NONE)
    contexts = np.ones((8, 1), dtype=np.float32)

    priors = offline_priors(
        a_table(latency_ms=latency_ms), contexts, settings, {"a": PRICES["a"]}, strength=4
    )

    assert priors["a"][Objective.LATENCY].rows == 6
    assert set(priors["b"]) == {Objective.QUALITY}


def test_what_is_not_learned_has_no_prior():
    settings = PolicySettings(
        context=NONE,
        objectives=(Objective.QUALITY,),
        default_preference=Preference(quality=1),
    )

    priors = offline_priors(
        a_table(), np.ones((8, 1), dtype=np.float32), settings, PRICES, strength=4
    )

    assert all(set(heads) == {Objective.QUALITY} for heads in priors.values())


def test_costs_without_a_price_are_relative_to_what_stands_in_for_one():
    settings = PolicySettings(context=NONE, unpriced_list_usd=0.002)
    table = a_table()

    priors = offline_priors(table, np.ones((8, 1), dtype=np.float32), settings, {}, strength=8)

    moment, _, _ = totals(priors["a"][Objective.COST])
    assert moment == pytest.approx(np.log(table.cost_usd[:, 0] / 0.002).sum())


def test_a_named_feature_that_the_table_lacks_has_its_usual_value():
    named = (NamedFeature("tools", mean=5.0, deviation=2.0), NamedFeature("depth"))
    context = ContextSettings(ContextSource.VECTOR, 3, named)
    vectors = np.random.default_rng(0).normal(size=(8, 3))

    contexts = prior_contexts(a_table(), PolicySettings(context=context), None, vectors)

    assert contexts.shape == (8, 6)
    assert_array_equal(contexts[:, 3:5], 0.0)
    assert_array_equal(contexts[:, 5], 1.0)
    assert np.abs(contexts[:, :3]).max() > 0


def a_file(tmp_path, models):
    rows = [
        {"query_id": f"q{row}", "query": "?", "model": model, "score": 0.5, "cost_usd": 0.1}
        for row in range(3)
        for model in models
        if (row, model) != (0, "a")
    ]
    path = tmp_path / "outcomes.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_the_models_that_the_arms_are_named_after_are_read(tmp_path):
    path = a_file(tmp_path, ["a", "b", "other"])

    both = read_recorded(path, ["b", "a", "absent"])
    one = read_recorded(path, ["b"])

    assert (both.models, len(both), both.dropped) == (("b", "a"), 2, 1)
    assert (one.models, len(one), one.dropped) == (("b",), 3, 0)


def test_a_file_that_says_nothing_of_the_arms_is_refused(tmp_path):
    path = a_file(tmp_path, ["other"])
    text = tmp_path / "text.parquet"
    text.write_text("not a table")

    for wrong, field in ((path, "arms"), (text, "outcomes"), (tmp_path / "none", "outcomes")):
        with pytest.raises(InvalidInput) as refusal:
            read_recorded(wrong, ["a"])
        assert refusal.value.field == field
