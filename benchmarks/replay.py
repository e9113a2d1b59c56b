"""`python -m benchmarks.replay`: one seed of a replay on a made-up table, part by part."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from bandit.domain.policy import PolicySettings
from bandit.domain.preference import Preference
from bandit.domain.price import Price
from bandit.evaluation.contenders import CONTENDERS
from bandit.evaluation.in_process import table_contexts
from bandit.evaluation.regret import measured
from bandit.evaluation.runs import run
from bandit.evaluation.stream import StreamSettings
from bandit.evaluation.table import OutcomeTable
from bandit.evaluation.trial import Trial
from bandit.features.encoder import WordLlamaEncoder
from bandit.policies.utility import Normaliser, cost_range_of

T = TypeVar("T")

QUERIES, MODELS, WORDS = 10_000, 10, 40
_WORDS = [
    *("prove", "that", "the", "sum", "of", "two", "primes", "is", "even", "write", "function"),
    *("in", "python", "sorts", "names", "translate", "letter", "French", "1500", "explain?"),
]


def made_up(queries: int, models: int, *, seed: int = 0) -> tuple[OutcomeTable, dict[str, Price]]:
    """Texts of common words; dearer models are better, on long texts all the more."""
    random = np.random.default_rng(seed)
    lengths = random.integers(5, 2 * WORDS, size=queries)
    texts = tuple(" ".join(random.choice(_WORDS, size=length)) for length in lengths)
    tokens = np.array([max(1, len(text) // 4) for text in texts])
    names = tuple(f"model-{number}" for number in range(models))
    usd = np.geomspace(0.1, 10.0, models)
    prices = {
        name: Price(float(price), 4 * float(price)) for name, price in zip(names, usd, strict=True)
    }
    hardness = (lengths / (2 * WORDS))[:, None]
    skill = np.linspace(0.6, 0.95, models)
    noise = 0.1 * random.normal(size=(queries, models))
    quality = np.clip(skill - 0.3 * hardness * (1 - skill) + noise, 0, 1)
    spent = random.lognormal(0.0, 0.5, size=(queries, models))
    cost = usd * (tokens[:, None] + 800 * spent) / 1e6
    table = OutcomeTable(
        query_ids=tuple(f"q{row}" for row in range(queries)),
        texts=texts,
        models=names,
        quality=quality,
        cost_usd=cost,
        latency_ms=None,
        request_tokens=tokens,
    )
    return table, prices


def main() -> None:
    """Print processor seconds: the machine may be shared."""
    table, prices = made_up(QUERIES, MODELS)
    cost_range = cost_range_of(prices.values(), input_tokens=float(table.request_tokens.mean()))
    settings = PolicySettings(cost_range=cost_range)
    encoder = WordLlamaEncoder()
    print(f"{QUERIES:,} queries x {MODELS} models, one seed, seconds of one processor")
    contexts = _timed("contexts", lambda: table_contexts(table, settings, encoder, None))
    stream = StreamSettings(tradeoffs=(Preference(0.8, 0.2),))
    trial = Trial(table, contexts, settings, prices, stream)
    normaliser = Normaliser(cost_range, settings.latency_range_ms)
    for name in CONTENDERS:
        played = _timed(name, lambda name=name: run(replace(trial, contender=name), 0))
        _timed("  measured", lambda played=played: measured(table, played, normaliser))


def _timed(name: str, work: Callable[[], T]) -> T:
    started, wall = time.process_time(), time.perf_counter()
    result = work()
    spent = time.process_time() - started
    print(f"{name:16} {spent:7.2f}   (wall {time.perf_counter() - wall:.2f})")
    return result


if __name__ == "__main__":
    main()
