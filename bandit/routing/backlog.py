"""The decisions that are answered, or soon will be, and of which it is not known that they last."""

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from bandit.domain.decision import Decision, DecisionId, Recorded
from bandit.domain.errors import Unavailable
from bandit.domain.policy import PolicyId
from bandit.routing.ports import DecisionLog

MOST_ROWS = 256  # written together
SHORTEST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 0.5
_OVERHEAD_BYTES = 2048  # of a decision beside its arrays, generously: measured about 1 kB

_Key = tuple[int, int]  # policy and id: numbers are quicker to find than what holds them


@dataclass(frozen=True, slots=True)
class Counts:
    """
    What became of decisions that were answered before they were stored, since the start.

    unconfirmed  answered so
    stored       written later, or found to have been written
    conflicts    of an id under which another decision was stored: that one is kept
    dropped      the oldest, when there was no room for more
    refused      that the log cannot hold
    """

    unconfirmed: int = 0
    stored: int = 0
    conflicts: int = 0
    dropped: int = 0
    refused: int = 0

    @property
    def waiting(self) -> int:
        """How many are still to be written."""
        return self.unconfirmed - self.stored - self.conflicts - self.dropped - self.refused

    def since(self, before: "Counts") -> "Counts":
        """What came after."""
        return Counts(
            self.unconfirmed - before.unconfirmed,
            self.stored - before.stored,
            self.conflicts - before.conflicts,
            self.dropped - before.dropped,
            self.refused - before.refused,
        )


class Witness(Protocol):
    """Who is told of an outage."""

    def began(self, error: Exception) -> None:
        """Decisions are answered unconfirmed from now on."""
        ...

    def ended(self, counts: Counts) -> None:
        """All of them are written, or given up, and new ones are confirmed again."""
        ...


@dataclass(slots=True, eq=False)
class _Call:
    """A caller who waits for so many entries, until `over`."""

    missing: int
    over: asyncio.Future[None]

    def end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


@dataclass(slots=True, eq=False)
class _Entry:
    """A decision in line; `is_told`: a caller has gone away with it."""

    decision: Decision
    bytes: int
    answer: Recorded | Exception | None = None
    calls: tuple[_Call, ...] = ()
    attempts: int = 0
    is_told: bool = False

    @property
    def key(self) -> _Key:
        return self.decision.policy_id.int, self.decision.id.int


