"""The use cases of a caller who wants a choice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from bandit.domain.decision import Decision, DecisionId, Recorded, day_of
from bandit.domain.errors import BanditError, DecisionIdReused
from bandit.domain.policy import Policy
from bandit.domain.query import Query
from bandit.features.encoder import Encoder
from bandit.features.schema import contexts_of
from bandit.routing.deciding import decide, validate
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
        made: list[tuple[Decision, Policy] | BanditError] = [self._decide(q) for q in queries]
        decisions = [entry[0] for entry in made if not isinstance(entry, BanditError)]
        recorded = iter(await self._log.record(decisions) if decisions else [])
        answers: list[Answer | BanditError] = []
        for query, entry in zip(queries, made, strict=True):
            if isinstance(entry, BanditError):
                answers.append(await self._stored_instead(query, entry))
                continue
            held = next(recorded)
            if isinstance(held, BanditError):
                answers.append(held)
            elif isinstance(held, Exception):
                raise held
            else:
                answers.append(_checked(Answer(held, entry[1]), query))
        return answers

    def preview(self, query: Query) -> Answer:
        """What `select` would decide, recorded nowhere."""
        decision, policy = self._decided(query)
        return Answer(Recorded(decision, durable=False), policy)

    def _decide(self, query: Query) -> tuple[Decision, Policy] | BanditError:
        try:
            return self._decided(query)
        except BanditError as error:
            return error

    def _decided(self, query: Query) -> tuple[Decision, Policy]:
        snapshot = self._snapshots.get(query.policy)
        validate(snapshot, query)
        decision_id = DecisionId(query.decision_id or self._new_id())
        day_of(decision_id)
        context = contexts_of(snapshot.schema, [query], self._encoder)[0]
        decision = decide(snapshot, query, context, decision_id=decision_id, at=self._clock())
        return decision, snapshot.policy

    async def _stored_instead(self, query: Query, error: BanditError) -> Answer | BanditError:
        """An id answered before gets that answer, even where none could be made now."""
        if query.decision_id is None:
            return error
        try:
            policy = self._snapshots.get(query.policy).policy
        except BanditError:
            return error
        decision_id = DecisionId(query.decision_id)
        stored = await self._log.find(policy.id, [decision_id])
        if decision_id not in stored or stored[decision_id].fingerprint != query.fingerprint:
            return error
        return Answer(Recorded(stored[decision_id], replayed=True), policy)


def _checked(answer: Answer, query: Query) -> Answer | BanditError:
    if answer.recorded.decision.fingerprint != query.fingerprint:
        return DecisionIdReused()
    return answer
