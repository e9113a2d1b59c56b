"""Playing what `replay` was asked for: the policy, its rivals, and the dial."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from bandit.domain.policy import ContextSource
from bandit.evaluation.contenders import CONTEXT_FREE, ONLINE_KNN
from bandit.evaluation.dial import dial_of, frontier_of, settings_of, trial_at
from bandit.evaluation.peers import PEERS, available
from bandit.evaluation.phases import phases_of
from bandit.evaluation.regret import Measured, measured
from bandit.evaluation.replay import Played, play, present_at_first
from bandit.evaluation.runs import run_each
from bandit.evaluation.stream import stream_of
from bandit.evaluation.summary import Summary, summary_of
from bandit.evaluation.trial import Trial
from services.cli import output
from services.cli.options import connect
from services.cli.progress import progress
from services.cli.replay_task import Task
from services.replaying import TargetRouter

Passes = Sequence[Played]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """
    All passes of a replay, one per seed in each sequence.

    passes  of the policy itself
    rivals  of whoever played the same streams beside it
    dial    of the policy at other trade-offs, by where the dial was set
    """

    passes: Passes
    rivals: Mapping[str, Passes] = field(default_factory=lambda: MappingProxyType({}))
    dial: Mapping[float, Passes] = field(default_factory=lambda: MappingProxyType({}))


def rivals_of(task: Task) -> tuple[str, ...]:
    """The references that are played beside the policy, where they differ from it."""
    is_blind = task.trial.policy.context.source is ContextSource.NONE
    return (ONLINE_KNN,) if is_blind else (CONTEXT_FREE, ONLINE_KNN)


def peers_of(task: Task) -> tuple[str, ...]:
    """The published rivals that are installed and can play this; the others are named, with why."""
    trial, playing = task.trial, []
    installed = available()
    for name, peer in PEERS.items():
        refusal = (
            peer.refusal(trial.stream.tradeoffs, trial.budget)
            if name in installed
            else "is not installed: pip install 'bandit-router[peers]'"
        )
        if refusal is None:
            playing.append(name)
        else:
            output.show_note(f"{name} does not play: it {refusal}")
    return tuple(playing)


def play_all(
    task: Task,
    seeds: Sequence[int],
    *,
    rivals: Sequence[str],
    has_frontier: bool,
    target: str | None,
    is_quiet: bool,
) -> Run:
    """
    The policy in this machine's processes or through a running server; all else in processes.

    The rivals play the same streams: queries, trade-offs, delays and gaps.
    """
    trial = task.trial
    settings = settings_of(trial) if has_frontier else ()
    beside = [replace(trial, contender=name) for name in rivals]
    dialled = [trial_at(trial, setting) for setting in settings]
    trials = [*([trial] if target is None else []), *beside, *dialled]
    total = (len(trials) + (target is not None)) * len(seeds) * len(trial.table)
    with progress(total, "decisions", is_quiet=is_quiet) as advance:
        own = [] if target is None else [_through(target, task, seeds, advance)]
        passes = [*own, *run_each(trials, seeds, on_decisions=advance)]
    return Run(
        passes=passes[0],
        rivals=dict(zip(rivals, passes[1:], strict=False)),
        dial=dict(zip(settings, passes[1 + len(rivals) :], strict=True)),
    )


def _through(
    target: str, task: Task, seeds: Sequence[int], advance: Callable[[int], None]
) -> list[Played]:
    trial = task.trial
    passes = []
    with connect(target, source="replay") as client:
        for seed in seeds:
            router = TargetRouter(
                client,
                trial.table,
                trial.policy,
                trial.prices,
                vectors=task.vectors,
                seed=seed,
                models=present_at_first(trial.script, trial.table.models),
                budget=trial.budget,
                is_in_step=True,
            )
            try:
                passes.append(_played(trial, router, seed, advance))
            finally:
                router.archive()
    return passes


def _played(
    trial: Trial, router: TargetRouter, seed: int, advance: Callable[[int], None]
) -> Played:
    stream = stream_of(len(trial.table), trial.stream, seed=seed, warmup=trial.warmup)
    return play(
        trial.table,
        stream,
        router,
        wave=trial.wave,
        script=trial.script,
        prices=trial.prices,
        on_wave=advance,
    )


def summarised(task: Task, run: Run) -> Summary:
    """Means and deviations over the passes, beside the references."""
    trial = task.trial

    def measure(passes: Passes) -> list[Measured]:
        return [measured(trial.table, one, task.normaliser, budget=trial.budget) for one in passes]

    frontier = None
    if run.dial:
        dialled = [measure(passes) for passes in run.dial.values()]
        frontier = frontier_of(dial_of(trial), tuple(run.dial), dialled)
    return summary_of(
        measure(run.passes),
        rivals={name: measure(passes) for name, passes in run.rivals.items()},
        models=trial.table.models,
        dropped=trial.table.dropped,
        normaliser=task.normaliser,
        phases=phases_of(trial.table, run.passes, task.normaliser, budget=trial.budget),
        frontier=frontier,
    )
