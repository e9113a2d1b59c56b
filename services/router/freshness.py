"""
The use cases as this process offers them: before it says that something does not exist, it looks
into the database again, since another process may have made it a moment ago.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from bandit.domain.arm import arm_from_bits
from bandit.domain.errors import (
    BanditError,
    InvalidInput,
    Unavailable,
    UnknownArm,
    UnknownArmNamed,
    UnknownPolicy,
)
from bandit.domain.outcome import Receipt, Report
from bandit.domain.policy import Policy
from bandit.domain.query import Query
from bandit.routing.activation import Activation, Wanted
from bandit.routing.catalog import CatalogKeeper
from bandit.routing.feedback import Feedback, Policies
from bandit.routing.ports import Catalog, PosteriorReader
from bandit.routing.router import Answer, Router, Snapshots
from services.router.budget_state import BudgetState, SpendingReader, SpendingState
from services.router.state import State, state_of
from services.router.translate_catalog import Described
from services.router.translate_fields import moved

PATIENCE_S = 0.2  # of a call that is to be answered soon, whatever the database does

_MISSING = (UnknownPolicy, UnknownArm, UnknownArmNamed)  # as far as this process knows
_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")


class KeptFresh(Snapshots, Policies, Protocol):
    """What is served, and that it can be looked for again."""

    def refresh(self) -> Awaitable[bool]:
        """See `ServedSnapshots.refresh`."""
        ...

    def look_again(self) -> Awaitable[bool]:
        """See `ServedSnapshots.look_again`."""
        ...


class FreshRouter:
    """`routing.router.Router` over snapshots that are kept fresh."""

    def __init__(self, router: Router, snapshots: KeptFresh) -> None:
        self._router = router
        self._snapshots = snapshots

    async def select(self, queries: Sequence[Query]) -> list[Answer | BanditError]:
        """Decide and record each query, in order; what is not a new answer is still to `settle`."""
        return await self._router.select(queries) if queries else []

    async def settled(self, query: Query, answer: Answer | BanditError) -> Answer:
        """What the caller is told where `select` gave that answer to the query."""
        if isinstance(answer, _MISSING):
            (answer,) = await self.select_each([query])
            return _or_raise(answer)
        return _or_raise(await self._with_known_arms(_with_own_fault(query, answer)))

    async def select_each(
        self, queries: Sequence[Query | BanditError]
    ) -> list[Answer | BanditError]:
        """Decide and record each query, in order; one that is refused already stays so."""
        answers = await _each(queries, self._router.select, self._snapshots, patience_s=PATIENCE_S)
        return [
            await self._with_known_arms(_with_own_fault(query, answer))
            for query, answer in zip(queries, answers, strict=True)
        ]

    async def preview(self, query: Query) -> Answer:
        """What `select` would decide, recorded nowhere; its fields lie under `request`."""
        with moved("", "request."):
            return await _looking_again(lambda: self._router.preview(query), self._snapshots)

    async def _with_known_arms(self, answer: Answer | BanditError) -> Answer | BanditError:
        """A stored answer may name an arm that is newer than the policy held here."""
        if (
            isinstance(answer, BanditError)
            or not answer.recorded.replayed
            or _knows_arms(answer.policy, answer)
        ):
            return answer
        await _in_time(self._snapshots.refresh(), PATIENCE_S)
        policy = self._snapshots.policy(answer.policy.name)
        if not _knows_arms(policy, answer):
            return Unavailable("the arms of the stored answer cannot be read now")
        return Answer(answer.recorded, policy)


class FreshActivation:
    """`routing.activation.Activation` over policies that are kept fresh."""

    def __init__(self, activation: Activation, snapshots: KeptFresh) -> None:
        self._activation = activation
        self._snapshots = snapshots

    async def activate(self, wanted: Wanted) -> bool:
        """Let a decision be learned from; whether it was before."""
        (was_active,) = await _each([wanted], self._activation.activate, self._snapshots)
        return _or_raise(was_active)


class FreshFeedback:
    """`routing.feedback.Feedback` over policies that are kept fresh."""

    def __init__(self, feedback: Feedback, snapshots: KeptFresh) -> None:
        self._feedback = feedback
        self._snapshots = snapshots

    async def report(self, report: Report) -> list[Receipt]:
        """Take one report."""
        (answer,) = await self.report_each([report])
        return _or_raise(answer)

    async def report_each(
        self, reports: Sequence[Report | BanditError]
    ) -> list[list[Receipt] | BanditError]:
        """Take each report; one that is refused already stays so."""
        return await _each(reports, self._feedback.report, self._snapshots)


class FreshCatalog:
    """`routing.catalog.CatalogKeeper` in threads; what it changes is served before it answers."""

    def __init__(
        self,
        keeper: CatalogKeeper,
        catalog: Catalog,
        snapshots: KeptFresh,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._keeper = keeper
        self._catalog = catalog
        self._snapshots = snapshots
        self._clock = clock

    async def read(self, reading: Callable[[CatalogKeeper], Policy]) -> Described:
        """The policy that `reading` gives."""
        (described,) = await self.read_all(lambda keeper: [reading(keeper)])
        return described

    async def read_all(
        self, reading: Callable[[CatalogKeeper], Sequence[Policy]]
    ) -> list[Described]:
        """The policies that `reading` gives."""

        def blocking() -> list[Described]:
            policies = reading(self._keeper)
            versions = self._catalog.versions()
            return [
                Described(policy, versions[policy.id].learned, self._clock()) for policy in policies
            ]

        return await asyncio.to_thread(blocking)

    async def change(self, changing: Callable[[CatalogKeeper], Policy]) -> Described:
        """The policy after `changing` it; the caller's next request meets it changed."""
        described = await self.read(changing)
        await self._snapshots.refresh()
        return described


