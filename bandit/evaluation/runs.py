"""Many passes of one or several replays, in parallel processes."""

import copyreg
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from multiprocessing import connection
from multiprocessing.sharedctypes import Synchronized
from types import MappingProxyType
from typing import Any

from bandit.evaluation.contenders import router_of
from bandit.evaluation.replay import Played, play
from bandit.evaluation.stream import stream_of
from bandit.evaluation.trial import Trial

_LOOK_S = 0.1

OnDecisions = Callable[[int], None]


def _nobody(decisions: int) -> None:
    """Whoever is not told of progress."""


def _read_only(items: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(items)


# Frozen settings hold read-only mappings, which Python does not send between processes by itself.
copyreg.pickle(MappingProxyType, lambda proxy: (_read_only, (dict(proxy),)))


def run(trial: Trial, seed: int, *, on_decisions: OnDecisions = _nobody) -> Played:
    """One pass in this process."""
    stream = stream_of(len(trial.table), trial.stream, seed=seed, warmup=trial.warmup)
    return play(
        trial.table,
        stream,
        router_of(trial, seed=seed),
        wave=trial.wave,
        script=trial.script,
        prices=trial.prices,
        on_wave=on_decisions,
    )


def run_all(
    trial: Trial,
    seeds: Sequence[int],
    *,
    on_decisions: OnDecisions = _nobody,
    processes: int | None = None,
) -> list[Played]:
    """A pass per seed, in the order of `seeds`; for the rest see `run_each`."""
    return run_each([trial], seeds, on_decisions=on_decisions, processes=processes)[0]


def run_each(
    trials: Sequence[Trial],
    seeds: Sequence[int],
    *,
    on_decisions: OnDecisions = _nobody,
    processes: int | None = None,
) -> list[list[Played]]:
    """
    For every trial a pass per seed, in the order of both.

    on_decisions  is told, as they are made, of decisions of whichever pass
    processes     None: one per core, as far as there are passes
    """
    jobs = [(number, seed) for number in range(len(trials)) for seed in seeds]
    count = min(len(jobs), processes or os.cpu_count() or 1)
    if count <= 1:
        played = [run(trials[number], seed, on_decisions=on_decisions) for number, seed in jobs]
    else:
        played = _in_parallel(trials, jobs, count, on_decisions)
    return [played[first : first + len(seeds)] for first in range(0, len(played), len(seeds))]


def _in_parallel(
    trials: Sequence[Trial], jobs: Sequence[tuple[int, int]], count: int, told: OnDecisions
) -> list[Played]:
    # A fork server that has compiled the kernels once; forking this process, with its threads,
    # would not be safe.
    method = multiprocessing.get_context("forkserver")
    method.set_forkserver_preload(["bandit.evaluation.runs"])
    decided = method.Value("q", 0)
    with ProcessPoolExecutor(
        count, mp_context=method, initializer=_adopt, initargs=(tuple(trials), decided)
    ) as pool:
        futures = [pool.submit(_run_adopted, number, seed) for number, seed in jobs]
        try:
            _watch(futures, decided, told)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]


def _watch(
    futures: Sequence[Future[Played]], decided: "Synchronized[int]", told: OnDecisions
) -> None:
    """Pass progress on until all is done; the first failure ends it."""
    so_far, waiting = 0, set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=_LOOK_S)
        now = decided.value
        if now > so_far:
            told(now - so_far)
        so_far = now
        for future in done:
            future.result()


# What this process was sent when it began: once, instead of with every pass.
_trials: tuple[Trial, ...] = ()
_decided: "Synchronized[int] | None" = None


def _adopt(trials: tuple[Trial, ...], decided: "Synchronized[int]") -> None:
    global _trials, _decided
    _trials, _decided = trials, decided
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A replay that is killed takes its passes with it."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - this process is a worker
    connection.wait([parent.sentinel])
    os._exit(1)


def _count(decisions: int) -> None:
    if _decided is not None:
        with _decided.get_lock():
            _decided.value += decisions


def _run_adopted(number: int, seed: int) -> Played:
    return run(_trials[number], seed, on_decisions=_count)
