"""`bandit-router snapshots`, `rebuild`, `rollback`: the learned state as it was, or made anew."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import DEFAULT_TARGET, Json, PolicyName, Target, connect
from services.cli.output import amount, escaped, show, show_json, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from bandit.client import Rebuilt, RebuiltHead, RebuiltSide

_MOST_TOLD = 10
_ROUNDING = 1e-9

LongTimeout = Annotated[
    float, typer.Option("--timeout", min=0.001, metavar="S", help="Seconds that it may take.")
]
AcceptLoss = Annotated[
    bool,
    typer.Option("--accept-loss", help="Forget what the log no longer holds, instead of refusing."),
]


def snapshots(policy: PolicyName, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """
    List the learned states that are kept of a policy, newest first.

    One is taken every hour in which something was learned, and before every change of arms or
    settings, every rebuild and every rollback.

    \b
    bandit-router snapshots chat
    bandit-router snapshots chat --json
    """
    with connect(target) as client:
        found = client.list_snapshots(policy)
    if as_json:
        show_json(found)
        return
    numbers = ["id", "learned", "outcomes", "pending"]
    listed = table("", ["id", "taken", "reason", *numbers[1:]], numbers=numbers)
    for snapshot in found:
        listed.add_row(
            str(snapshot.id),
            f"{snapshot.at.astimezone():%Y-%m-%d %H:%M:%S}",
            _reason(snapshot.reason),
            str(snapshot.learned_version),
            str(snapshot.observations),
            str(snapshot.pending_outcomes),
        )
    show(listed if found else "none is kept yet")


def rebuild(
    policy: PolicyName,
    until: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"],
            help="Leave out what was received since then; local time unless an offset is given.",
        ),
    ] = None,
    without_source: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Leave out what this source reported; repeat for more."),
    ] = None,
    promote: Annotated[
        bool,
        typer.Option("--promote/--dry-run", help="Put it in place, or only show it."),
    ] = False,
    accept_loss: AcceptLoss = False,
    target: Target = DEFAULT_TARGET,
    timeout: LongTimeout = 3600.0,
    as_json: Json = False,
) -> None:
    """
    Make the learned state of a policy anew from its log, and show what would change.

    \b
    bandit-router rebuild chat
    bandit-router rebuild chat --without-source nightly-judge
    bandit-router rebuild chat --without-source nightly-judge --promote
    bandit-router rebuild chat --until 2030-01-31T12:00:00+0000 --promote
    """
    with connect(target, timeout_s=timeout) as client:
        result = client.rebuild(
            policy,
            until=until,
            without_sources=without_source or [],
            promote=promote,
            accept_loss=accept_loss,
        )
    if as_json:
        show_json(result)
    else:
        _show(result)


def rollback(
    policy: PolicyName,
    snapshot: Annotated[int, typer.Argument(metavar="SNAPSHOT", help="Its id, see `snapshots`.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change.")
    ] = False,
    accept_loss: AcceptLoss = False,
    target: Target = DEFAULT_TARGET,
    timeout: LongTimeout = 3600.0,
    as_json: Json = False,
) -> None:
    """
    Go back to a snapshot of a policy's learned state.

    Outcomes received after it count no longer; alarms and exclusions are as they were then.

    \b
    bandit-router rollback chat 12 --dry-run
    bandit-router rollback chat 12
    """
    with connect(target, timeout_s=timeout) as client:
        result = client.rollback(policy, snapshot, dry_run=dry_run, accept_loss=accept_loss)
    if as_json:
        show_json(result)
        return
    _show(result)
    apart = [head for head in result.against_snapshot if not _is_same(head)]
    if apart:
        pending = 0 if result.snapshot is None else result.snapshot.pending_outcomes
        show(
            f"[yellow]not quite the snapshot[/yellow]: {len(apart)} of "
            f"{len(result.against_snapshot)} differ; {pending} outcomes were in line when it was "
            "taken, and others on their way; they count here"
        )
    elif result.against_snapshot:
        show("the same as the snapshot, to rounding")


def _show(result: "Rebuilt") -> None:
    show(_table(result.heads))
    show(
        f"{result.decisions} decisions in the log, {result.values} values that count, "
        f"{result.changed} of them other than before or no longer, "
        f"{result.rows_left_out} outcome rows left out"
    )
    if result.alarms_left_out:
        told = ", ".join(
            f"{escaped(alarm.arm)}/{alarm.objective.label}"
            + ("" if alarm.raised_at is None else f" ({alarm.raised_at.astimezone():%m-%d %H:%M})")
            for alarm in result.alarms_left_out[:_MOST_TOLD]
        )
        show(f"[yellow]{len(result.alarms_left_out)} alarms left out[/yellow]: {told}")
    for misfit in result.misfits[:_MOST_TOLD]:
        show(f"[yellow]cannot be learned[/yellow]: {misfit.kind} {misfit.key}: {misfit.reason}")
    if result.misfit_count > _MOST_TOLD:
        show(f"and {result.misfit_count - _MOST_TOLD} more")
    lost = sum(head.lost for head in result.heads)
    if lost:
        show(
            f"[bold red]{lost} outcomes that were learned are no longer in the log[/bold red]; "
            "promoting this forgets them"
        )
    if result.learned_version is None:
        show("nothing was changed")
        return
    undo = (
        ""
        if result.snapshot_before is None
        else f"; to undo: bandit-router rollback {result.policy} {result.snapshot_before}"
    )
    show(f"[green]promoted[/green] as learned version {result.learned_version}{undo}")


def _table(heads: "Sequence[RebuiltHead]") -> "Table":
    numbers = ["outcomes", "weight", "mean", "difference", "gone"]
    listed = table("", ["arm", "objective", *numbers], numbers=numbers)
    for head in heads:
        before, after = head.before, head.after
        listed.add_row(
            escaped(head.arm),
            head.objective.label,
            _moved(str(before.observations), str(after.observations)),
            _moved(_amount(before, before.weight), _amount(after, after.weight)),
            _moved(_amount(before, before.mean), _amount(after, after.mean)),
            "same" if _is_same(head) else amount(head.difference),
            str(head.lost) if head.lost else "",
        )
    return listed


def _moved(before: str, after: str) -> str:
    return after if before == after else f"{before} → {after}"


def _amount(side: "RebuiltSide", value: float | None) -> str:
    return "[red]unusable[/red]" if side.fault else amount(value)


def _is_same(head: "RebuiltHead") -> bool:
    """Whether the sums are equal but for rounding."""
    return head.difference is not None and head.difference <= _ROUNDING * (1 + head.scale)


def _reason(reason: str) -> str:
    return reason if reason == "scheduled" else f"before {escaped(reason.replace('_', ' '))}"
