"""The use cases of a caller who wants a choice."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol
from uuid import UUID

from bandit.domain.decision import Decision, DecisionId, Recorded, day_of
from bandit.domain.errors import (
    BanditError,
    BudgetExhausted,
    DecisionIdReused,
    InvalidInput,
    NoEligibleArm,
    Unavailable,
    Unconfirmed,
)
from bandit.domain.policy import Policy, PolicyId, WhenOffline
from bandit.domain.query import Query
from bandit.features.encoder import Encoder
from bandit.features.schema import contexts_of
from bandit.kernels.jit import Array
from bandit.policies.spending import Terms
from bandit.routing.budgets import Budgets
from bandit.routing.deciding import Asked, Decided, decide_each, scores_of, validate
from bandit.routing.ledger import Ledger, Wish
from bandit.routing.ports import DecisionBacklog
from bandit.routing.snapshot import Snapshot

PATIENCE_S = 0.2  # for what the database may add to a choice: a lease, an answer given before


class Snapshots(Protocol):
    """The state that is served now."""

    def get(self, policy: str) -> Snapshot:
        """The current snapshot of a policy; `UnknownPolicy`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A decision as the log holds it, with the policy that can name its arms."""

    recorded: Recorded
    policy: Policy


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """
    Sound queries of one policy with what every head says of them.

    positions  among all queries
    scores     (queries, arms, heads, 2), of the snapshot's arms
    """

    snapshot: Snapshot
    positions: Sequence[int]
    asked: Sequence[Asked]
    scores: Array


class Router:
    """
    Chooses arms and records the choices.

    patience_s  how long a ledger may take to answer before nobody waits for it, and the log to say
                what it answered before
    """

    def __init__(
        self,
        snapshots: Snapshots,
        log: DecisionBacklog,
        encoder: Encoder,
        ledger: Ledger,
        *,
        budgets: Budgets,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._snapshots = snapshots
        self._log = log
        self._encoder = encoder
        self._ledger = ledger
        self._budgets = budgets
        self._leasing: dict[PolicyId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._ledger_away_until = 0.0  # time of the event loop
        self._exchanges: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly
        self._clock = clock
        self._new_id = new_id
        self._patience_s = patience_s

    async def select(self, queries: Sequence[Query]) -> list[Answer | BanditError]:
        """Decide and record each query, in order; one that fails harms no other."""
        answers: list[Answer | BanditError] = [_UNANSWERED] * len(queries)
        try:
            for group in self._groups(queries, answers):
                await self._choose(group, answers)
        except BaseException:  # cancelled while waiting for a lease, too
            self._unbook(answers)
            raise
        made = [entry.recorded.decision for entry in answers if isinstance(entry, Answer)]
        try:
            recorded = iter(await self._log.record(made) if made else [])
        except BanditError:
            self._unbook(answers)  # refused as a whole; were it cancelled, it would be carried out
            raise
        for position, (query, entry) in enumerate(zip(queries, answers, strict=True)):
            if isinstance(entry, BanditError):
                continue
            held = next(recorded)
            if isinstance(held, Recorded):
                if held.replayed:
                    self._budgets.unbook(entry.policy, entry.recorded.decision)
                answers[position] = _checked(Answer(held, entry.policy), query)
                if _is_refused(answers[position]):
                    answers[position] = _unconfirmed()
            elif isinstance(held, BanditError):
                if not isinstance(held, Unavailable):  # after which it may be stored, or not
                    self._budgets.unbook(entry.policy, entry.recorded.decision)
                answers[position] = held
            else:
                raise held
        await self._recall(queries, answers)
        return answers

    def preview(self, query: Query) -> Answer:
        """What `select` would decide, recorded and booked nowhere."""
        answers: list[Answer | BanditError] = [_UNANSWERED]
        for group in self._groups([query], answers):
            decided = self._decided(group, 0, self._budgets.preview_terms)
            return Answer(Recorded(decided.decision, durable=False), group.snapshot.policy)
        (error,) = answers
        assert isinstance(error, BanditError)  # noqa: S101 - it is in no group
        raise error

    def _unbook(self, answers: Sequence[Answer | BanditError]) -> None:
        """Put back what was booked for decisions that nobody will record."""
        for entry in answers:
            if isinstance(entry, Answer):
                self._budgets.unbook(entry.policy, entry.recorded.decision)

    async def _choose(self, group: _Group, answers: list[Answer | BanditError]) -> None:
        """Decide the queries of a group, together unless each one's spending moves the next."""
        snapshot = group.snapshot
        policy = snapshot.policy
        if policy.settings.when_offline is WhenOffline.REFUSE and self._log.is_away:
            for position in group.positions:
                answers[position] = Unavailable("decisions cannot be stored")
            return
        if not self._budgets.is_free(policy, snapshot.arms):
            for row, position in enumerate(group.positions):
                answers[position] = await self._booked(group, row)
            return
        together = decide_each(snapshot, group.asked, group.scores)
        for position, each in zip(group.positions, together, strict=True):
            answers[position] = (
                Answer(Recorded(each.decision, durable=False), policy)
                if isinstance(each, Decided)
                else each
            )

    async def _booked(self, group: _Group, row: int) -> Answer | BanditError:
        """The decision on one query, booked; once more if a lease can bring what it lacked."""
        try:
            try:
                decided = self._decided(group, row, self._budgets.terms)
                lacking_usd = decided.lacking_usd
            except BudgetExhausted as error:
                lacking_usd = error.lacking_usd
            if lacking_usd > 0:
                await self._lease(group.snapshot, lacking_usd)
                decided = self._decided(group, row, self._budgets.terms)
        except BanditError as error:
            return error
        self._budgets.book(group.snapshot, decided)
        return Answer(Recorded(decided.decision, durable=False), group.snapshot.policy)

    def _decided(
        self, group: _Group, row: int, terms: Callable[[Snapshot, datetime], Terms]
    ) -> Decided:
        asked = replace(group.asked[row], at=self._clock())
        (decided,) = decide_each(
            group.snapshot,
            [asked],
            group.scores[row : row + 1],
            terms=terms(group.snapshot, asked.at),
        )
        if isinstance(decided, BanditError):
            raise decided
        return decided

    async def _lease(self, snapshot: Snapshot, lacking_usd: float) -> None:
        """Get more of the window's limit, if there is more; those who wait share one lease."""
        async with self._leasing[snapshot.policy.id]:
            if asyncio.get_running_loop().time() < self._ledger_away_until:
                return
            wish = self._budgets.wish_for(snapshot, lacking_usd, self._clock())
            if wish is None:
                return
            # A caller who is cancelled stops waiting; what the ledger grants is taken in hand.
            lease = asyncio.create_task(self._exchanged(wish))
            self._exchanges.add(lease)
            lease.add_done_callback(self._exchanges.discard)
            answered, _ = await asyncio.wait([lease], timeout=self._patience_s)
            if answered:
                lease.result()
            else:
                self._ledger_away_until = math.inf  # nobody else waits until it has answered

    async def _exchanged(self, wish: Wish) -> None:
        try:
            statements = await self._ledger.exchange([wish])
        except BaseException as error:
            self._ledger_away_until = asyncio.get_running_loop().time() + self._patience_s
            if isinstance(error, Unavailable):
                return  # then decided from what is in hand
            raise
        self._ledger_away_until = 0.0
        self._budgets.told([wish], statements, self._clock())

    def _groups(
        self, queries: Sequence[Query], answers: list[Answer | BanditError]
    ) -> Iterator[_Group]:
        """The queries that can be decided, policy by policy; what cannot has its answer at once."""
        groups: dict[str, list[int]] = {}
        for position, query in enumerate(queries):
            groups.setdefault(query.policy, []).append(position)
        for name, positions in groups.items():
            try:
                snapshot = self._snapshots.get(name)
            except BanditError as error:
                for position in positions:
                    answers[position] = error
                continue
            sound = []
            for position in positions:
                problem = _problem(snapshot, queries[position])
                if problem is None:
                    sound.append(position)
                else:
                    answers[position] = problem
            if sound:
                yield self._group(snapshot, sound, [queries[position] for position in sound])

    def _group(
        self, snapshot: Snapshot, positions: Sequence[int], queries: Sequence[Query]
    ) -> _Group:
        contexts = contexts_of(snapshot.schema, queries, self._encoder)
        at = self._clock()
        asked = [
            Asked(query, context, DecisionId(query.decision_id or self._new_id()), at)
            for query, context in zip(queries, contexts, strict=True)
        ]
        return _Group(snapshot, positions, asked, scores_of(snapshot, asked))

    async def _recall(self, queries: Sequence[Query], answers: list[Answer | BanditError]) -> None:
        """An id answered before gets that answer, even where none could be made now."""
        failed: dict[str, list[int]] = {}
        for position, (query, answer) in enumerate(zip(queries, answers, strict=True)):
            if query.decision_id is not None and isinstance(answer, _REFUSALS):
                failed.setdefault(query.policy, []).append(position)
        for name, positions in failed.items():
            policy = self._snapshots.get(name).policy
            ids = {DecisionId(i) for p in positions if (i := queries[p].decision_id) is not None}
            waiting = self._log.waiting(policy.id, ids)
            stored = await self._found(policy.id, ids - waiting.keys())
            for position in positions:
                id_ = DecisionId(_id_of(queries[position]))
                decision = stored.get(id_) or waiting.get(id_)
                if decision and decision.fingerprint == queries[position].fingerprint:
                    recorded = Recorded(decision, replayed=True, durable=id_ in stored)
                    answer = Answer(recorded, policy)
                    answers[position] = _unconfirmed() if _is_refused(answer) else answer

    async def _found(
        self, policy_id: PolicyId, ids: Collection[DecisionId]
    ) -> dict[DecisionId, Decision]:
        """The stored decisions among `ids`, as far as that can be told soon."""
        if not ids or self._log.is_away:
            return {}
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(self._patience_s):
                return await self._log.find(policy_id, ids)
        return {}


# What may be answered all the same, where it was before.
_REFUSALS = (NoEligibleArm, BudgetExhausted, InvalidInput)
# Stands for an answer until there is one.
_UNANSWERED = Unavailable("the service is stopping")


def _is_refused(answer: Answer | BanditError) -> bool:
    """Whether the policy would rather give no answer than this one."""
    return (
        isinstance(answer, Answer)
        and not answer.recorded.durable
        and answer.policy.settings.when_offline is WhenOffline.REFUSE
    )


def _unconfirmed() -> Unconfirmed:
    return Unconfirmed("it is not confirmed that the decision is stored")


def _id_of(query: Query) -> UUID:
    assert query.decision_id is not None  # noqa: S101 - the caller has looked
    return query.decision_id


def _problem(snapshot: Snapshot, query: Query) -> BanditError | None:
    """What keeps a query from being answered by this policy."""
    try:
        validate(snapshot, query)
        if query.decision_id is not None:
            day_of(query.decision_id)
    except BanditError as error:
        return error
    return None


def _checked(answer: Answer, query: Query) -> Answer | BanditError:
    if answer.recorded.decision.fingerprint != query.fingerprint:
        return DecisionIdReused()
    return answer
