"""The real prompts and outcomes inside the `paretobandit` package on PyPI (Apache-2.0)."""

import json
from importlib import resources
from typing import Any

import numpy as np

from bandit.domain.errors import Unavailable
from bandit.domain.price import Price
from bandit.domain.query import CHARACTERS_PER_TOKEN
from bandit.evaluation.table import OutcomeTable

_FILES = ("val.jsonl", "test_holdout.jsonl")


def wheel_table() -> tuple[OutcomeTable, dict[str, Price]]:
    """
    What three models scored and cost on 3,609 prompts, and their list prices.

    Raises `Unavailable` if the package is not installed.
    """
    try:
        package = resources.files("pareto_bandit")
    except ModuleNotFoundError:
        raise Unavailable(
            "the prompts are not installed: pip install 'bandit-router[demo]'"
        ) from None
    catalog = json.loads(package.joinpath("config", "models.json").read_text(encoding="utf-8"))
    prices = {
        model["model_id"]: Price(model["input_cost_per_m"], model["output_cost_per_m"])
        for model in catalog["models"]
    }
    examples = package.joinpath("data", "examples")
    rows: list[dict[str, Any]] = []
    for name in _FILES:
        # Split at line feeds alone: prompts contain other line separators.
        lines = examples.joinpath(name).read_text(encoding="utf-8").strip().split("\n")
        rows.extend(json.loads(line) for line in lines)
    models = tuple(sorted(rows[0]["arms"]))
    texts = tuple(row["prompt"] for row in rows)
    table = OutcomeTable(
        query_ids=tuple(f"q{number}" for number in range(len(rows))),
        texts=texts,
        models=models,
        quality=np.array([[row["arms"][model]["reward"] for model in models] for row in rows]),
        cost_usd=np.array([[row["arms"][model]["cost"] for model in models] for row in rows]),
        latency_ms=None,
        request_tokens=np.array([max(1, len(text) // CHARACTERS_PER_TOKEN) for text in texts]),
    )
    return table, {model: prices[model] for model in models}
