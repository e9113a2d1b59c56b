"""Recorded full-information outcomes: every model's quality, cost and latency for every query."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bandit.domain.errors import InvalidInput
from bandit.domain.price import Price
from bandit.domain.query import CHARACTERS_PER_TOKEN
from bandit.kernels.jit import Array


@dataclass(frozen=True, slots=True, eq=False)
class OutcomeTable:
    """
    What each model scored and cost on each query.

    models           names, axis 1 of the arrays
    quality          (queries, models)  0 to 1
    cost_usd         (queries, models)
    latency_ms       (queries, models), or None where it was not measured
    request_tokens   (queries,)  known before the choice
    dropped          queries left out because a model is missing
    """

    query_ids: tuple[str, ...]
    texts: tuple[str, ...]
    models: tuple[str, ...]
    quality: Array
    cost_usd: Array
    latency_ms: Array | None
    request_tokens: NDArray[np.int64]
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.query_ids)


def read_table(
    path: Path, *, arms: Sequence[str] | None = None, needs_latency: bool = False
) -> OutcomeTable:
    """
    Read a long-format Parquet file: `query_id`, `query`, `model`, `score`, `cost_usd`, and where
    known `latency_s` and `request_tokens` (default: characters / 4).

    arms           the models to keep, in that order; None: all, sorted by name
    needs_latency  queries lacking a latency are dropped too
    """
    rows = _rows(path)
    known = sorted(set(rows["model"].to_pylist()))
    models = known if arms is None else list(dict.fromkeys(arms))
    for model in models:
        if model not in known:
            raise InvalidInput("arms", f"{path.name} has no model {model!r}; it has {known}")
    rows = rows.filter(pc.is_in(rows["model"], value_set=pa.array(models)))

    query_of = {name: i for i, name in enumerate(dict.fromkeys(rows["query_id"].to_pylist()))}
    model_of = {name: i for i, name in enumerate(models)}
    at = (
        np.array([query_of[name] for name in rows["query_id"].to_pylist()]),
        np.array([model_of[name] for name in rows["model"].to_pylist()]),
    )
    shape = (len(query_of), len(models))
    quality = _grid(rows, "score", at, shape, path)
    cost = _grid(rows, "cost_usd", at, shape, path)
    has_latency = "latency_s" in rows.column_names
    latency = 1000 * _grid(rows, "latency_s", at, shape, path) if has_latency else None

    texts = np.full(len(query_of), "", dtype=object)
    texts[at[0]] = rows["query"].to_pylist()
    tokens = np.array([max(1, len(text) // CHARACTERS_PER_TOKEN) for text in texts])
    if "request_tokens" in rows.column_names:
        tokens[at[0]] = rows["request_tokens"].to_numpy()

    if needs_latency and latency is None:
        raise InvalidInput("preference.latency", f"{path.name} has no latency")
    whole = ~(np.isnan(quality) | np.isnan(cost)).any(axis=1)
    if needs_latency and latency is not None:
        whole &= ~np.isnan(latency).any(axis=1)
    if not whole.any():
        raise InvalidInput("arms", f"no query of {path.name} has an outcome of every model")
    return OutcomeTable(
        query_ids=tuple(np.array(list(query_of), dtype=object)[whole]),
        texts=tuple(texts[whole]),
        models=tuple(models),
        quality=quality[whole],
        cost_usd=cost[whole],
        latency_ms=None if latency is None else latency[whole],
        request_tokens=tokens[whole].astype(np.int64),
        dropped=int((~whole).sum()),
    )


def subset(table: OutcomeTable, rows: NDArray[np.int64]) -> OutcomeTable:
    """The table of these queries, in this order."""
    return OutcomeTable(
        query_ids=tuple(table.query_ids[row] for row in rows),
        texts=tuple(table.texts[row] for row in rows),
        models=table.models,
        quality=table.quality[rows],
        cost_usd=table.cost_usd[rows],
        latency_ms=None if table.latency_ms is None else table.latency_ms[rows],
        request_tokens=table.request_tokens[rows],
        dropped=table.dropped,
    )


def joined(first: OutcomeTable, second: OutcomeTable) -> OutcomeTable:
    """The queries of `first`, then those of `second`; both of the same models."""
    if first.models != second.models:
        raise InvalidInput("warmup", "does not have the same models")
    latency = None
    if first.latency_ms is not None and second.latency_ms is not None:
        latency = np.concatenate([first.latency_ms, second.latency_ms])
    return OutcomeTable(
        query_ids=first.query_ids + second.query_ids,
        texts=first.texts + second.texts,
        models=second.models,
        quality=np.concatenate([first.quality, second.quality]),
        cost_usd=np.concatenate([first.cost_usd, second.cost_usd]),
        latency_ms=latency,
        request_tokens=np.concatenate([first.request_tokens, second.request_tokens]),
        dropped=first.dropped + second.dropped,
    )


def read_prices(path: Path, models: Sequence[str]) -> dict[str, Price]:
    """List prices of `models` from a CSV: `model`, `price_in_per_m`, `price_out_per_m` in USD."""
    prices: dict[str, Price] = {}
    with path.open(newline="") as lines:
        reader = csv.DictReader(lines)
        for column in ("model", "price_in_per_m", "price_out_per_m"):
            if column not in (reader.fieldnames or ()):
                raise InvalidInput("prices", f"{path.name} has no column {column!r}")
        for number, row in enumerate(reader, start=2):
            if row["model"] not in models:
                continue
            try:
                price = Price(float(row["price_in_per_m"]), float(row["price_out_per_m"]))
            except ValueError:
                raise InvalidInput("prices", f"{path.name}:{number} is not a number") from None
            if prices.setdefault(row["model"], price) != price:
                raise InvalidInput("prices", f"{path.name} has two prices of {row['model']!r}")
    return prices


def read_vectors(path: Path, query_ids: Sequence[str]) -> Array:
    """(queries, length) from a `.npz` with arrays `query_id` and `embedding`."""
    with np.load(path, allow_pickle=False) as arrays:
        for name in ("query_id", "embedding"):
            if name not in arrays:
                raise InvalidInput("vectors", f"{path.name} has no array {name!r}")
        row_of: Mapping[str, int] = {str(name): i for i, name in enumerate(arrays["query_id"])}
        missing = [name for name in query_ids if name not in row_of]
        if missing:
            raise InvalidInput("vectors", f"{path.name} has no vector of query {missing[0]!r}")
        rows = [row_of[name] for name in query_ids]
        return np.ascontiguousarray(arrays["embedding"][rows], dtype=np.float64)


def _rows(path: Path) -> pa.Table:
    if not path.is_file():
        raise InvalidInput("outcomes", f"there is no file {path}")
    try:
        rows = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise InvalidInput("outcomes", f"{path.name} is not a Parquet file: {error}") from None
    for column in ("query_id", "query", "model", "score", "cost_usd"):
        if column not in rows.column_names:
            raise InvalidInput("outcomes", f"{path.name} has no column {column!r}")
    return rows


def _grid(
    rows: pa.Table,
    column: str,
    at: tuple[NDArray[np.int64], NDArray[np.int64]],
    shape: tuple[int, int],
    path: Path,
) -> Array:
    grid = np.full(shape, np.nan)
    values = rows[column].to_numpy().astype(np.float64)
    limits = {"score": (0.0, 1.0)}.get(column, (0.0, np.inf))
    given = values[~np.isnan(values)]
    if not ((given >= limits[0]) & (given <= limits[1])).all():
        raise InvalidInput(
            "outcomes", f"{path.name}: {column} must lie within {limits[0]} and {limits[1]}"
        )
    grid[at] = values
    return grid
