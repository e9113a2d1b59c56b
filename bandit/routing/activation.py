"""The use case of a caller who went through with a decision that was made to wait."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from bandit.domain.decision import Decision, DecisionId
from bandit.domain.errors import BanditError, Unavailable
from bandit.routing.feedback import RETRY_WAITING_S, Policies, decision_among
from bandit.routing.ports import ActivationLog, DecisionBacklog


@dataclass(frozen=True, slots=True)
class Wanted:
    """A decision that is to teach from now on."""

    policy: str
    decision_id: DecisionId


class Activation:
    """Lets decisions teach that were made with `defer_activation`."""

    def __init__(
        self,
        policies: Policies,
        decisions: DecisionBacklog,
        activations: ActivationLog,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._policies = policies
        self._decisions = decisions
        self._activations = activations
        self._clock = clock

    async def activate(self, wanted: Sequence[Wanted]) -> list[bool | BanditError]:
        """Whether each was active already, in order; one that fails harms no other."""
        return [await self._activated(one) for one in wanted]

    async def _activated(self, wanted: Wanted) -> bool | BanditError:
        try:
            decision = await self._found(wanted)
            if decision.is_active:
                return True
            (is_new,) = await self._activations.activate([decision], at=self._clock())
        except BanditError as error:
            return error
        return not is_new

    async def _found(self, wanted: Wanted) -> Decision:
        policy = self._policies.policy(wanted.policy)
        if self._decisions.waiting(policy.id, {wanted.decision_id}):
            raise Unavailable("the decision is not stored yet", retry_after_s=RETRY_WAITING_S)
        found = await self._decisions.find(policy.id, {wanted.decision_id})
        return decision_among(found, wanted.decision_id, now=self._clock())
