"""The use cases of those who own policies, arms and prices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from bandit.domain.arm import Arm, ArmId, ArmStatus
from bandit.domain.errors import AlreadyExists, InvalidInput, StalePolicy, UnknownPolicy
from bandit.domain.policy import KEY_BYTES, Policy, PolicyId, PolicySettings
from bandit.domain.price import Price, PriceVersion
from bandit.policies.utility import cost_range_of
from bandit.routing.ports import Catalog, PolicyEvent


@dataclass(frozen=True, slots=True)
class NewArm:
    """An arm as it is declared; status None: the default for where it is added."""

    name: str
    status: ArmStatus | None = None
    price: Price | None = None
    context_window_tokens: int | None = None


class CatalogKeeper:
    """Changes policies: one transaction and one event each."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], UUID],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._new_id = new_id
        self._random_bytes = random_bytes

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

        A cost range not declared is frozen from the prices of `arms`, where there are any.
        """
        now = self._clock()
        made = tuple(self._made(arm, ArmStatus.ACTIVE, now) for arm in arms)
        if settings.cost_range is None and any(arm.prices for arm in made):
            settings = replace(settings, cost_range=cost_range_of(made, now))
        policy = Policy(
            id=PolicyId(self._new_id()),
            name=name,
            settings=settings,
            key=self._random_bytes(KEY_BYTES) if key is None else key,
            created_at=now,
            arms=made,
        )
        detail = {"arms": [arm.name for arm in made]}
        self._catalog.create(policy, PolicyEvent(now, who, "create_policy", detail))
        return policy

    def get_policy(self, name: str) -> Policy:
        """The policy of that name, archived or not."""
        return self._catalog.get(name)

    def list_policies(self, *, include_archived: bool) -> list[Policy]:
        """All policies in the order of their names."""
        return [p for p in self._catalog.list() if include_archived or not p.is_archived]

    def update_policy(
        self, name: str, settings: PolicySettings, *, expected_version: int | None, who: str
    ) -> Policy:
        """Replace the settings; what the stored sums depend on cannot change."""
        policy = self._current(name)
        if expected_version is not None and policy.version != expected_version:
            raise StalePolicy(name, expected=expected_version)
        for field in ("context", "quality_prior_mean", "half_life_hours"):
            if getattr(settings, field) != getattr(policy.settings, field):
                raise InvalidInput(
                    f"settings.{field}", "is fixed when the policy is made: its sums depend on it"
                )
        return self._replace(policy, "update_policy", {}, who, settings=settings)

    def archive_policy(self, name: str, *, who: str) -> Policy:
        """Take a policy out of service; its name and its log stay."""
        policy = self._current(name)
        return self._replace(policy, "archive_policy", {}, who, is_archived=True)

    def add_arm(self, name: str, arm: NewArm, *, who: str) -> Policy:
        """Add an arm to a running policy; it starts in explore unless told otherwise."""
        policy = self._current(name)
        if any(present.name == arm.name for present in policy.present_arms):
            raise AlreadyExists("arm", arm.name)
        made = self._made(arm, ArmStatus.EXPLORE, self._clock())
        detail = {"arm": arm.name, "status": made.status.value}
        return self._replace(policy, "add_arm", detail, who, arms=(*policy.arms, made))

    def update_arm(
        self, name: str, arm_name: str, *, context_window_tokens: int | None, who: str
    ) -> Policy:
        """Replace an arm's limits."""
        policy = self._current(name)
        arm = replace(policy.arm_named(arm_name), context_window_tokens=context_window_tokens)
        detail = {"arm": arm_name, "context_window_tokens": context_window_tokens}
        return self._replace_arm(policy, arm, "update_arm", detail, who)

    def set_arm_status(self, name: str, arm_name: str, status: ArmStatus, *, who: str) -> Policy:
        """Move an arm along its life; `remove_arm` retires it."""
        if status is ArmStatus.RETIRED:
            raise InvalidInput("status", "an arm is retired by removing it")
        policy = self._current(name)
        arm = replace(policy.arm_named(arm_name), status=status)
        detail = {"arm": arm_name, "status": status.value}
        return self._replace_arm(policy, arm, "set_arm_status", detail, who)

    def remove_arm(self, name: str, arm_name: str, *, who: str) -> Policy:
        """Retire an arm: a tombstone stays, and its id is never used again."""
        policy = self._current(name)
        arm = replace(policy.arm_named(arm_name), status=ArmStatus.RETIRED)
        return self._replace_arm(policy, arm, "remove_arm", {"arm": arm_name}, who)

    def set_price(
        self, name: str, arm_name: str, price: Price, *, valid_from: datetime | None, who: str
    ) -> Policy:
        """Put a price in force, now or at a moment to come."""
        policy = self._current(name)
        now = self._clock()
        if valid_from is not None and valid_from < now:
            raise InvalidInput("valid_from", "must not be in the past")
        arm = policy.arm_named(arm_name)
        version = PriceVersion(valid_from or now, price)
        others = [held for held in arm.prices if held.valid_from != version.valid_from]
        prices = sorted([*others, version], key=lambda held: held.valid_from)
        detail = {
            "arm": arm_name,
            "valid_from": version.valid_from.isoformat(),
            "input_usd_per_million": price.input_usd_per_million,
            "output_usd_per_million": price.output_usd_per_million,
            "fee_usd": price.fee_usd,
        }
        arm = replace(arm, prices=tuple(prices))
        return self._replace_arm(policy, arm, "set_price", detail, who)

    def _current(self, name: str) -> Policy:
        policy = self._catalog.get(name)
        if policy.is_archived:
            raise UnknownPolicy(name)
        return policy

    def _made(self, arm: NewArm, default: ArmStatus, now: datetime) -> Arm:
        if arm.status is ArmStatus.RETIRED:
            raise InvalidInput("arm.status", "an arm cannot start retired")
        return Arm(
            id=ArmId(self._new_id()),
            name=arm.name,
            status=arm.status or default,
            prices=() if arm.price is None else (PriceVersion(now, arm.price),),
            context_window_tokens=arm.context_window_tokens,
        )

    def _replace_arm(
        self, policy: Policy, arm: Arm, kind: str, detail: Mapping[str, Any], who: str
    ) -> Policy:
        arms = tuple(arm if held.id == arm.id else held for held in policy.arms)
        return self._replace(policy, kind, detail, who, arms=arms)

    def _replace(
        self, policy: Policy, kind: str, detail: Mapping[str, Any], who: str, **changes: Any
    ) -> Policy:
        successor: Policy = replace(policy, version=policy.version + 1, **changes)
        self._catalog.replace(successor, PolicyEvent(self._clock(), who, kind, detail))
        return successor
