"""What this process serves: the newest state that could be read, swapped in whole."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from bandit.domain.arm import ArmId
from bandit.domain.errors import BanditError, Unavailable, UnknownPolicy
from bandit.domain.policy import Policy, PolicyId
from bandit.domain.tenant import DEFAULT_TENANT, Tenant
from bandit.features.schema import schema_of
from bandit.policies.eligibility import filters_of
from bandit.routing.ports import Catalog, Cell, PosteriorReader, Versions
from bandit.routing.snapshot import Snapshot, snapshot_of
from services.logs import Outage, logger

AGEING_INTERVAL = timedelta(minutes=1)
PROOFREADING_INTERVAL_S, PROOFREADING_S = 1.0, 0.03  # so long, so often, in a thread
LOOK_AGAIN_S = 0.1  # at most one look per this time, however many unknown names are asked for

_log = logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """
    A policy as it was last read.

    versions   what the database counted then
    aged_at    when all its cells were last brought to their age
    """

    policy: Policy
    snapshot: Snapshot
    versions: Versions
    aged_at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """
    How well a policy is served.

    age_s            since what is served was last found to be what the database holds
    versions_behind  learned versions that are known of and not served
    """

    policy: Policy
    age_s: float
    versions_behind: int


class ServedSnapshots:
    """
    Reads happen in a thread, swaps on the event loop; what was handed out never changes.  When a
    refresh fails, what is held is served on.
    """

    def __init__(
        self,
        catalog: Catalog,
        posteriors: PosteriorReader,
        *,
        clock: Callable[[], datetime],
        poll_interval_s: float,
    ) -> None:
        self._catalog = catalog
        self._posteriors = posteriors
        self._clock = clock
        self._poll_interval_s = poll_interval_s
        self._held: Mapping[PolicyId, _Held] = {}
        self._by_name: Mapping[tuple[Tenant, str], _Held] = MappingProxyType({})
        self._counted: Mapping[PolicyId, Versions] = {}
        self._confirmed: dict[PolicyId, float] = {}  # when its newest was seen to be what is held
        self._is_loaded = False
        self._running = asyncio.Lock()
        self._queued: asyncio.Task[bool] | None = None
        self._woken = asyncio.Event()
        self._look: asyncio.Task[bool] | None = None
        self._looked_at = 0.0
        self._proofread_at = 0.0
        self._proofread_turn = 0
        self._outage = Outage(_log, "reading policies and what was learned")
        self._policy_outages: dict[PolicyId, Outage] = {}
        self._faults: dict[tuple[PolicyId, Cell], str] = {}

    # What is served

    def get(self, policy: str, tenant: Tenant = DEFAULT_TENANT) -> Snapshot:
        """The current snapshot of a policy; `UnknownPolicy` where it is archived too."""
        held = self._of_name(policy, tenant)
        if held.policy.is_archived:
            raise UnknownPolicy(policy)
        return held.snapshot

    def policy(self, name: str, tenant: Tenant = DEFAULT_TENANT) -> Policy:
        """The policy of that name, archived ones too: their outcomes are still taken."""
        return self._of_name(name, tenant).policy

    def _of_name(self, name: str, tenant: Tenant) -> _Held:
        held = self._by_name.get((tenant, name))
        if held is None:
            raise UnknownPolicy(name) if self._is_loaded else Unavailable("the service is starting")
        return held

    def policies(self) -> list[Policy]:
        """All that are in service."""
        return [held.policy for held in self._held.values() if not held.policy.is_archived]

    def policy_of(self, policy_id: PolicyId) -> Policy | None:
        """The policy of that id, archived or not; None: it is not held here."""
        held = self._held.get(policy_id)
        return None if held is None else held.policy

    def standing(self) -> list[Standing]:
        """How well each policy in service is served."""
        now = time.monotonic()
        return [
            Standing(
                held.policy,
                now - self._confirmed.get(policy_id, now),
                max(0, self._counted[policy_id].learned - held.versions.learned)
                if policy_id in self._counted
                else 0,
            )
            for policy_id, held in self._held.items()
            if not held.policy.is_archived
        ]

    # Keeping up

    @property
    def is_loaded(self) -> bool:
        """Whether there is anything to serve from."""
        return self._is_loaded

    def wake(self) -> None:
        """Something changed: do not wait for the next poll."""
        self._woken.set()

    async def keep_fresh(self) -> None:
        """Refresh at every poll and whenever woken, for ever."""
        while True:
            self._woken.clear()
            await self.refresh()
            try:
                await asyncio.wait_for(self._woken.wait(), self._poll_interval_s)
            except TimeoutError:
                continue

    def refresh(self) -> Awaitable[bool]:
        """
        Wait for a refresh that begins after this call; whether it succeeded.

        Callers that come while one is under way share the next one.
        """
        if self._queued is None:
            self._queued = asyncio.create_task(self._next_refresh())
        return asyncio.shield(self._queued)

    async def look_again(self) -> bool:
        """
        Refresh because something was not found; whether it succeeded.

        All who miss something within `LOOK_AGAIN_S` share one look, which begins after their call.
        """
        if self._look is None:
            self._look = asyncio.create_task(self._next_look())
        return await asyncio.shield(self._look)

    async def _next_look(self) -> bool:
        await asyncio.sleep(self._looked_at + LOOK_AGAIN_S - time.monotonic())
        self._looked_at, self._look = time.monotonic(), None
        return await self.refresh()

    async def _next_refresh(self) -> bool:
        async with self._running:
            self._queued = None
            try:
                held = await asyncio.to_thread(self._read, self._held)
            except Exception as error:
                # Whatever it is, what is held is served on, and the next poll tries again.
                self._outage.began(error, with_stack=not isinstance(error, BanditError))
                return False
            self._outage.ended()
            self._is_loaded = True
            if held is not self._held:
                self._held = held
                self._by_name = MappingProxyType(
                    {(each.policy.tenant, each.policy.name): each for each in held.values()}
                )
                self._tell_faults()
            return True

    def _read(self, held: Mapping[PolicyId, _Held]) -> Mapping[PolicyId, _Held]:
        """The successor of what is held; blocks."""
        now, began = self._clock(), time.monotonic()
        counted = self._counted = self._catalog.versions()
        policies = self._changed_policies(held, counted)
        successors = dict(held)
        for policy_id in set(held) - set(counted):
            del successors[policy_id]
        for policy_id, versions in counted.items():
            before = held.get(policy_id)
            policy = policies.get(policy_id) or (before.policy if before is not None else None)
            if policy is None:
                continue  # made since the policies were listed: the next poll finds it
            if (
                before is not None
                and policy is before.policy
                and _is_current(before, versions, now)
            ):
                self._confirmed[policy_id] = began
                continue
            outage = self._policy_outages.setdefault(
                policy_id, Outage(_log, f"reading policy {policy.full_name!r}")
            )
            try:
                successors[policy_id] = self._read_policy(policy, before, now)
            except Unavailable:
                raise
            except Exception as error:
                # One policy that cannot be read must not keep the others old.
                outage.began(error, with_stack=True)
            else:
                outage.ended()
                self._confirmed[policy_id] = began
        self._proofread(successors, now)
        return held if successors == held else successors

    def _proofread(self, held: dict[PolicyId, _Held], now: datetime) -> None:
        """
        Read all that is stored of a few policies, the next ones in turn.

        What is damaged where it lies has no new version: nobody would notice before a restart.
        """
        started = time.monotonic()
        if started - self._proofread_at < PROOFREADING_INTERVAL_S:
            return
        self._proofread_at = started
        policies = list(held)
        for _ in policies:
            policy_id = policies[self._proofread_turn % len(policies)]
            self._proofread_turn += 1
            self._proofread_one(held, policy_id, now)
            if time.monotonic() - started > PROOFREADING_S:
                return

    def _proofread_one(
        self, held: dict[PolicyId, _Held], policy_id: PolicyId, now: datetime
    ) -> None:
        before = held[policy_id]
        learned_version, stored = self._posteriors.learned(
            policy_id, before.snapshot.schema.id, known={}
        )
        known = before.snapshot.cells
        changed = {
            cell: sums
            for cell, sums in stored.items()
            if cell in known
            and (sums.version, sums.fault) != (known[cell].version, known[cell].fault)
        }
        if not changed:
            return
        snapshot = snapshot_of(
            before.policy,
            learned_version=learned_version,
            changed=changed,
            previous=before.snapshot,
            now=now,
        )
        versions = Versions(before.versions.policy, learned_version)
        held[policy_id] = _Held(before.policy, snapshot, versions, before.aged_at)

    def _changed_policies(
        self, held: Mapping[PolicyId, _Held], counted: Mapping[PolicyId, Versions]
    ) -> dict[PolicyId, Policy]:
        changed = {
            policy_id
            for policy_id, versions in counted.items()
            if policy_id not in held or held[policy_id].versions.policy != versions.policy
        }
        if not changed:
            return {}
        return {policy.id: policy for policy in self._catalog.policies(changed)}

    def _read_policy(self, policy: Policy, before: _Held | None, now: datetime) -> _Held:
        previous = before.snapshot if before is not None else None
        aged_at = before.aged_at if before is not None else now
        known: dict[Cell, int] = {}
        if previous is not None:
            previous = _without(previous, _arms_with_other_priors(previous, policy, now))
            known = {cell: learned.version for cell, learned in previous.cells.items()}
        if _is_to_age(before, now):
            aged_at = now
        learned_version, changed = self._posteriors.learned(
            policy.id, schema_of(policy.settings.context).id, known=known
        )
        snapshot = snapshot_of(
            policy, learned_version=learned_version, changed=changed, previous=previous, now=now
        )
        return _Held(policy, snapshot, Versions(policy.version, learned_version), aged_at)

    def _tell_faults(self) -> None:
        faults = {
            (held.policy.id, cell): learned.fault
            for held in self._held.values()
            for cell, learned in held.snapshot.cells.items()
            if learned.fault
        }
        for (policy_id, cell), fault in faults.items():
            if self._faults.get((policy_id, cell)) != fault:
                policy = self._held[policy_id].policy
                _log.error(
                    "learned state cannot be used, serving without it",
                    policy=policy.full_name,
                    arm=policy.arm(cell[0]).name,
                    objective=cell[1].label,
                    fault=fault,
                )
        self._faults = faults


def _is_current(held: _Held, versions: Versions, now: datetime) -> bool:
    """Whether neither a change nor the time that passed asks for another snapshot."""
    if held.versions != versions:
        return False
    if _is_to_age(held, now):
        return False
    return not any(
        held.snapshot.as_of < version.valid_from <= now
        for arm in held.policy.present_arms
        for version in arm.prices
    )


def _is_to_age(held: _Held | None, now: datetime) -> bool:
    """Whether a snapshot forgets as time goes by, and has not been made anew for a while."""
    return (
        held is not None
        and now - held.aged_at >= AGEING_INTERVAL
        and any(learned.ages for learned in held.snapshot.cells.values())
    )


def _arms_with_other_priors(previous: Snapshot, policy: Policy, now: datetime) -> set[ArmId]:
    """The arms that got their first price (or lost it): the prior of their cost is another now."""
    has_price = {arm.id: arm.price_at(now) is not None for arm in policy.present_arms}
    return {
        arm.id
        for arm, price in zip(previous.arms, previous.prices, strict=True)
        if has_price.get(arm.id, price is not None) != (price is not None)
    }


def _without(snapshot: Snapshot, arms: set[ArmId]) -> Snapshot:
    """The snapshot of the other arms: these are to be made anew."""
    if not arms:
        return snapshot
    kept = [position for position, arm in enumerate(snapshot.arms) if arm.id not in arms]
    return replace(
        snapshot,
        arms=tuple(snapshot.arms[position] for position in kept),
        prices=tuple(snapshot.prices[position] for position in kept),
        cells={cell: learned for cell, learned in snapshot.cells.items() if cell[0] not in arms},
        means=snapshot.means[kept],
        covariances=snapshot.covariances[kept],
        noise=snapshot.noise[kept],
        arm_bits=snapshot.arm_bits[kept],
        rates=snapshot.rates[kept],
        filters=filters_of([snapshot.arms[position] for position in kept], snapshot.filters.rules),
    )
