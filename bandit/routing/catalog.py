"""The use cases of those who own policies, arms and prices."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from bandit.domain.arm import Arm, ArmId, ArmStatus, checked_name
from bandit.domain.budget import Budget
from bandit.domain.errors import AlreadyExists, InvalidInput, StalePolicy, UnknownPolicy
from bandit.domain.objective import Objective
from bandit.domain.offline_prior import OfflinePrior
from bandit.domain.policy import KEY_BYTES, Policy, PolicyId, PolicySettings
from bandit.domain.price import MOST_USD, Price, PriceVersion
from bandit.domain.tenant import DEFAULT_TENANT, Tenant
from bandit.features.schema import schema_of
from bandit.learning.offline import check
from bandit.policies.utility import cost_range_of, normaliser_of, prices_of
from bandit.routing.ports import Catalog, PolicyEvent

MOST_ATTEMPTS = 10  # at a change that other writers keep overtaking


@dataclass(frozen=True, slots=True)
class NewArm:
    """An arm as it is declared; status None: the default for where it is added."""

    name: str
    status: ArmStatus | None = None
    price: Price | None = None
    context_window_tokens: int | None = None
    explore_limit_usd: float | None = None
    offline: Mapping[Objective, OfflinePrior] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        checked_name("arm.name", self.name)
        if self.status is ArmStatus.RETIRED:
            raise InvalidInput("arm.status", "an arm cannot start retired")
        if self.context_window_tokens is not None and self.context_window_tokens <= 0:
            raise InvalidInput("arm.context_window_tokens", "must be positive")
        if self.explore_limit_usd is not None and not 0 < self.explore_limit_usd <= MOST_USD:
            raise InvalidInput("arm.explore_limit_usd", f"must be above 0, up to {MOST_USD:g}")


@dataclass(frozen=True, slots=True)
class _Change:
    """What is to be different in a policy's successor, and what its event tells."""

    fields: Mapping[str, Any]
    detail: Mapping[str, Any]


