"""Many seeds of one replay, in parallel processes."""

import copyreg
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandit.domain.policy import PolicySettings
from bandit.domain.price import Price
from bandit.evaluation.in_process import InProcessRouter
from bandit.evaluation.replay import Played, play
from bandit.evaluation.stream import StreamSettings, stream_of
from bandit.evaluation.table import OutcomeTable


def _read_only(items: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(items)


# Frozen settings hold read-only mappings, which Python does not send between processes by itself.
copyreg.pickle(MappingProxyType, lambda proxy: (_read_only, (dict(proxy),)))


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """
    Everything that a replay depends on besides the seed.

    contexts  (queries, features) of the table
    warmup    the first so many rows are played first and not measured
    wave      decisions made from one learned state
    """

    table: OutcomeTable
    contexts: NDArray[np.float32]
    policy: PolicySettings
    prices: Mapping[str, Price]
    stream: StreamSettings
    warmup: int = 0
    wave: int = 1


def run(trial: Trial, seed: int) -> Played:
    """One pass in this process."""
    stream = stream_of(len(trial.table), trial.stream, seed=seed, warmup=trial.warmup)
    router = InProcessRouter(trial.table, trial.contexts, trial.policy, trial.prices, seed=seed)
    return play(trial.table, stream, router, wave=trial.wave)


def run_all(
    trial: Trial,
    seeds: Sequence[int],
    *,
    on_pass: Callable[[], None] = lambda: None,
    processes: int | None = None,
) -> list[Played]:
    """
    A pass per seed, in the order of `seeds`; `on_pass` is called after each.

    processes  None: one per core, as far as there are seeds
    """
    count = min(len(seeds), processes or os.cpu_count() or 1)
    if count == 1:
        passes = []
        for seed in seeds:
            passes.append(run(trial, seed))
            on_pass()
        return passes
    # A fork server that has compiled the kernels once; forking this process, with its threads,
    # would not be safe.
    method = multiprocessing.get_context("forkserver")
    method.set_forkserver_preload(["bandit.evaluation.runs"])
    with ProcessPoolExecutor(count, mp_context=method, initializer=_adopt, initargs=(trial,)) as it:
        results = []
        for played in it.map(_run_adopted, seeds):
            results.append(played)
            on_pass()
        return results


_adopted: Trial | None = None


def _adopt(trial: Trial) -> None:
    """Receive the trial once per process instead of once per seed."""
    global _adopted
    _adopted = trial


def _run_adopted(seed: int) -> Played:
    assert _adopted is not None  # noqa: S101 - the pool's initializer has run
    return run(_adopted, seed)
