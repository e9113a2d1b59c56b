"""The use cases of a caller who wants a choice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from bandit.domain.decision import DecisionId, Recorded, day_of
from bandit.domain.errors import (
    BanditError,
    DecisionIdReused,
    InvalidInput,
    NoEligibleArm,
    Unavailable,
)
from bandit.domain.policy import Policy
from bandit.domain.query import Query
from bandit.features.encoder import Encoder
from bandit.features.schema import contexts_of
from bandit.routing.deciding import decide_scored, scores_of, validate
from bandit.routing.ports import DecisionLog
from bandit.routing.snapshot import Snapshot


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


class Router:
    """Chooses arms and records the choices."""

    def __init__(
        self,
        snapshots: Snapshots,
        log: DecisionLog,
        encoder: Encoder,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._snapshots = snapshots
        self._log = log
        self._encoder = encoder
        self._clock = clock
        self._new_id = new_id

    async def select(self, queries: Sequence[Query]) -> list[Answer | BanditError]:
        """Decide and record each query, in order; one that fails harms no other."""
        made = self._decided(queries)
        decisions = [entry.recorded.decision for entry in made if isinstance(entry, Answer)]
        recorded = iter(await self._log.record(decisions) if decisions else [])
        answers: list[Answer | BanditError] = []
        for query, entry in zip(queries, made, strict=True):
            if isinstance(entry, BanditError):
                answers.append(entry)
                continue
            held = next(recorded)
            if isinstance(held, Recorded):
                answers.append(_checked(Answer(held, entry.policy), query))
            elif isinstance(held, BanditError):
                answers.append(held)
            else:
                raise held
        await self._recall(queries, answers)
        return answers

    def preview(self, query: Query) -> Answer:
        """What `select` would decide, recorded nowhere."""
        (answer,) = self._decided([query])
        if isinstance(answer, BanditError):
            raise answer
        return answer

    def _decided(self, queries: Sequence[Query]) -> list[Answer | BanditError]:
        """Decide queries; those of one policy are encoded and scored together."""
        answers: list[Answer | BanditError | None] = [None] * len(queries)
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
            group = [queries[position] for position in positions]
            for position, answer in zip(positions, self._decided_by(snapshot, group), strict=True):
                answers[position] = answer
        return [answer for answer in answers if answer is not None]

    def _decided_by(
        self, snapshot: Snapshot, queries: Sequence[Query]
    ) -> list[Answer | BanditError]:
        problems = [_problem(snapshot, query) for query in queries]
        sound = [q for q, problem in zip(queries, problems, strict=True) if problem is None]
        if not sound:
            return [problem for problem in problems if problem is not None]
        contexts = contexts_of(snapshot.schema, sound, self._encoder)
        rows = iter(zip(contexts, scores_of(snapshot, contexts), strict=True))
        answers: list[Answer | BanditError] = []
        for query, problem in zip(queries, problems, strict=True):
            if problem is not None:
                answers.append(problem)
                continue
            context, scores = next(rows)
            decision_id = DecisionId(query.decision_id or self._new_id())
            try:
                decision = decide_scored(
                    snapshot, query, context, scores, decision_id=decision_id, at=self._clock()
                )
            except BanditError as error:
                answers.append(error)
                continue
            answers.append(Answer(Recorded(decision, durable=False), snapshot.policy))
        return answers

    async def _recall(self, queries: Sequence[Query], answers: list[Answer | BanditError]) -> None:
        """An id answered before gets that answer, even where none could be made now."""
        failed: dict[str, list[int]] = {}
        for position, (query, answer) in enumerate(zip(queries, answers, strict=True)):
            if query.decision_id is not None and isinstance(answer, NoEligibleArm | InvalidInput):
                failed.setdefault(query.policy, []).append(position)
        for name, positions in failed.items():
            policy = self._snapshots.get(name).policy
            ids = {DecisionId(i) for p in positions if (i := queries[p].decision_id) is not None}
            try:
                stored = await self._log.find(policy.id, ids)
            except Unavailable:
                continue
            for position in positions:
                decision = stored.get(DecisionId(_id_of(queries[position])))
                if decision and decision.fingerprint == queries[position].fingerprint:
                    answers[position] = Answer(Recorded(decision, replayed=True), policy)


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