class CatalogKeeper:
    """
    Changes policies: one transaction and one event each.

    A change is made to the newest version: whoever is overtaken by another writer looks again.

    tenant   whose policies these are: there are no others here
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
        random_bytes: Callable[[int], bytes],
        tenant: Tenant = DEFAULT_TENANT,
    ) -> None:
        self._catalog = catalog
        self._tenant = tenant
        self._clock = clock
        self._new_id = new_id
        self._random_bytes = random_bytes

    def of(self, tenant: Tenant) -> "CatalogKeeper":
        """The same for the policies of another tenant."""
        other = copy(self)
        other._tenant = tenant
        return other

    def create_policy(
        self,
        name: str,
        settings: PolicySettings,
        arms: Sequence[NewArm] = (),
        *,
        key: bytes | None = None,
        who: str,
    ) -> Policy:
        """
        Store a new policy; its arms start active, since none has an older rival.

        A cost range not declared is frozen from the prices of `arms`, where there are any; what
        stands in for the price of an arm without one is frozen always, since sums depend on it.
        """
        now = self._clock()
        for position, arm in enumerate(arms):
            _check_offline(arm, settings, field=f"arms[{position}].offline_prior")
        made = tuple(self._made(arm, ArmStatus.ACTIVE, now) for arm in arms)
        prices = prices_of(made, now)
        if settings.cost_range is None and prices:
            settings = replace(settings, cost_range=cost_range_of(prices))
        middle = normaliser_of(settings, made, now).middle_usd
        settings = replace(settings, unpriced_list_usd=settings.unpriced_list_usd or middle)
        policy = Policy(
            id=PolicyId(self._new_id()),
            name=name,
            settings=settings,
            key=self._random_bytes(KEY_BYTES) if key is None else key,
            created_at=now,
            arms=made,
            tenant=self._tenant,
        )
        detail = {"arms": [arm.name for arm in made]}
        self._catalog.create(policy, PolicyEvent(now, who, "create_policy", detail))
        return policy

    def get_policy(self, name: str) -> Policy:
        """The policy of that name, archived or not."""
        return self._catalog.get(name, self._tenant)

    def list_policies(self, *, include_archived: bool) -> list[Policy]:
        """All policies in the order of their names."""
        policies = self._catalog.list(self._tenant)
        return [p for p in policies if include_archived or not p.is_archived]

    def update_policy(
        self, name: str, settings: PolicySettings, *, expected_version: int | None, who: str
    ) -> Policy:
        """
        Replace the settings; what the stored sums depend on cannot change.

        A cost range that is not given stays as it is: utilities must not move by themselves.
        """

        def change(policy: Policy) -> _Change:
            if expected_version is not None and policy.version != expected_version:
                raise StalePolicy(name, expected=expected_version)
            for fixed in ("context", "quality_prior_mean", "half_life_hours"):
                if getattr(settings, fixed) != getattr(policy.settings, fixed):
                    raise InvalidInput(
                        f"settings.{fixed}",
                        "is fixed when the policy is made: its sums depend on it",
                    )
            kept = policy.settings
            successor = replace(
                settings,
                cost_range=settings.cost_range or kept.cost_range,
                unpriced_list_usd=kept.unpriced_list_usd,
            )
            return _Change({"settings": successor}, {})

        return self._changed(name, "update_policy", change, who)

    def archive_policy(self, name: str, *, who: str) -> Policy:
        """Take a policy out of service; its name and its log stay."""
        return self._changed(
            name, "archive_policy", lambda policy: _Change({"is_archived": True}, {}), who
        )

    def add_arm(self, name: str, arm: NewArm, *, who: str) -> Policy:
        """
        Add an arm to a running policy; it starts in explore unless told otherwise.

        Where no other arm can be chosen it starts active: there would be nothing to fall back on
        when its trials are used up.
        """
        new = self._made(arm, ArmStatus.EXPLORE, self._clock())

        def change(policy: Policy) -> _Change:
            if any(present.name == arm.name for present in policy.present_arms):
                raise AlreadyExists("arm", arm.name)
            _check_offline(arm, policy.settings, field="arm.offline_prior")
            has_rival = any(present.status.is_choosable for present in policy.present_arms)
            is_alone = arm.status is None and not has_rival
            made = replace(new, status=ArmStatus.ACTIVE) if is_alone else new
            detail = {"arm": arm.name, "status": made.status.value}
            return _Change({"arms": (*policy.arms, made)}, detail)

        return self._changed(name, "add_arm", change, who)

    def update_arm(
        self,
        name: str,
        arm_name: str,
        *,
        context_window_tokens: int | None,
        explore_limit_usd: float | None = None,
        who: str,
    ) -> Policy:
        """Replace an arm's limits."""
        limits = {
            "context_window_tokens": context_window_tokens,
            "explore_limit_usd": explore_limit_usd,
        }
        if context_window_tokens is not None and context_window_tokens <= 0:
            raise InvalidInput("context_window_tokens", "must be positive")
        if explore_limit_usd is not None and not 0 < explore_limit_usd <= MOST_USD:
            raise InvalidInput("explore_limit_usd", f"must be above 0, up to {MOST_USD:g}")
        return self._changed(
            name, "update_arm", lambda policy: _with_arm(policy, arm_name, limits, limits), who
        )

    def set_arm_status(self, name: str, arm_name: str, status: ArmStatus, *, who: str) -> Policy:
        """Move an arm along its life; `remove_arm` retires it."""
        if status is ArmStatus.RETIRED:
            raise InvalidInput("status", "an arm is retired by removing it")
        detail = {"status": status.value}
        return self._changed(
            name,
            "set_arm_status",
            lambda policy: _with_arm(policy, arm_name, {"status": status}, detail),
            who,
        )

    def finish_exploring(self, name: str, arm_name: str, *, who: str) -> Policy:
        """Let an arm stand on its record, if it is still exploring."""
        status = {"status": ArmStatus.ACTIVE}
        detail = {"status": ArmStatus.ACTIVE.value}

        def change(policy: Policy) -> _Change | None:
            if policy.arm_named(arm_name).status is not ArmStatus.EXPLORE:
                return None
            return _with_arm(policy, arm_name, status, detail)

        return self._changed(name, "finish_exploring", change, who)

    def set_budget(self, name: str, budget: Budget | None, *, who: str) -> Policy:
        """
        Put a budget in force, with an account that begins at nothing; None: take it away.

        What was taken of a limit in the window that runs stays taken.
        """
        detail = {} if budget is None else asdict(budget)

        def change(policy: Policy) -> _Change:
            return _Change({"budget": budget, "budget_epoch": policy.version + 1}, detail)

        return self._changed(name, "set_budget", change, who)

    def remove_arm(self, name: str, arm_name: str, *, who: str) -> Policy:
        """Retire an arm: a tombstone stays, and its id is never used again."""
        retired = {"status": ArmStatus.RETIRED}
        return self._changed(
            name, "remove_arm", lambda policy: _with_arm(policy, arm_name, retired, {}), who
        )

    def set_price(
        self, name: str, arm_name: str, price: Price, *, valid_from: datetime | None, who: str
    ) -> Policy:
        """Put a price in force, now or at a moment to come."""
        now = self._clock()
        if valid_from is not None and valid_from < now:
            raise InvalidInput("valid_from", "must not be in the past")
        version = PriceVersion(valid_from or now, price)
        detail = {
            "valid_from": version.valid_from.isoformat(),
            "input_usd_per_million": price.input_usd_per_million,
            "output_usd_per_million": price.output_usd_per_million,
            "fee_usd": price.fee_usd,
        }

        def change(policy: Policy) -> _Change:
            arm = policy.arm_named(arm_name)
            others = [held for held in arm.prices if held.valid_from != version.valid_from]
            prices = sorted([*others, version], key=lambda held: held.valid_from)
            return _with_arm(policy, arm_name, {"prices": tuple(prices)}, detail)

        return self._changed(name, "set_price", change, who)

    def _made(self, arm: NewArm, default: ArmStatus, now: datetime) -> Arm:
        return Arm(
            id=ArmId(self._new_id()),
            name=arm.name,
            status=arm.status or default,
            prices=() if arm.price is None else (PriceVersion(now, arm.price),),
            context_window_tokens=arm.context_window_tokens,
            explore_limit_usd=arm.explore_limit_usd,
            offline=arm.offline,
        )

    def _changed(
        self, name: str, kind: str, change: Callable[[Policy], _Change | None], who: str
    ) -> Policy:
        """
        Store the successor; overtaken by another writer, change what is there now instead.

        Where `change` gives None the policy stays as it is.
        """
        for attempt in range(1, MOST_ATTEMPTS + 1):
            policy = self._catalog.get(name, self._tenant)
            if policy.is_archived:
                raise UnknownPolicy(name)
            made = change(policy)
            if made is None:
                return policy
            fields: dict[str, Any] = dict(made.fields)
            successor = replace(policy, version=policy.version + 1, **fields)
            try:
                self._catalog.replace(successor, PolicyEvent(self._clock(), who, kind, made.detail))
            except StalePolicy:
                if attempt == MOST_ATTEMPTS:
                    raise
                continue
            return successor
        raise AssertionError("the last attempt returns or raises")


def _check_offline(arm: NewArm, settings: PolicySettings, *, field: str) -> None:
    schema = schema_of(settings.context)
    for position, (objective, offline) in enumerate(arm.offline.items()):
        path = f"{field}.heads[{position}]"
        if objective not in settings.objectives:
            raise InvalidInput(path, f"{objective.label} is not learned by the policy")
        if offline.schema_id != schema.id:
            raise InvalidInput(f"{field}.schema_id", f"the policy's contexts are of {schema.id!r}")
        check(offline, schema, field=path)


def _with_arm(
    policy: Policy, name: str, fields: Mapping[str, Any], detail: Mapping[str, Any]
) -> _Change:
    changed = replace(policy.arm_named(name), **dict(fields))
    arms = tuple(changed if held.id == changed.id else held for held in policy.arms)
    return _Change({"arms": arms}, {"arm": name, **detail})
