import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal

from bandit.domain.errors import InvalidInput
from bandit.domain.price import Price
from bandit.evaluation.table import joined, read_prices, read_table, read_vectors, subset

ROWS = {
    "query_id": ["a", "a", "b", "b", "c"],
    "query": ["x" * 43, "x" * 43, "hi", "hi", "only one model"],
    "model": ["small", "large", "large", "small", "small"],
    "score": [0.1, 0.2, 0.4, 0.3, 0.9],
    "cost_usd": [1.0, 2.0, 4.0, 3.0, 9.0],
}


@pytest.fixture
def written(tmp_path):
    """Write a file of these columns, with some changed or (None) left out."""

    def write(**changes):
        columns = {**ROWS, **changes}
        path = tmp_path / "outcomes.parquet"
        pq.write_table(pa.table({k: v for k, v in columns.items() if v is not None}), path)
        return path

    return write


def test_a_file_becomes_a_grid_of_queries_and_models(written):
    table = read_table(written())

    assert table.models == ("large", "small")
    assert table.query_ids == ("a", "b")
    assert_array_equal(table.quality, [[0.2, 0.1], [0.4, 0.3]])
    assert_array_equal(table.cost_usd, [[2, 1], [4, 3]])
    assert table.latency_ms is None


def test_queries_without_an_outcome_of_every_model_are_dropped(written):
    table = read_table(written())

    assert (len(table), table.dropped) == (2, 1)
    assert table.texts == ("x" * 43, "hi")


def test_a_missing_score_drops_its_query(written):
    table = read_table(written(score=[0.1, None, 0.4, 0.3, 0.9]))

    assert (table.query_ids, table.dropped) == (("b",), 2)


def test_only_the_models_asked_for_are_kept_in_that_order(written):
    table = read_table(written(), arms=["small"])

    assert table.models == ("small",)
    assert_array_equal(table.quality, [[0.1], [0.3], [0.9]])


def test_tokens_are_those_of_the_file_or_a_quarter_of_the_characters(written):
    """43 characters are 10 tokens, 2 are at least one."""
    without = read_table(written())
    given = read_table(written(request_tokens=[7, 7, 8, 8, 9]))

    assert_array_equal(without.request_tokens, [10, 1])
    assert_array_equal(given.request_tokens, [7, 8])


def test_latency_is_read_in_milliseconds_and_may_be_missing(written):
    table = read_table(written(latency_s=[0.5, None, 1.0, 2.0, 3.0]))

    assert_array_equal(table.latency_ms, [[np.nan, 500], [1000, 2000]])


@pytest.mark.parametrize("column", ["query_id", "query", "model", "score", "cost_usd"])
def test_a_file_without_a_column_is_refused(written, column):
    with pytest.raises(InvalidInput, match=f"no column '{column}'"):
        read_table(written(**{column: None}))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("score", [0.1, 0.2, 0.4, 0.3, 1.1]),
        ("score", [-0.1, 0.2, 0.4, 0.3, 1.0]),
        ("cost_usd", [1.0, 2.0, -4.0, 3.0, 9.0]),
        ("latency_s", [1.0, 2.0, -4.0, 3.0, 9.0]),
    ],
)
def test_values_out_of_range_are_refused(written, column, values):
    with pytest.raises(InvalidInput, match=f"{column} must lie within"):
        read_table(written(**{column: values}))


def test_a_file_that_is_not_parquet_or_not_there_is_refused(tmp_path):
    text = tmp_path / "notes.parquet"
    text.write_text("not a table")

    with pytest.raises(InvalidInput, match="is not a Parquet file"):
        read_table(text)
    with pytest.raises(InvalidInput, match="there is no file"):
        read_table(tmp_path / "nowhere.parquet")


def test_a_model_that_the_file_does_not_have_is_refused(written):
    with pytest.raises(InvalidInput, match="no model 'other'"):
        read_table(written(), arms=["small", "other"])


def test_a_file_without_any_whole_query_is_refused(written):
    path = written(query_id=["a", "b", "c", "d", "e"])

    with pytest.raises(InvalidInput, match="has an outcome of every model"):
        read_table(path)


def test_a_subset_and_a_join_keep_queries_with_their_outcomes(written):
    table = read_table(written())

    swapped = subset(table, np.array([1, 0]))
    both = joined(table, swapped)

    assert swapped.query_ids == ("b", "a")
    assert both.query_ids == ("a", "b", "b", "a")
    assert_array_equal(both.quality[2:], swapped.quality)
    assert_array_equal(both.request_tokens, [10, 1, 1, 10])


def test_tables_of_different_models_do_not_join(written):
    whole = read_table(written())
    part = read_table(written(), arms=["small"])

    with pytest.raises(InvalidInput, match="same models"):
        joined(whole, part)


PRICES = "model,price_in_per_m,price_out_per_m\nsmall,1,4\nlarge,10,40\nother,x,y\n"


def test_prices_of_the_models_are_read_and_others_are_not_looked_at(tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text(PRICES)

    prices = read_prices(path, ["small", "large", "unpriced"])

    assert prices == {"small": Price(1, 4), "large": Price(10, 40)}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (PRICES.replace("price_in_per_m", "in"), "no column 'price_in_per_m'"),
        (PRICES.replace("small,1", "small,one"), "prices.csv:2 is not a number"),
        (PRICES + "small,2,4\n", "two prices of 'small'"),
        (PRICES.replace("small,1", "small,-1"), "price.input_usd_per_million"),
    ],
)
def test_a_bad_price_file_is_refused(tmp_path, text, problem):
    path = tmp_path / "prices.csv"
    path.write_text(text)

    with pytest.raises(InvalidInput, match=problem):
        read_prices(path, ["small", "large"])


def test_vectors_are_read_in_the_order_of_the_queries(tmp_path):
    path = tmp_path / "vectors.npz"
    np.savez(path, query_id=["b", "a"], embedding=np.array([[3, 4], [1, 2]], dtype=np.float32))

    vectors = read_vectors(path, ["a", "b"])

    assert_array_equal(vectors, [[1.0, 2.0], [3.0, 4.0]])
    assert vectors.dtype == np.float64


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"query_id": ["a"]}, "no array 'embedding'"),
        ({"embedding": [[1.0]]}, "no array 'query_id'"),
        ({"query_id": ["a"], "embedding": [[1.0]]}, "no vector of query 'b'"),
    ],
)
def test_a_bad_vector_file_is_refused(tmp_path, arrays, problem):
    path = tmp_path / "vectors.npz"
    np.savez(path, **arrays)

    with pytest.raises(InvalidInput, match=problem):
        read_vectors(path, ["a", "b"])