class FreshLearning:
    """
    Shows the state that is served, beside what the database counts.

    spending   None: what was spent is not shown
    """

    def __init__(
        self,
        catalog: Catalog,
        posteriors: PosteriorReader,
        snapshots: KeptFresh,
        spending: SpendingReader | None = None,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._catalog = catalog
        self._posteriors = posteriors
        self._snapshots = snapshots
        self._spending = spending
        self._clock = clock

    async def state(self, name: str) -> State:
        """The state of a policy."""
        held = await _looking_again(lambda: self._snapshots.get(name), self._snapshots)
        policy_id = held.policy.id
        # In this order: whoever sees nothing pending and the snapshot at the learned version may
        # trust that the snapshot holds all.  The other way round a fold could end in between.
        pending = await asyncio.to_thread(self._posteriors.pending, policy_id, now=self._clock())
        versions = await asyncio.to_thread(self._catalog.versions)
        snapshot = self._snapshots.get(name)
        return state_of(
            snapshot,
            learned_version=versions[policy_id].learned,
            pending=pending,
            spending=await self._spent(snapshot.policy),
            quarantined=await asyncio.to_thread(self._posteriors.quarantined, policy_id),
        )

    async def budget(self, name: str) -> BudgetState | None:
        """The budget of a policy with what was spent; None: it has none."""
        held = await _looking_again(lambda: self._snapshots.get(name), self._snapshots)
        if self._spending is None:
            raise Unavailable("what was spent cannot be read here")
        return (await self._spent(held.policy)).budget

    async def _spent(self, policy: Policy) -> SpendingState:
        if self._spending is None:
            return SpendingState()
        price = self._spending.price(policy)  # on the event loop, where decisions are made
        return await asyncio.to_thread(self._spending.read, policy, price=price)


async def _each(
    asked: Sequence[_Asked | BanditError],
    use_case: Callable[[Sequence[_Asked]], Awaitable[Sequence[_Answer | BanditError]]],
    snapshots: KeptFresh,
    *,
    patience_s: float | None = None,
) -> list[_Answer | BanditError]:
    """
    The use case's answers, asked again where something is missing that may be there by now.

    patience_s  how long a look may take; None: as long as the database lets it
    """
    answers = await _where_open(asked, use_case)
    again = [
        position
        for position, answer in enumerate(answers)
        if isinstance(answer, _MISSING) and not isinstance(asked[position], BanditError)
    ]
    if not again:
        return answers
    second: Sequence[_Answer | BanditError]
    if await _in_time(snapshots.look_again(), patience_s):
        second = await _where_open([asked[position] for position in again], use_case)
    else:
        second = [_cannot_look() for _ in again]
    for position, answer in zip(again, second, strict=True):
        answers[position] = answer
    return answers


async def _in_time(look: Awaitable[bool], patience_s: float | None) -> bool:
    """Whether a look succeeded in that time; it goes on for others who wait for it."""
    try:
        async with asyncio.timeout(patience_s):
            return await look
    except TimeoutError:
        return False


async def _where_open(
    asked: Sequence[_Asked | BanditError],
    use_case: Callable[[Sequence[_Asked]], Awaitable[Sequence[_Answer | BanditError]]],
) -> list[_Answer | BanditError]:
    """The use case's answers; what is refused already keeps its refusal."""
    open_ = [one for one in asked if not isinstance(one, BanditError)]
    answers = iter(await use_case(open_) if open_ else [])
    return [one if isinstance(one, BanditError) else next(answers) for one in asked]


async def _looking_again(ask: Callable[[], _Answer], snapshots: KeptFresh) -> _Answer:
    """What `ask` answers, asked again where something is missing that may be there by now."""
    try:
        return ask()
    except _MISSING:
        if not await snapshots.look_again():
            raise _cannot_look() from None
    return ask()


def _cannot_look() -> Unavailable:
    return Unavailable("what is not known here cannot be looked up now")


def _with_own_fault(
    query: Query | BanditError, answer: Answer | BanditError
) -> Answer | BanditError:
    """An id of ours that cannot be stored, for want of a partition, is no fault of the caller's."""
    if (
        isinstance(query, Query)
        and query.decision_id is None
        and isinstance(answer, InvalidInput)
        and answer.field == "decision_id"
    ):
        return Unavailable("the database has no partition for today's decisions")
    return answer


def _knows_arms(policy: Policy, answer: Answer) -> bool:
    known = {arm.id for arm in policy.arms}
    return all(arm_from_bits(bits) in known for bits in answer.recorded.decision.candidates["arm"])


def _or_raise(answer: _Answer | BanditError) -> _Answer:
    if isinstance(answer, BanditError):
        raise answer
    return answer
