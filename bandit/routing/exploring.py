"""When an arm that was added later has been tried enough to stand on its record."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from bandit.domain.arm import Arm, ArmId, ArmStatus
from bandit.domain.objective import Objective
from bandit.domain.policy import Policy
from bandit.features.schema import schema_of
from bandit.routing.catalog import CatalogKeeper
from bandit.routing.ledger import Allowance, LedgerReader, slots_name
from bandit.routing.ports import PosteriorReader

ENOUGH = 0.5  # of the trials' qualities, for a judgement
PATIENCE = timedelta(minutes=10)  # with outcomes that never come


def tried_enough(
    policy: Policy,
    allowances: Mapping[str, Allowance],
    qualities: Mapping[ArmId, int],
    now: datetime,
) -> list[Arm]:
    """
    The exploring arms whose trials are over: all slots taken, and half of their qualities learned.

    In between an arm rests: optimism about outcomes that are merely late would send it everything.
    It does not rest for longer than 10 minutes.

    qualities  outcomes of the quality head, per arm; an arm left out has none
    """
    quota = policy.settings.explore_quota
    result = []
    for arm in policy.arms:
        if arm.status is not ArmStatus.EXPLORE:
            continue
        held = allowances.get(slots_name(arm.id))
        if held is None or held.taken < quota:
            if quota == 0:
                result.append(arm)
            continue
        if qualities.get(arm.id, 0) >= ENOUGH * quota or now - held.at >= PATIENCE:
            result.append(arm)
    return result


def graduate(
    policy: Policy,
    keeper: CatalogKeeper,
    ledger: LedgerReader,
    posteriors: PosteriorReader,
    *,
    now: datetime,
    who: str,
) -> list[Arm]:
    """Let every arm of a policy that was tried enough stand on its record; those that now do."""
    if all(arm.status is not ArmStatus.EXPLORE for arm in policy.arms):
        return []
    allowances = ledger.allowances(policy.id)
    at_best = dict.fromkeys((arm.id for arm in policy.arms), policy.settings.explore_quota)
    if not tried_enough(policy, allowances, at_best, now):
        return []  # without reading what was learned, which is long
    _, stored = posteriors.learned(policy.id, schema_of(policy.settings.context).id, known={})
    qualities = {
        arm_id: sums.observations
        for (arm_id, head), sums in stored.items()
        if head is Objective.QUALITY
    }
    graduates = tried_enough(policy, allowances, qualities, now)
    for arm in graduates:
        keeper.of(policy.tenant).finish_exploring(policy.name, arm.name, who=who)
    return graduates
