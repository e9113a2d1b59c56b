"""What becomes of a decision's booking when its outcome is known, or never comes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bandit.domain.budget import Charge
from bandit.domain.decision import Decision, DecisionId
from bandit.domain.objective import Objective
from bandit.domain.policy import Policy
from bandit.routing.ledger import Reservation, Settlement


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """
    The value that counts for one head of a decision, as it is now.

    before  what counted until now; None: nothing yet, what was booked stands
    after   None: nothing counts any more, what was booked stands again
    """

    decision: Decision
    objective: Objective
    before: float | None
    after: float | None


def settlements(
    policy: Policy, known: Iterable[Known], held: Mapping[DecisionId, Reservation]
) -> list[Settlement]:
    """
    What the ledger is to learn of these values.

    The cost that was expected gives way to the cost that was; the reservation goes back to its
    limit but for that cost.  Under a quality floor the quality does what the cost does under a
    target.  A value that replaces another one moves the account by the difference.

    held  reservations that have not ended
    """
    result = []
    for one in known:
        charge = one.decision.charge
        if charge is None:
            continue
        if one.objective is Objective.COST:
            before = charge.expected_usd if one.before is None else one.before
            after = charge.expected_usd if one.after is None else one.after
            reservation = held.get(one.decision.id)
            is_first = one.before is None and reservation is not None
            taken = reservation.reserved_usd if reservation and is_first else before
            has_target = charge.overshoot_usd is not None
            result.append(
                Settlement(
                    decision_id=one.decision.id,
                    epoch=charge.epoch,
                    balance=before - after if has_target else 0.0,
                    spent_usd=after - before,
                    name=charge.limit_name or "",
                    returned_usd=taken - after if charge.limit_name else 0.0,
                    is_final=reservation is not None,
                )
            )
        elif one.objective is Objective.QUALITY and _has_floor(policy, charge):
            expected = float(one.decision.chosen["mean"][Objective.QUALITY])
            before = expected if one.before is None else one.before
            after = expected if one.after is None else one.after
            result.append(Settlement(one.decision.id, charge.epoch, balance=after - before))
    return result


def _has_floor(policy: Policy, charge: Charge) -> bool:
    budget = policy.budget
    return (
        budget is not None
        and budget.quality_floor is not None
        and charge.epoch == policy.budget_epoch
    )


def lapsed(reservations: Sequence[Reservation]) -> list[Settlement]:
    """No outcome came in time: what was expected counts, the rest goes back."""
    return [
        Settlement(
            decision_id=held.decision_id,
            epoch=held.epoch,
            name=held.name,
            returned_usd=held.reserved_usd - held.expected_usd,
            is_final=True,
        )
        for held in reservations
    ]