class Backlog:
    """
    Implements `DecisionBacklog` before a log that may be slow or away.

    There is one line, in the order in which decisions were made.  One task writes its head, a group
    at a time; a group that could not be written goes back to the head.  So the log receives the
    decisions in their order, whatever happens in between, and an id is in line once.

    commit_wait_s   how long a caller waits to be told that the decision is stored
    most_decisions  in line, beside the group that is being written
    most_bytes      of all decisions held, roughly
    """

    def __init__(
        self,
        log: DecisionLog,
        witness: Witness,
        *,
        commit_wait_s: float,
        most_decisions: int,
        most_bytes: int,
    ) -> None:
        self._log = log
        self._witness = witness
        self._commit_wait_s = commit_wait_s
        self._most_decisions = most_decisions
        self._most_bytes = most_bytes
        self._line: deque[_Entry] = deque()
        self._held: dict[_Key, _Entry] = {}  # in line or being written
        self._bytes = 0
        self._writer: asyncio.Task[None] | None = None
        self._urged = asyncio.Event()
        self._is_closed = False
        self._is_away = False
        self._late: asyncio.TimerHandle | None = None
        self._error: Exception = Unavailable("the database does not confirm in time")
        self._counts = Counts()
        self._counts_before: Counts | None = None  # of the outage that is told of

    # What callers see

    @property
    def is_away(self) -> bool:
        """Whether the log has not confirmed anything for so long that nobody waits for it."""
        return self._is_away

    @property
    def counts(self) -> Counts:
        """What became of the decisions that were answered unconfirmed."""
        return self._counts

    @property
    def depth(self) -> int:
        """How many decisions are in line or being written."""
        return len(self._held)

    @property
    def oldest(self) -> Decision | None:
        """The first of them; None: there is none."""
        first = next(iter(self._held.values()), None)
        return None if first is None else first.decision

    async def record(self, decisions: Sequence[Decision]) -> Sequence[Recorded | Exception]:
        """See `DecisionLog`; what is not confirmed in time comes back as not durable."""
        entered = [self._entered(decision) for decision in decisions]
        if not self._is_away:
            await self._answered([entry for entry, _ in entered if entry.answer is None])
        return [self._answer(entry, is_first=is_first) for entry, is_first in entered]

    async def find(
        self, policy_id: PolicyId, ids: Collection[DecisionId]
    ) -> dict[DecisionId, Decision]:
        """The stored decisions among `ids`."""
        return await self._log.find(policy_id, ids)

    def waiting(
        self, policy_id: PolicyId, ids: Collection[DecisionId]
    ) -> dict[DecisionId, Decision]:
        """The decisions among `ids` that are not known to be stored."""
        return {
            id_: entry.decision
            for id_ in ids
            if (entry := self._held.get((policy_id.int, id_.int))) is not None
        }

    async def _answered(self, entries: Sequence[_Entry]) -> None:
        """Wait for the answers, as long as callers do; what is in line stays there."""
        if not entries:
            return
        loop = asyncio.get_running_loop()
        call = _Call(len(entries), loop.create_future())
        for entry in entries:
            entry.calls += (call,)
        timer = loop.call_later(self._commit_wait_s, call.end)
        try:
            await call.over
        finally:
            timer.cancel()

    # The end of the process

    async def flush(self, *, within_s: float) -> None:
        """Write what is in line, as far as it can be done in that time."""
        if self._writer is not None and not self._writer.done():
            self._urged.set()  # do not wait for the next attempt
            await asyncio.wait([self._writer], timeout=within_s)

    async def close(self) -> int:
        """Give up what is still in line; how many decisions that are."""
        self._is_closed = True
        if self._late is not None:
            self._late.cancel()
        if self._writer is not None and not self._writer.done():
            self._writer.cancel()
            await asyncio.wait([self._writer])
        lost = len(self._held)
        for entry in list(self._held.values()):
            self._drop(entry)
        self._line.clear()
        return lost

    # The line

    def _entered(self, decision: Decision) -> tuple[_Entry, bool]:
        """The entry of that id, and whether it is this very decision's."""
        entry = _Entry(decision, _size(decision))
        key = entry.key
        held = self._held.get(key)
        if held is not None:
            return held, False
        if self._is_closed:
            entry.answer = Unavailable("the service is stopping")
            return entry, True
        self._held[key] = entry
        self._bytes += entry.bytes
        self._line.append(entry)
        self._make_room()
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write())
        return entry, True

    def _answer(self, entry: _Entry, *, is_first: bool) -> Recorded | Exception:
        answer = entry.answer
        if answer is None:
            if not entry.is_told:
                entry.is_told = True
                self._counts = replace(self._counts, unconfirmed=self._counts.unconfirmed + 1)
            return Recorded(entry.decision, replayed=not is_first, durable=False)
        if isinstance(answer, Recorded) and not is_first:
            return replace(answer, replayed=True)
        return answer

    def _make_room(self) -> None:
        while self._line and (
            len(self._line) > self._most_decisions or self._bytes > self._most_bytes
        ):
            self._drop(self._line.popleft())

    def _drop(self, entry: _Entry) -> None:
        self._leave(entry, Recorded(entry.decision, durable=False))
        if not entry.is_told:
            self._counts = replace(self._counts, unconfirmed=self._counts.unconfirmed + 1)
        self._counts = replace(self._counts, dropped=self._counts.dropped + 1)

    def _leave(self, entry: _Entry, answer: Recorded | Exception) -> None:
        del self._held[entry.key]
        self._bytes -= entry.bytes
        entry.answer = answer
        for call in entry.calls:
            call.missing -= 1
            if not call.missing:
                call.end()
        entry.calls = ()

    # Writing

    async def _write(self) -> None:
        pause_s = SHORTEST_PAUSE_S
        while self._line:
            group = [self._line.popleft() for _ in range(min(MOST_ROWS, len(self._line)))]
            self._expect_soon()
            answers: Sequence[Recorded | Exception] = []
            try:
                answers = await self._written(group)
            finally:
                missing = [self._error] * (len(group) - len(answers))  # cancelled by `close`
                has_moved = self._settle(group, [*answers, *missing])
            if has_moved:
                pause_s = SHORTEST_PAUSE_S
                continue
            self._urged.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._urged.wait()
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _written(self, group: Sequence[_Entry]) -> Sequence[Recorded | Exception]:
        for entry in group:
            entry.attempts += 1
        try:
            return await self._log.record([entry.decision for entry in group])
        except Exception as error:
            # Whatever it is, it is their answer, and those behind them are not held up.
            return [error] * len(group)

    def _settle(self, group: Sequence[_Entry], answers: Sequence[Recorded | Exception]) -> bool:
        """Let go who has an answer, put the others back in their place; whether any has left."""
        again = []
        for entry, answer in zip(group, answers, strict=True):
            if isinstance(answer, Unavailable):
                self._error = answer
                again.append(entry)
            else:
                self._close_entry(entry, answer)
        self._line.extendleft(reversed(again))
        self._make_room()
        has_moved = len(again) < len(group)
        if has_moved:
            self._is_confirmed()
        return has_moved

    def _close_entry(self, entry: _Entry, answer: Recorded | Exception) -> None:
        is_other = False
        if isinstance(answer, Recorded) and answer.replayed:
            if entry.attempts > 1 and _is_same(answer.decision, entry.decision):
                answer = Recorded(entry.decision)  # by an attempt that was not confirmed
            else:
                is_other = True
        if entry.is_told:
            counts = self._counts
            if is_other:
                self._counts = replace(counts, conflicts=counts.conflicts + 1)
            elif isinstance(answer, Recorded):
                self._counts = replace(counts, stored=counts.stored + 1)
            else:
                self._counts = replace(counts, refused=counts.refused + 1)
        self._leave(entry, answer)

    # How the log is

    def _expect_soon(self) -> None:
        """From the first attempt on that is not confirmed in time, the log is away."""
        if self._late is None and not self._is_away:
            loop = asyncio.get_running_loop()
            self._late = loop.call_later(self._commit_wait_s, self._is_late)

    def _is_late(self) -> None:
        self._late = None
        self._is_away = True
        if self._counts_before is None:
            self._counts_before = self._counts
            self._witness.began(self._error)

    def _is_confirmed(self) -> None:
        """Callers wait again, those too that come while a long line is written."""
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._is_away = False
        self._error = Unavailable("the database does not confirm in time")
        if self._counts_before is not None and self._counts.waiting == 0:
            counts, self._counts_before = self._counts.since(self._counts_before), None
            self._witness.ended(counts)


def _is_same(stored: Decision, made: Decision) -> bool:
    """Whether what is stored is what was made here, and no other answer to the same id."""
    return (stored.at, stored.arm_id, stored.propensity, stored.fingerprint) == (
        made.at,
        made.arm_id,
        made.propensity,
        made.fingerprint,
    )


def _size(decision: Decision) -> int:
    size = _OVERHEAD_BYTES + decision.context.nbytes + decision.candidates.nbytes
    if decision.labels:
        size += 2 * sum(len(key) + len(value) for key, value in decision.labels.items())
    return size
